"""Every entry of the table of malformed packets fails as it says, whole and byte by byte."""

import pytest
from wardenmq.broker.protocol.errors import MalformedPacket, MqttError, ProtocolError
from wardenmq.broker.protocol.reason_codes import ReasonCode

from .packets import FIRST, LATER
from .recorder import CONNECT, read


def _expect(data: bytes, reason: ReasonCode, found: int) -> None:
    for chunks in ([data], [data[at : at + 1] for at in range(len(data))]):
        sink = read(chunks)
        assert sink.failure is not None
        kind, code = sink.failure
        assert code == reason
        assert kind in (MalformedPacket, ProtocolError)
        assert issubclass(kind, MqttError)
        assert len(sink.found) == found


@pytest.mark.parametrize(("data", "reason"), [pytest.param(*entry[1:], id=entry[0]) for entry in FIRST])
def test_instead_of_a_connect(data: bytes, reason: ReasonCode) -> None:
    _expect(data, reason, 0)


@pytest.mark.parametrize(("data", "reason"), [pytest.param(*entry[1:], id=entry[0]) for entry in LATER])
def test_behind_a_connect(data: bytes, reason: ReasonCode) -> None:
    _expect(CONNECT + data, reason, 1)
    _expect(CONNECT + b"\xc0\x00" + data, reason, 2)
