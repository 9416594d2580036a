"""Every client that is tested, and how a test opens one."""

import shutil
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from . import node as nodejs
from .aiomqtt_party import AiomqttParty
from .amqtt_party import AmqttParty
from .gmqtt_party import GmqttParty
from .mqttjs_party import MqttJsParty
from .node import Node
from .paho_party import PahoParty
from .party import Kind, Options, Party
from .places import Place

KINDS = [
    Kind("paho", 3),
    Kind("paho", 4),
    Kind("paho", 5),
    Kind("paho", 4, "ws"),
    Kind("paho", 5, "ws"),
    Kind("paho", 4, "tls"),
    Kind("paho", 5, "tls"),
    Kind("paho", 5, "wss"),
    Kind("aiomqtt", 4),
    Kind("aiomqtt", 5),
    Kind("gmqtt", 4),
    Kind("gmqtt", 5),
    Kind("gmqtt", 5, "tls"),
    Kind("amqtt", 4),
    Kind("amqtt", 4, "ws"),
    Kind("mqttjs", 3),
    Kind("mqttjs", 4),
    Kind("mqttjs", 5),
    Kind("mqttjs", 4, "ws"),
    Kind("mqttjs", 5, "ws"),
    Kind("mqttjs", 5, "wss"),
]
PARTIES: dict[str, type[Party]] = {
    "paho": PahoParty,
    "aiomqtt": AiomqttParty,
    "gmqtt": GmqttParty,
    "amqtt": AmqttParty,
    "mqttjs": MqttJsParty,
}

MOSQUITTO_MISSING = "no mosquitto_pub, mosquitto_sub and mosquitto_rr on this machine (apt install mosquitto-clients)"
HAS_MOSQUITTO = all(shutil.which(f"mosquitto_{tool}") for tool in ("pub", "sub", "rr"))
needs_mosquitto = pytest.mark.skipif(not HAS_MOSQUITTO, reason=MOSQUITTO_MISSING)
needs_node = pytest.mark.skipif(nodejs.FOUND is None, reason=nodejs.MISSING)


def parameters(kinds: Iterable[Kind]) -> list[Any]:
    """Make test parameters of these, those that the machine cannot run marked as skipped, with the reason."""
    return [pytest.param(kind, id=str(kind), marks=[needs_node] if kind.library == "mqttjs" else []) for kind in kinds]


def runnable(kinds: Iterable[Kind]) -> list[Kind]:
    """Leave out what the machine cannot run; those tests are skipped, with the reason, elsewhere."""
    return [kind for kind in kinds if kind.library != "mqttjs" or nodejs.FOUND is not None]


class Meeting:
    """Open clients to one place and close what is left of them at the end."""

    def __init__(self, place: Place, node: Node, stack: AsyncExitStack) -> None:
        self.place = place
        self.broker = place.broker
        self._node = node
        self._stack = stack

    def invite(self, kind: Kind, client_id: str, **options: Any) -> Party:
        """Make a client that is not connected yet."""
        chosen = Options(client_id=client_id, **options)
        party = PARTIES[kind.library](kind, self.place, chosen, self._node)
        self._stack.push_async_callback(party.close)
        return party

    async def join(self, kind: Kind, client_id: str, **options: Any) -> Party:
        """Make a client and connect it; raises Refused."""
        party = self.invite(kind, client_id, **options)
        await party.connect()
        return party
