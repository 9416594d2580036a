"""amqtt's own client, which people who come from amqtt already have."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from amqtt.client import MQTTClient
from amqtt.errors import ConnectError

from .node import Node
from .party import SECONDS, Filter, Kind, Options, Party, Received, Refused
from .places import Place


class AmqttParty(Party):
    def __init__(self, kind: Kind, place: Place, options: Options, node: Node) -> None:
        super().__init__(kind, place, options, node)
        config: dict[str, Any] = {
            "auto_reconnect": options.reconnect,
            "reconnect_max_interval": 0,
            "plugins": {},
            # It asks for the difference, and pings so much before its own time is up.
            "keep_alive": options.keep_alive + 1,
            "ping_delay": 1,
        }
        if (will := options.will) is not None:
            config["will"] = {
                "topic": will.topic,
                "message": will.payload.decode(),
                "qos": will.qos,
                "retain": will.retain,
            }
        self._client = MQTTClient(options.client_id, config)
        self._reading: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        host, port = self.address
        scheme, path = ("ws", "/mqtt") if self.kind.transport == "ws" else ("mqtt", "")
        login = ""
        if self.options.username is not None:
            login = f"{self.options.username}:{self.options.password}@"
        try:
            await self._client.connect(f"{scheme}://{login}{host}:{port}{path}", cleansession=self.options.clean)
        except ConnectError as error:
            assert error.return_code is not None and self._client._handler is not None
            await self._client._handler.writer.close()  # it leaves the socket of a refused connection open
            raise Refused(error.return_code) from None
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._client._disconnect_task is not None
        try:
            while (message := await self._client.deliver_message()) is not None:
                received = Received(message.topic, bytes(message.data), message.qos, message.retain, {})
                self.messages.append(received)
        finally:  # the client cancels whoever waits for a message when its connection is gone
            self.ended.append(None)

    async def subscribe(self, *filters: Filter, identifier: int | None = None) -> list[int]:
        assert identifier is None
        return await self._client.subscribe([(f.topic, f.qos) for f in filters])

    async def unsubscribe(self, topic_filter: str) -> list[int]:
        await self._client.unsubscribe([topic_filter])
        return []

    async def publish_all(
        self, topic: str, payloads: Sequence[bytes], qos: int = 0, *, retain: bool = False, **properties: object
    ) -> list[int | None]:
        assert not properties
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*(self._client.publish(topic, payload, qos, retain) for payload in payloads))
        return [None] * len(payloads)

    async def disconnect(self, reason: int = 0, **properties: object) -> None:
        await self.close()

    async def drop(self) -> None:
        assert self._client._handler is not None
        writer: Any = self._client._handler.writer
        stream = writer._protocol if self.kind.transport == "ws" else writer._writer
        stream.transport.abort()
        # One that reconnects goes on reading, with another handler.
        dropped = self._client._handler
        gone = asyncio.create_task(dropped.wait_disconnect())
        await asyncio.wait((gone,), timeout=SECONDS)

    async def close(self) -> None:
        if self._reading is None:
            return
        reading, self._reading = self._reading, None
        await self._client.disconnect()
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
