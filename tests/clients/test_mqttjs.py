"""What of MQTT 5 only MQTT.js lets its user do: enhanced authentication."""

import asyncio
import socket
import struct
from typing import Any

import pytest

from ..store.scram_client import ScramClient
from .conftest import Guarded
from .kinds import Meeting, needs_node
from .mqttjs_party import MqttJsParty
from .node import Node, NodeEnded
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


async def test_a_node_process_that_dies_fails_one_test_alone(meeting: Meeting, node: Node) -> None:
    """Whoever has a client there is told at once; who comes next gets another process."""
    first = await meeting.join(Kind("mqttjs", 5), "c1")
    assert isinstance(first, MqttJsParty)
    publishing = asyncio.ensure_future(first.ask("authenticate"))  # never answered: nobody was challenged
    node.kill()
    for asked in (publishing, first.subscribe(Filter("t", 1))):
        with pytest.raises(NodeEnded, match="status -9"):
            await asked
    second = await meeting.join(Kind("mqttjs", 5), "c2")
    assert await second.subscribe(Filter("t", 1)) == [1]


async def test_a_client_that_is_dropped_takes_no_other_along(meeting: Meeting, node: Node) -> None:
    """Whoever closes with something unread resets the connection."""
    stays = await meeting.join(Kind("mqttjs", 5), "stays")
    for _ in range(5):
        with socket.create_connection(await node.address()) as dropped:
            dropped.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            dropped.sendall(b'{"id": 1, "command": "nothing"}\n')
            await asyncio.to_thread(dropped.recv, 1)
    assert await stays.subscribe(Filter("t", 1)) == [1]
