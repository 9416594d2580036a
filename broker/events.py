"""amqtt's events, fired to the plugins that listen; nothing is built or scheduled while nobody does."""

import asyncio
from logging import getLogger
from typing import Any

from amqtt.broker import BrokerContext, RetainedApplicationMessage
from amqtt.events import BrokerEvents, MQTTEvents
from amqtt.plugins.manager import PluginManager
from amqtt.session import IncomingApplicationMessage
from amqtt.session import Session as AmqttSession

from .message import Message

_logger = getLogger(__name__)
_PENDING_LIMIT = 10_000
_ALL = tuple(BrokerEvents)


class Events:
    """Schedule plugin callbacks; past 10,000 that have not ended, further events are dropped and counted."""

    def __init__(self) -> None:
        self._plugins: PluginManager[BrokerContext] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._heard: frozenset[str] = frozenset()
        self.dropped = 0
        self.messages = False
        """Whether a plugin listens to messages, so that each must be shown to it."""

    def load(self, plugins: "PluginManager[BrokerContext]") -> None:
        """Take the plugins that amqtt's plugin manager has loaded."""
        self._plugins = plugins
        self._heard = frozenset(
            event for event in _ALL for plugin in plugins.plugins if getattr(plugin, f"on_{event}", None) is not None
        )
        for plugin in plugins.plugins:
            if any(hasattr(type(plugin), f"on_{event}") for event in MQTTEvents):
                _logger.warning("%s listens to packet events, which are not fired yet", type(plugin).__name__)
        self.messages = bool(self._heard & {BrokerEvents.MESSAGE_RECEIVED, BrokerEvents.MESSAGE_BROADCAST})

    def fire(self, event: BrokerEvents, **arguments: Any) -> None:
        """Schedule the callbacks of an event, in the order of the calls."""
        if event not in self._heard or self._plugins is None:
            return
        if len(self._tasks) >= _PENDING_LIMIT:
            self.dropped += 1
            if self.dropped == 1:
                _logger.warning("plugins are too slow for the broker's events; events are being dropped")
            return
        task = asyncio.ensure_future(self._plugins.fire_event(event, wait=True, **arguments))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def fire_and_wait(self, event: BrokerEvents) -> None:
        """Run the callbacks of a lifecycle event to their end."""
        if self._plugins is not None:
            await self._plugins.fire_event(event, wait=True)

    async def drain(self) -> None:
        """Wait for what is scheduled, at most five seconds."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    def message(self, client_id: str, message: Message) -> None:
        """Show a published message to the plugins."""
        shown = IncomingApplicationMessage(None, message.topic, message.qos, message.payload, message.retain)
        shown.publish_packet = shown.build_publish_packet()
        self.fire(BrokerEvents.MESSAGE_RECEIVED, client_id=client_id, message=shown)
        self.fire(BrokerEvents.MESSAGE_BROADCAST, client_id=client_id, message=shown)

    def retained(self, message: Message) -> None:
        """Show a retained message to the plugins."""
        if BrokerEvents.RETAINED_MESSAGE in self._heard:
            shown = RetainedApplicationMessage(None, message.topic, message.payload, message.qos)
            self.fire(BrokerEvents.RETAINED_MESSAGE, client_id=None, retained_message=shown)

    def wants_view(self) -> bool:
        """Tell whether a plugin listens to events that carry amqtt's session object."""
        return bool(self._heard & {BrokerEvents.CLIENT_CONNECTED, BrokerEvents.CLIENT_DISCONNECTED})


def build_view(
    *,
    client_id: str,
    username: str | None,
    password: bytes | None,
    clean_session: bool,
    keep_alive: int,
    peer_host: str,
    peer_port: int,
) -> AmqttSession:
    """Build the session object that amqtt's plugins expect; costly, so made only where one is loaded."""
    view = AmqttSession()
    view.client_id = client_id
    view.username = username
    view.password = None if password is None else password.decode("utf-8", "surrogateescape")
    view.clean_session = clean_session
    view.keep_alive = keep_alive
    view.remote_address = peer_host
    view.remote_port = peer_port
    return view
