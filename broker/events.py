"""amqtt's events, fired to the plugins that listen; nothing is built or scheduled while nobody does."""

import asyncio
from collections.abc import Callable, Sequence
from logging import getLogger
from typing import Any

from amqtt.broker import BrokerContext, RetainedApplicationMessage
from amqtt.events import BrokerEvents, MQTTEvents
from amqtt.events import Events as AmqttEvents
from amqtt.plugins.base import BasePlugin
from amqtt.plugins.manager import PluginManager
from amqtt.session import IncomingApplicationMessage
from amqtt.session import Session as AmqttSession

from .event_queue import Arguments, Call, Callback, Event, EventQueue
from .message import Message
from .pace import Pace
from .packet_events import PacketRun
from .protocol.encode import SUBACK_FAILURE
from .protocol.packets import Subscribe

_logger = getLogger(__name__)
_WITH_SESSION = (BrokerEvents.CLIENT_CONNECTED, BrokerEvents.CLIENT_DISCONNECTED, *MQTTEvents)


class _Packets:
    """Packets on their way to their callbacks; each is decoded when its turn has come."""

    __slots__ = ("_callbacks", "_event", "_run", "size")

    def __init__(self, callbacks: tuple[Callback, ...], run: PacketRun) -> None:
        self._callbacks = callbacks
        self._run = run
        self._event: Event | None = None
        self.size = run.size

    @property
    def finished(self) -> bool:
        return self._run.finished and (self._event is None or self._event.finished)

    def take(self) -> Call | None:
        event = self._event
        if event is None or event.finished:
            packet = self._run.next_packet()
            if packet is None:
                self._event = None
                return None
            view = self._run.view
            arguments: Arguments = {"packet": packet} if view is None else {"packet": packet, "session": view}
            event = self._event = Event(self._callbacks, arguments, packet.fixed_header.remaining_length)
        return event.take()


