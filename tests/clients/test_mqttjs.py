"""What of MQTT 5 only MQTT.js lets its user do: enhanced authentication."""

from typing import Any

import pytest

from ..store.scram_client import ScramClient
from .conftest import Guarded
from .kinds import Meeting, needs_node
from .mqttjs_party import MqttJsParty
from .party import Filter, Kind, Refused

pytestmark = needs_node
METHOD = "SCRAM-SHA-256"


def invite(meeting: Meeting, transport: str, password: str) -> tuple[MqttJsParty, ScramClient]:
    """Make a client that begins SCRAM with its CONNECT and answers the challenge."""
    scram = ScramClient("alice", password)
    properties: dict[str, Any] = {"authentication_method": METHOD, "authentication_data": scram.first()}
    party = meeting.invite(Kind("mqttjs", 5, transport), "c1", properties=properties)
    assert isinstance(party, MqttJsParty)
    party.authenticate = scram.final
    return party, scram


@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_scram(guarded: Guarded, transport: str) -> None:
    """[MQTT5-4.12.0-2] [MQTT5-4.12.0-5]: challenge, answer, proof; the rules of the name that was proved count."""
    client, scram = invite(guarded.meeting, transport, "secret")
    await client.connect()
    assert client.connack["authentication_method"] == METHOD
    proof = client.connack["authentication_data"]
    assert isinstance(proof, bytes) and scram.trusts(proof)
    assert await client.subscribe(Filter("own/#", 1), Filter("other/#", 1)) == [1, 0x87]


async def test_scram_with_a_wrong_password(guarded: Guarded) -> None:
    """[MQTT5-4.12.0-4]: bad user name or password."""
    client, _ = invite(guarded.meeting, "tcp", "wrong")
    with pytest.raises(Refused) as refused:
        await client.connect()
    assert refused.value.code == 0x86


async def test_an_unknown_method(meeting: Meeting) -> None:
    """[MQTT5-4.12.0-1]: bad authentication method."""
    with pytest.raises(Refused) as refused:
        await meeting.join(Kind("mqttjs", 5), "c1", properties={"authentication_method": "MAGIC"})
    assert refused.value.code == 0x8C
