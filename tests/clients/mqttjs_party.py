"""MQTT.js in a Node process of its own, told over a socket what to do: one connection to it is one client."""

import asyncio
import base64
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from .node import Node, NodeEnded
from .party import PROPERTIES, SECONDS, Filter, Kind, Options, Party, Properties, Received, Refused
from .places import Place

SCHEMES = {"tcp": "mqtt", "ws": "ws", "tls": "mqtts", "wss": "wss"}
BOOLEANS = {"payload_format", "request_response_information", "retain_available"} | {
    f"{feature}_available" for feature in ("wildcard", "identifiers", "shared")
}
LINE_LIMIT = 2**23
RECONNECT_MILLISECONDS = 50

Json = dict[str, Any]


class CommandFailed(Exception):
    def __init__(self, message: str, code: int | str | None) -> None:
        super().__init__(message)
        self.code = code


def packed(properties: Mapping[str, object]) -> Json:
    """Build the properties object that MQTT.js takes."""
    return {PROPERTIES[name].mqttjs: _packed_value(name, value) for name, value in properties.items()}


def _packed_value(name: str, value: Any) -> object:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if name in BOOLEANS:
        return bool(value)
    if name != "user_properties":
        return value
    grouped: dict[str, list[str]] = {}
    for key, text in value:
        grouped.setdefault(key, []).append(text)
    return grouped


def unpacked(properties: Json | None) -> Properties:
    """Give an MQTT.js properties object under our names."""
    given: Properties = {}
    for name, names in PROPERTIES.items():
        value = (properties or {}).get(names.mqttjs)
        if value is None:
            continue
        if name == "user_properties":
            listed = ((key, texts if isinstance(texts, list) else [texts]) for key, texts in value.items())
            value = [(key, text) for key, texts in listed for text in texts]
        elif name == "subscription_identifiers":
            value = value if isinstance(value, list) else [value]
        elif name in BOOLEANS:
            value = int(value)
        elif isinstance(value, dict):
            value = base64.b64decode(value["base64"])
        given[name] = value
    return given


class MqttJsParty(Party):
    TELLS = frozenset(
        {
            "session_present",
            "connack",
            "publish_reason",
            "unsubscribe_reason",
            "end_reason",
            "goodbye_properties",
            "alias",
        }
    )

    def __init__(self, kind: Kind, place: Place, options: Options, node: Node) -> None:
        super().__init__(kind, place, options, node)
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._reason: int | None = None
        self._events: dict[str, Callable[[Json], None]] = {
            "message": self._on_message,
            "disconnect": self._on_disconnect,
            "close": lambda _event: self.ended.append(self._reason),
            "auth": self._on_auth,
        }
        self.authenticate: Callable[[bytes], bytes] | None = None
        """What answers the server's challenges, where a method was asked for."""
        self._authenticating: asyncio.Task[Any] | None = None

    def _on_message(self, event: Json) -> None:
        properties = unpacked(event.get("properties"))
        if (alias := properties.pop("topic_alias", None)) is not None:
            assert isinstance(alias, int)
            self.aliases.add(alias)
        payload = base64.b64decode(event["payload"])
        self.messages.append(Received(event["topic"], payload, event["qos"], event["retain"], properties))

    def _on_disconnect(self, event: Json) -> None:
        self._reason = event.get("reason")

    def _on_auth(self, event: Json) -> None:
        assert self.authenticate is not None
        challenge = unpacked(event["properties"])
        data = challenge["authentication_data"]
        assert isinstance(data, bytes)
        properties = packed(challenge | {"authentication_data": self.authenticate(data)})
        self._authenticating = asyncio.create_task(self.ask("authenticate", properties=properties))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            await self._read_to_the_end(reader)
        ended = await self.node.obituary()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(NodeEnded(ended))
        raise NodeEnded(ended)

    async def _read_to_the_end(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            said = json.loads(line)
            if "event" in said:
                self._events[said["event"]](said)
                continue
            answer = self._answers.pop(said["id"])
            if answer.cancelled():  # nobody waits for it any more
                continue
            if "error" in said:
                answer.set_exception(CommandFailed(said["error"], said.get("code")))
            else:
                answer.set_result(said["result"])

    async def ask(self, command: str, **arguments: Any) -> Any:
        """Have a command carried out; raises CommandFailed."""
        assert self._writer is not None
        assert self._reading is not None
        if self._reading.done():
            await self._reading
        number = len(self._answers) + 1
        while number in self._answers:
            number += 1
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._writer.write(json.dumps({"id": number, "command": command, **arguments}).encode() + b"\n")
        async with asyncio.timeout(SECONDS):
            return await answer

    async def connect(self) -> None:
        reader, self._writer = await asyncio.open_connection(*await self.node.address(), limit=LINE_LIMIT)
        self._reading = asyncio.create_task(self._read(reader))
        host, port = self.address
        options: Json = {
            "clientId": self.options.client_id,
            "clean": self.options.clean,
            "keepalive": self.options.keep_alive,
            "reconnectPeriod": RECONNECT_MILLISECONDS if self.options.reconnect else 0,
            "protocolVersion": self.kind.level,
            "protocolId": "MQIsdp" if self.kind.level == 3 else "MQTT",
            "properties": packed(self.options.properties),
        }
        if self.options.username is not None:
            options |= {"username": self.options.username, "password": self.options.password}
        if (will := self.options.will) is not None:
            options["will"] = {
                "topic": will.topic,
                "payload": {"base64": base64.b64encode(will.payload).decode()},
                "qos": will.qos,
                "retain": will.retain,
                "properties": packed(will.properties),
            }
        path = "/mqtt" if self.kind.transport in ("ws", "wss") else ""
        url = f"{SCHEMES[self.kind.transport]}://{host}:{port}{path}"
        authority = self.place.certificates.authority.read_text() if self.kind.transport in ("tls", "wss") else None
        try:
            connack = await self.ask("connect", url=url, options=options, authority=authority)
        except CommandFailed as error:
            if not isinstance(error.code, int):  # not the server's word but the network's
                raise
            raise Refused(error.code) from None
        self.session_present, self.connack = connack["sessionPresent"], unpacked(connack.get("properties"))

    async def subscribe(self, *filters: Filter, identifier: int | None = None) -> list[int]:
        options: Json = {}
        if identifier is not None:
            options["properties"] = {"subscriptionIdentifier": identifier}
        topics = {
            f.topic: {"qos": f.qos, "nl": f.no_local, "rap": f.retain_as_published, "rh": f.retain_handling}
            for f in filters
        }
        return await self.ask("subscribe", topics=topics, options=options)

    async def unsubscribe(self, topic_filter: str) -> list[int]:
        return await self.ask("unsubscribe", topic=topic_filter)

    async def publish_all(
        self, topic: str, payloads: Sequence[bytes], qos: int = 0, *, retain: bool = False, **properties: object
    ) -> list[int | None]:
        return await self.ask(
            "publish",
            topic=topic,
            payloads=[base64.b64encode(payload).decode() for payload in payloads],
            options={"qos": qos, "retain": retain, "properties": packed(properties)},
        )

    async def disconnect(self, reason: int = 0, **properties: object) -> None:
        await self.ask("end", options={"reasonCode": reason, "properties": packed(properties)})

    async def drop(self) -> None:
        await self.ask("drop")

    async def close(self) -> None:
        if self._writer is None or self._reading is None:
            return
        self._writer.close()
        self._reading.cancel()
        with suppress(asyncio.CancelledError, NodeEnded):  # who asked for something was told
            await self._reading
