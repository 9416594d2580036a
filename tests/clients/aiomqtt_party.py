"""aiomqtt, the asyncio client most people use."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from .node import Node
from .paho_party import OLD_CODES, break_off, packed, unpacked
from .party import SECONDS, Filter, Kind, Options, Party, Received, Refused
from .places import Place


class AiomqttParty(Party):
    TELLS = frozenset({"end_reason", "pair_order"})
    RECONNECTS = False

    def __init__(self, kind: Kind, place: Place, options: Options, node: Node) -> None:
        super().__init__(kind, place, options, node)
        self._new = kind.level == 5
        will = None
        if options.will is not None:
            properties = packed(PacketTypes.WILLMESSAGE, options.will.properties)
            will = aiomqtt.Will(
                options.will.topic, options.will.payload, options.will.qos, options.will.retain, properties
            )
        session: dict[str, Any] = {"clean_session": options.clean}
        if self._new:
            connecting = packed(PacketTypes.CONNECT, options.properties)
            session = {"clean_start": options.clean, "properties": connecting}
        self._client = aiomqtt.Client(
            *self.address,
            identifier=options.client_id,
            protocol=aiomqtt.ProtocolVersion(kind.level),
            username=options.username,
            password=options.password,
            will=will,
            keepalive=options.keep_alive,
            timeout=SECONDS,
            **session,
        )
        self._client.pending_calls_threshold = 10_000  # else it warns of many calls at a time
        self._reading: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        try:
            await self._client.__aenter__()
        except aiomqtt.exceptions.MqttConnectError as error:
            code = getattr(error.rc, "value", error.rc)
            assert isinstance(code, int)
            raise Refused(code if self._new else OLD_CODES.get(code, code)) from None
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for message in self._client.messages:
                properties = unpacked(message.properties)
                received = Received(str(message.topic), message.payload, message.qos, message.retain, properties)
                self.messages.append(received)
        except aiomqtt.MqttError as error:
            reason = getattr(error.__cause__, "rc", None)
            told = isinstance(reason, ReasonCode) and self._new
            self.ended.append(reason.value if told else None)

    async def subscribe(self, *filters: Filter, identifier: int | None = None) -> list[int]:
        wanted: list[tuple[str, Any]] = [(f.topic, f.qos) for f in filters]
        if self._new:
            wanted = [
                (f.topic, SubscribeOptions(f.qos, f.no_local, f.retain_as_published, f.retain_handling))
                for f in filters
            ]
        named = {"subscription_identifiers": identifier} if identifier is not None else {}
        codes = await self._client.subscribe(wanted, properties=packed(PacketTypes.SUBSCRIBE, named))
        return [int(getattr(code, "value", code)) for code in codes]

    async def unsubscribe(self, topic_filter: str) -> list[int]:
        await self._client.unsubscribe(topic_filter)
        return []

    async def publish_all(
        self, topic: str, payloads: Sequence[bytes], qos: int = 0, *, retain: bool = False, **properties: object
    ) -> list[int | None]:
        built = packed(PacketTypes.PUBLISH, properties)
        await asyncio.gather(*(self._client.publish(topic, payload, qos, retain, built) for payload in payloads))
        return [None] * len(payloads)

    async def disconnect(self, reason: int = 0, **properties: object) -> None:
        assert not reason and not properties, "aiomqtt says good-bye in one way only"
        await self.close()

    async def drop(self) -> None:
        sock = self._client._client.socket()
        assert sock is not None
        break_off(sock.fileno())
        assert self._reading is not None
        await asyncio.wait((self._reading,), timeout=SECONDS)

    async def close(self) -> None:
        if self._reading is None:
            return
        self._reading.cancel()
        with suppress(asyncio.CancelledError):
            await self._reading
        self._reading = None
        with suppress(aiomqtt.MqttError):
            await self._client.__aexit__(None, None, None)
