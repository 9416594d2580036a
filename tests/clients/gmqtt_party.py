"""gmqtt, an asyncio client with a codec of its own; MQTT 5 is its default."""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import gmqtt
from gmqtt.mqtt.constants import MQTTv50, MQTTv311
from gmqtt.mqtt.handler import MQTTConnectError
from gmqtt.storage import PersistentStorage

from ..engine.conditions import until
from .node import Node
from .party import PROPERTIES, SECONDS, Filter, Kind, Options, Party, Properties, Received, Refused
from .places import Place

ALWAYS, NEVER = -1, -2
"""Numbers of retries; with 0 it still reconnects once."""
RECONNECT_SECONDS = 0.05


def packed(properties: Mapping[str, object]) -> dict[str, Any]:
    return {PROPERTIES[name].gmqtt: value for name, value in properties.items()}


def unpacked(properties: Mapping[str, Any]) -> Properties:
    """Give its properties under our names; it keeps a list of values for each."""
    given: Properties = {}
    for name, names in PROPERTIES.items():
        if values := properties.get(names.gmqtt):
            given[name] = values if name in ("user_properties", "subscription_identifiers") else values[0]
    return given


class GmqttParty(Party):
    TELLS = frozenset(
        {"session_present", "connack", "unsubscribe_reason", "end_reason", "goodbye_properties", "alias", "pair_order"}
    )

    def __init__(self, kind: Kind, place: Place, options: Options, node: Node) -> None:
        super().__init__(kind, place, options, node)
        will = None
        if options.will is not None:
            will = gmqtt.Message(
                options.will.topic,
                options.will.payload,
                options.will.qos,
                options.will.retain,
                **packed(options.will.properties),
            )
        self._unacknowledged = PersistentStorage()
        self._client = gmqtt.Client(
            options.client_id,
            clean_session=options.clean,
            will_message=will,
            persistent_storage=self._unacknowledged,
            **packed(options.properties),
        )
        self._client.reconnect_retries = ALWAYS if options.reconnect else NEVER
        self._client.reconnect_delay = RECONNECT_SECONDS
        if options.username is not None:
            self._client.set_auth_credentials(options.username, options.password)
        self._granted: dict[int, list[int]] = {}
        self._gone: dict[int, list[int]] = {}
        self._reason: int | None = None
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = lambda _c, mid, codes, _p: self._granted.update({mid: list(codes)})
        self._client.on_unsubscribe = lambda _c, mid, codes: self._gone.update({mid: list(codes)})

    def _on_connect(self, _client: object, flags: int, _code: int, _properties: object) -> None:
        self.session_present = bool(flags)
        self.connack = unpacked(self._client._package_handler._connack_properties)

    def _on_message(self, _client: object, topic: str, payload: bytes, qos: int, properties: dict[str, Any]) -> int:
        told = unpacked(properties)
        if (alias := told.pop("topic_alias", None)) is not None:
            assert isinstance(alias, int)
            self.aliases.add(alias)
        self.messages.append(Received(topic, bytes(payload), qos, bool(properties["retain"]), told))
        return 0

    def _on_disconnect(self, _client: object, packet: bytes, *_: object) -> None:
        """Called for the server's DISCONNECT, and with an empty packet when the connection is gone."""
        if packet:
            self._reason = packet[0]
        else:
            self.ended.append(self._reason)

    async def connect(self) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                await self._client.connect(
                    *self.address,
                    ssl=self.place.trusting() if self.kind.transport == "tls" else False,
                    keepalive=self.options.keep_alive,
                    version=MQTTv50 if self.kind.level == 5 else MQTTv311,
                )
        except MQTTConnectError as error:
            raise Refused(error._code) from None

    async def subscribe(self, *filters: Filter, identifier: int | None = None) -> list[int]:
        named = {"subscription_identifier": identifier} if identifier is not None else {}
        wanted = [
            gmqtt.Subscription(f.topic, f.qos, f.no_local, f.retain_as_published, f.retain_handling) for f in filters
        ]
        mid = self._client.subscribe(wanted, **named)
        await until(lambda: mid in self._granted, SECONDS)
        return self._granted.pop(mid)

    async def unsubscribe(self, topic_filter: str) -> list[int]:
        mid = self._client.unsubscribe(topic_filter)
        await until(lambda: mid in self._gone, SECONDS)
        return self._gone.pop(mid)

    async def publish_all(
        self, topic: str, payloads: Sequence[bytes], qos: int = 0, *, retain: bool = False, **properties: object
    ) -> list[int | None]:
        async with asyncio.timeout(SECONDS):
            for payload in payloads:
                while True:
                    try:
                        self._client.publish(topic, payload, qos, retain, **packed(properties))
                        break
                    except OverflowError:  # the server's Receive Maximum is used up
                        await asyncio.sleep(0.001)
            await self._unacknowledged.wait_empty()
        return [None] * len(payloads)

    async def disconnect(self, reason: int = 0, **properties: object) -> None:
        # Python's TLS takes what comes while it says good-bye, such as the last PUBREL, for an error.
        with suppress(ssl.SSLError):
            await self._client.disconnect(reason, **packed(properties))

    async def drop(self) -> None:
        before = len(self.ended)
        self._client._connection._transport.abort()
        await until(lambda: len(self.ended) > before, SECONDS)

    async def close(self) -> None:
        if self._client._connection is not None and self._client.is_connected:
            await self._client.disconnect()
