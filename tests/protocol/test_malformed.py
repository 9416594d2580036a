"""Every entry of the tables of malformed packets fails as it says, whole and byte by byte."""

import pytest
from wardenmq.broker.protocol.errors import MalformedPacket, ProtocolError
from wardenmq.broker.protocol.reason_codes import ReasonCode

from .build import CONNECT3, CONNECT4, CONNECT5
from .packets import ALL, FIRST, FIRST5, LATER, LATER3, LATER5
from .packets5 import LARGE, MALFORMED, PROTOCOL, Case
from .recorder import read

PINGREQ = b"\xc0\x00"


def cases(*tables: list[Case]) -> pytest.MarkDecorator:
    parameters = [pytest.param(data, reason, id=name) for table in tables for name, data, reason in table]
    return pytest.mark.parametrize(("data", "reason"), parameters)


def check(good: bytes, data: bytes, reason: ReasonCode, found: int) -> int | None:
    """Check how `data` fails behind `good`; return the version that a CONNECT is to be answered in."""
    whole = read([good + data])
    single = read([(good + data)[at : at + 1] for at in range(len(good + data))])
    followed = read([good + data + PINGREQ * 100])  # what comes behind is not taken for a part of it
    assert whole.failure is not None
    assert single.failure == followed.failure == whole.failure
    assert len(single.found) == len(followed.found) == len(whole.found) == found
    kind, code, version = whole.failure
    assert code == reason
    assert kind is not MalformedPacket or reason != PROTOCOL
    assert kind is not ProtocolError or reason != MALFORMED
    return version


@cases(FIRST)
def test_instead_of_a_connect(data: bytes, reason: ReasonCode) -> None:
    """[MQTT-3.1.4-1]: what fails once its version is known says which it is, so that it can be answered."""
    spoken = {b"\x00\x04MQTT\x04": 4, b"\x00\x06MQIsdp\x03": 3}
    known = [version for start, version in spoken.items() if start in data[:15]]
    assert check(b"", data, reason, 0) == (known[0] if known else None)


@cases(FIRST5)
def test_instead_of_a_connect_of_version_5(data: bytes, reason: ReasonCode) -> None:
    """[MQTT5-3.1.4-1]: the client can be told why."""
    assert check(b"", data, reason, 0) == 5


@cases(LATER)
def test_behind_a_connect(data: bytes, reason: ReasonCode) -> None:
    """[MQTT-4.8.0-1]: what came before is still handed on."""
    check(CONNECT4, data, reason, 1)
    check(CONNECT4 + PINGREQ, data, reason, 2)


@cases(LATER3)
def test_behind_a_connect_of_3_1(data: bytes, reason: ReasonCode) -> None:
    check(CONNECT3, data, reason, 1)
    check(CONNECT3 + PINGREQ, data, reason, 2)


@cases(LATER5)
def test_behind_a_connect_of_version_5(data: bytes, reason: ReasonCode) -> None:
    """[MQTT5-4.13.1-1]: what came before is still handed on."""
    check(CONNECT5, data, reason, 1)
    check(CONNECT5 + PINGREQ, data, reason, 2)


def test_the_tables_are_what_they_seem() -> None:
    """No name twice in a table, enough of each version, and no entry that fails only because it is incomplete."""
    for table in (FIRST, LATER, LATER3, FIRST5, LATER5):
        assert len({name for name, _, _ in table}) == len(table)
    assert len(FIRST) + len(LATER) > 130
    assert len(LATER3) > 70
    assert len(FIRST5) + len(LATER5) > 250
    for name, data, reason in ALL:
        if reason == LARGE or "remaining length" in name:
            continue
        length = data[1] & 0x7F | (data[2] << 7 if data[1] > 0x7F else 0)
        assert len(data) == length + 2 + (data[1] > 0x7F), name