class Events:
    """Fire events to the plugins that listen."""

    def __init__(self) -> None:
        self._callbacks: dict[str, tuple[Callback, ...]] = {}
        self._queue = EventQueue()
        self.show_retained: Callable[[Message], RetainedApplicationMessage] = _show_retained
        """Builds amqtt's picture of a retained message."""
        self.messages = False
        """Whether a plugin listens to messages, so that each must be shown to it."""
        self.packets = False
        """Whether a plugin listens to packets, so that each must be shown to it."""
        self.queues = False
        """Whether a plugin listens to messages that are queued for an absent client."""
        self.views = False
        """Whether a plugin listens to events that carry amqtt's session object."""

    def load(self, plugins: "BrokerPlugins") -> None:
        """Take the plugins that amqtt's plugin manager has loaded."""
        plugins.events = self
        for event in (*BrokerEvents, *MQTTEvents):
            name = f"on_{event}"
            listening = [(plugin, call) for plugin in plugins.plugins if (call := getattr(plugin, name, None))]
            if listening:
                self._callbacks[event] = tuple(Callback(plugin, event, call) for plugin, call in listening)
        self.messages = self.heard(BrokerEvents.MESSAGE_RECEIVED, BrokerEvents.MESSAGE_BROADCAST)
        self.packets = self.heard(*MQTTEvents)
        self.queues = self.heard(BrokerEvents.RETAINED_MESSAGE)
        self.views = self.heard(*_WITH_SESSION)

    def heard(self, *events: AmqttEvents) -> bool:
        """Tell whether a plugin listens to any of these events."""
        return any(event in self._callbacks for event in events)

    @property
    def dropped(self) -> int:
        """Count the events that a full queue, or the line of one callback, had no room for."""
        return self._queue.dropped

    @property
    def failed(self) -> int:
        """Count the plugins' callbacks that ended with an exception."""
        return self._queue.failed

    def keep_pace(self, pace: Pace) -> None:
        """Have publishers held where plugins fall behind."""
        self._queue.keep_pace(pace)

    async def drain(self) -> None:
        """Wait until all that was fired has been handled, at most five seconds."""
        await self._queue.drain()

    async def clear(self) -> None:
        """Drop what still waits and cancel the callbacks that still run."""
        await self._queue.clear()

    # -- what is fired

    def fire(self, event: AmqttEvents, **arguments: Any) -> None:
        """Have the callbacks of an event run soon."""
        callbacks = self._callbacks.get(event)
        if callbacks:
            self._queue.add(Event(callbacks, arguments))

    async def fire_and_wait(self, event: AmqttEvents, **arguments: Any) -> None:
        """Run the callbacks of an event to their end, all at a time."""
        callbacks = self._callbacks.get(event, ())
        await asyncio.gather(*(self._queue.run(callback, arguments) for callback in callbacks))

    def subscribed(self, client_id: str, packet: Subscribe, codes: Sequence[int]) -> None:
        """Show the subscriptions of a SUBSCRIBE that were granted; after its SUBACK, as amqtt does."""
        if BrokerEvents.CLIENT_SUBSCRIBED not in self._callbacks:
            return
        for request, code in zip(packet.requests, codes, strict=True):
            if code < SUBACK_FAILURE:
                self.fire(BrokerEvents.CLIENT_SUBSCRIBED, client_id=client_id, topic=request.topic_filter, qos=code)

    def message(self, client_id: str, message: Message, packet_id: bytes = b"", *, permitted: bool = True) -> None:
        """Show a message that a client sent: as received, and if it may be passed on also as broadcast."""
        shown = IncomingApplicationMessage(
            int.from_bytes(packet_id, "big") or None, message.topic, message.qos, message.payload, message.retain
        )
        shown.publish_packet = shown.build_publish_packet()
        arguments: Arguments = {"client_id": client_id, "message": shown}
        for event in (BrokerEvents.MESSAGE_RECEIVED, BrokerEvents.MESSAGE_BROADCAST)[: 1 + permitted]:
            callbacks = self._callbacks.get(event)
            if callbacks:
                self._queue.add(Event(callbacks, arguments, len(message.payload)))

    def retained(self, message: Message) -> None:
        """Show that a message is retained, or with an empty payload that a topic's has been cleared."""
        self._show(message, None)

    def queued(self, client_id: str, message: Message, qos: int) -> None:
        """Show that a message waits for an absent client; amqtt has no event of its own for it."""
        self._show(message, client_id, qos)

    def _show(self, message: Message, client_id: str | None, qos: int | None = None) -> None:
        callbacks = self._callbacks.get(BrokerEvents.RETAINED_MESSAGE)
        if callbacks:
            shown = self.show_retained(message)
            if qos is not None:
                shown.qos = qos
            arguments: Arguments = {"client_id": client_id, "retained_message": shown}
            self._queue.add(Event(callbacks, arguments, len(message.payload)))

    def packet_received(self, view: AmqttSession | None, packet: bytes, version: int) -> None:
        """Show a packet that came; `view` is None before the CONNECT was accepted."""
        self._show_packets(MQTTEvents.PACKET_RECEIVED, PacketRun(view, packet, version, outgoing=False))

    def packets_sent(self, view: AmqttSession | None, data: bytes, version: int) -> None:
        """Show packets that go out, one or several whole ones."""
        self._show_packets(MQTTEvents.PACKET_SENT, PacketRun(view, data, version, outgoing=True))

    def _show_packets(self, event: MQTTEvents, run: PacketRun) -> None:
        callbacks = self._callbacks.get(event)
        if callbacks:
            self._queue.add(_Packets(callbacks, run))


class BrokerPlugins(PluginManager[BrokerContext]):
    """amqtt's plugin manager, with the events in the broker's queue."""

    events: Events | None = None

    async def fire_event(self, event_name: AmqttEvents, *, wait: bool = False, **method_kwargs: Any) -> None:
        """Fire an event as the broker does."""
        if self.events is not None:
            if wait:
                await self.events.fire_and_wait(event_name, **method_kwargs)
            else:
                self.events.fire(event_name, **method_kwargs)

    async def wait_fired_events(self) -> None:
        """Wait until all that was fired has been handled."""
        if self.events is not None:
            await self.events.drain()

    async def close(self) -> None:
        """Close the plugins; one that fails keeps no other from it."""
        await self.wait_fired_events()
        if self.events is not None:
            await self.events.clear()
        await asyncio.gather(*(self._close(plugin) for plugin in self.plugins))

    @staticmethod
    async def _close(plugin: "BasePlugin[BrokerContext]") -> None:
        try:
            await plugin.close()
        except Exception:  # the plugin dispatcher, as for events
            _logger.exception("%s.close failed", type(plugin).__name__)


def _show_retained(message: Message) -> RetainedApplicationMessage:
    return RetainedApplicationMessage(None, message.topic, message.payload, message.qos)
