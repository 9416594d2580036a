"""paho-mqtt, in a thread of its own as its users run it; its callbacks only append to lists."""

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from ..engine.conditions import until
from .node import Node
from .party import PROPERTIES, SECONDS, Filter, Kind, Options, Party, Properties, Received, Refused
from .places import Place

OLD_CODES = {0x84: 1, 0x85: 2, 0x88: 3, 0x86: 4, 0x87: 5}
"""paho shows the return codes of 3.1 and 3.1.1 as MQTT 5's."""


RECONNECT_SECONDS = 0.05


def packed(packet_type: int, properties: Mapping[str, object]) -> PahoProperties | None:
    """Build paho's properties object; None where there are none."""
    if not properties:
        return None
    built = PahoProperties(packet_type)
    for name, value in properties.items():
        setattr(built, PROPERTIES[name].paho, value)
    return built


def unpacked(properties: PahoProperties | None) -> Properties:
    """Give a paho properties object under our names."""
    held = vars(properties) if properties is not None else {}
    return {name: held[names.paho] for name, names in PROPERTIES.items() if names.paho in held}


def resolved(known: dict[int, str], alias: int, topic: str) -> str:
    """Do for a topic alias what paho leaves to its user."""
    if topic:
        known[alias] = topic
    return known[alias]


def break_off(fileno: int) -> None:
    """End a TCP connection behind the back of whoever owns the descriptor."""
    with socket.socket(fileno=os.dup(fileno)) as twin:
        twin.shutdown(socket.SHUT_RDWR)


class PahoParty(Party):
    TELLS = frozenset(
        {"session_present", "connack", "publish_reason", "unsubscribe_reason", "end_reason"}
        | {"goodbye_properties", "alias", "pair_order"}
    )

    def __init__(self, kind: Kind, place: Place, options: Options, node: Node, **more: Any) -> None:
        super().__init__(kind, place, options, node)
        self._new = kind.level == 5
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            clean_session=None if self._new else options.clean,
            protocol=MQTTProtocolVersion(kind.level),
            transport="websockets" if kind.transport in ("ws", "wss") else "tcp",
            reconnect_on_failure=options.reconnect,
            **more,
        )
        self.client.reconnect_delay_set(min_delay=RECONNECT_SECONDS)  # pyright: ignore[reportArgumentType]
        if kind.transport in ("tls", "wss"):
            self.client.tls_set_context(place.trusting())
        if options.username is not None or options.password is not None:
            self.client.username_pw_set(options.username, options.password)
        if (will := options.will) is not None:
            properties = packed(PacketTypes.WILLMESSAGE, will.properties)
            self.client.will_set(will.topic, will.payload, will.qos, will.retain, properties)
        self._answers: list[tuple[int, bool, Properties]] = []
        self._granted: dict[int, list[int]] = {}
        self._gone: dict[int, list[int]] = {}
        self._published: dict[int, int] = {}
        self._aliases: dict[int, str] = {}
        self.mids: list[int] = []
        """Packet identifiers of the messages with QoS 1 and 2."""
        self.client.on_connect = lambda _c, _u, flags, code, properties: self._answers.append(
            (code.value, bool(flags.session_present), unpacked(properties))
        )
        self.client.on_disconnect = lambda _c, _u, flags, code, _p: self.ended.append(
            code.value if self._new and flags.is_disconnect_packet_from_server else None
        )
        self.client.on_subscribe = lambda _c, _u, mid, codes, _p: self._granted.update({mid: [c.value for c in codes]})
        self.client.on_unsubscribe = lambda _c, _u, mid, codes, _p: self._gone.update({mid: [c.value for c in codes]})
        self.client.on_publish = lambda _c, _u, mid, code, _p: self._published.update({mid: code.value})
        self.client.on_message = self._on_message

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        properties = unpacked(message.properties)
        topic = message.topic
        if (alias := properties.pop("topic_alias", None)) is not None:
            assert isinstance(alias, int)
            self.aliases.add(alias)
            topic = resolved(self._aliases, alias, topic)
        if message.qos:
            self.mids.append(message.mid)
        self.messages.append(Received(topic, message.payload, message.qos, message.retain, properties))

    async def connect(self) -> None:
        await self.begin()
        code, present, properties = self._answers[0]
        if code:
            raise Refused(code if self._new else OLD_CODES.get(code, code))
        self.session_present, self.connack = present, properties

    async def begin(self) -> None:
        """Send the CONNECT and wait for its answer."""
        arguments: dict[str, Any] = {}
        if self._new:
            properties = packed(PacketTypes.CONNECT, self.options.properties)
            arguments = {"clean_start": self.options.clean, "properties": properties}
        await asyncio.to_thread(self.client.connect, *self.address, self.options.keep_alive, **arguments)
        self.client.loop_start()
        await until(lambda: bool(self._answers or self.ended), SECONDS)
        if not self._answers:
            raise ConnectionResetError("closed without a CONNACK")

    async def subscribe(self, *filters: Filter, identifier: int | None = None) -> list[int]:
        wanted: list[tuple[str, Any]] = [(f.topic, f.qos) for f in filters]
        if self._new:
            wanted = [
                (f.topic, SubscribeOptions(f.qos, f.no_local, f.retain_as_published, f.retain_handling))
                for f in filters
            ]
        named = {"subscription_identifiers": identifier} if identifier is not None else {}
        _, mid = self.client.subscribe(wanted, properties=packed(PacketTypes.SUBSCRIBE, named))
        assert mid is not None
        await until(lambda: mid in self._granted, SECONDS)
        return self._granted.pop(mid)

    async def unsubscribe(self, topic_filter: str) -> list[int]:
        _, mid = self.client.unsubscribe(topic_filter)
        assert mid is not None
        await until(lambda: mid in self._gone, SECONDS)
        return self._gone.pop(mid)

    async def publish_all(
        self, topic: str, payloads: Sequence[bytes], qos: int = 0, *, retain: bool = False, **properties: object
    ) -> list[int | None]:
        built = packed(PacketTypes.PUBLISH, properties)
        mids = [self.client.publish(topic, payload, qos, retain, built).mid for payload in payloads]
        await until(lambda: all(mid in self._published for mid in mids), SECONDS)
        reasons = [self._published.pop(mid) for mid in mids]
        return [reason if qos else None for reason in reasons]

    async def disconnect(self, reason: int = 0, **properties: object) -> None:
        if self._new:
            code = ReasonCode(PacketTypes.DISCONNECT, identifier=reason)
            self.client.disconnect(code, packed(PacketTypes.DISCONNECT, properties))
        else:
            self.client.disconnect()
        await until(lambda: bool(self.ended), SECONDS)

    async def drop(self) -> None:
        sock = self.client.socket()
        assert sock is not None
        before = len(self.ended)
        break_off(sock.fileno())
        await until(lambda: len(self.ended) > before, SECONDS)

    async def close(self) -> None:
        self.client.disconnect()
        await asyncio.to_thread(self.client.loop_stop)
