"""What the broker says about itself under `$SYS/brokers/NODE`, in EMQX's words.

Numbers are added up only where somebody subscribes to them. All of it goes out at QoS 0; what is retained stays out of
the lists and counts of retained messages, is not written anywhere, and is said anew by the next broker.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import time
from typing import Any

from .alarms import Alarm
from .deliveries import Subscription
from .engine import Engine
from .message import Message
from .routing.topics import InvalidTopic, check_name
from .session import Session
from .session_watch import SessionWatch

PREFIX = "$SYS/brokers"
_EXPIRY_NEVER = 0xFFFF_FFFF
_SLICE = 20
"""Messages that are published before the event loop gets its turn."""


@dataclass(frozen=True, slots=True)
class SysTopicsSettings:
    """Say how often, in seconds, and of what the broker speaks; None for never."""

    message_interval: float | None = 60.0
    """Version, description and all numbers."""
    heartbeat_interval: float | None = 30.0
    """Nodes, uptime and time of day."""
    client_connected: bool = True
    client_disconnected: bool = True
    client_subscribed: bool = False
    client_unsubscribed: bool = False


class SysTopics(SessionWatch):
    """Publish what there is to say about one broker, once it has been given a name."""

    def __init__(
        self,
        engine: Engine,
        measure: Callable[[], Awaitable[Mapping[str, int]]],
        gauges: Callable[[], Mapping[str, int]],
        *,
        clock: Callable[[], float] = time,
    ) -> None:
        """`measure` adds up all counters, `gauges` gives the present sizes, both under EMQX's names."""
        self._engine = engine
        self._measure = measure
        self._gauges = gauges
        self._clock = clock
        self._settings = SysTopicsSettings()
        self._node = ""
        self._prefix = ""
        self._release = ""
        self._metrics: Sequence[str] = ()
        self._started_at = 0.0
        self._heartbeat_at: float | None = None
        self._messages_at: float | None = None
        self._busy = False
        """Whether numbers are being published."""

    @property
    def settings(self) -> SysTopicsSettings:
        """How often and of what it speaks."""
        return self._settings

    @property
    def node(self) -> str:
        """The name of the node that it speaks for; empty while it is silent."""
        return self._node

    def configure(self, settings: SysTopicsSettings) -> None:
        """Change how often and of what it speaks; from the next look at the clock on."""
        self._settings = settings
        self._heartbeat_at = self._messages_at = None

    def begin(self, node: str, release: str, metrics: Iterable[str], started_at: float) -> None:
        """Speak as this node from now on; `metrics` are the names of the counters that are told."""
        self._node, self._release, self._metrics, self._started_at = node, release, tuple(metrics), started_at
        self._prefix = f"{PREFIX}/{node}"
        self._heartbeat_at = self._messages_at = None
        if self not in self._engine.session_watches:
            self._engine.session_watches.append(self)

    def end(self) -> None:
        """Fall silent, and leave nothing behind."""
        if self in self._engine.session_watches:
            self._engine.session_watches.remove(self)
        for topic in (PREFIX, f"{self._prefix}/version", f"{self._prefix}/sysdescr"):
            self._engine.retention.discard(topic)
        self._node = self._prefix = ""

    def keep_house(self, now: float) -> None:
        """Publish what is due; `now` is of a clock that is never set, call it as often as you like."""
        if not self._node:
            return
        settings = self._settings
        every = settings.heartbeat_interval
        if every is not None and (self._heartbeat_at is None or now >= self._heartbeat_at):
            self._heartbeat_at = now + every
            self._publish_heartbeat()
        every = settings.message_interval
        if every is not None and (self._messages_at is None or now >= self._messages_at):
            self._messages_at = now + every
            self._publish_messages()

    def _publish_heartbeat(self) -> None:
        now = self._clock()
        self._publish(PREFIX, self._node, retain=True)
        self._publish(f"{self._prefix}/uptime", str(max(0, int((now - self._started_at) * 1_000))))
        self._publish(
            f"{self._prefix}/datetime", datetime.fromtimestamp(now).astimezone().isoformat(timespec="seconds")
        )

    def _publish_messages(self) -> None:
        self._publish(f"{self._prefix}/version", self._release, retain=True)
        self._publish(f"{self._prefix}/sysdescr", "wardenmq", retain=True)
        if not self._busy:
            self._busy = True
            self._engine.spawn(self._publish_numbers())

    async def _publish_numbers(self) -> None:
        """Publish the numbers that somebody subscribes to, a few at a time."""
        try:
            gauges = self._gauges()
            await self._publish_wanted("stats", gauges, lambda: _given(gauges))
            await self._publish_wanted("metrics", self._metrics, self._measure)
        finally:
            self._busy = False

    async def _publish_wanted(
        self, kind: str, names: Iterable[str], measure: Callable[[], Awaitable[Mapping[str, int]]]
    ) -> None:
        topics = {name: f"{self._prefix}/{kind}/{name.replace('.', '/')}" for name in names}
        wanted = {name: topic for name, topic in topics.items() if self._engine.router.reaches_any(topic)}
        if not wanted:
            return
        numbers = await measure()
        for count, (name, topic) in enumerate(wanted.items(), 1):
            self._publish(topic, str(numbers.get(name, 0)))
            if count % _SLICE == 0:
                await asyncio.sleep(0)

    def alarm_changed(self, alarm: Alarm) -> None:
        """Tell of an alarm that is raised or over."""
        if not self._node:
            return
        body: dict[str, Any] = {
            "name": alarm.name,
            "details": alarm.details,
            "message": alarm.message,
            "activate_at": _microseconds(alarm.activated_at),
            "deactivate_at": "infinity",
            "activated": alarm.deactivated_at is None,
        }
        if alarm.deactivated_at is not None:
            body["deactivate_at"] = _microseconds(alarm.deactivated_at)
        word = "activate" if alarm.deactivated_at is None else "deactivate"
        self._publish_json(f"{self._prefix}/alarms/{word}", body)

    def tell(self, event: str, text: str) -> None:
        """Tell of something that the watch over the system has noticed."""
        if self._node:
            self._publish(f"{self._prefix}/sysmon/{event}", text)

    # -- clients

    def connected(self, session: Session) -> None:
        """Tell of a client that has been let in."""
        if not self._settings.client_connected or (topic := self._client_topic(session, "connected")) is None:
            return
        body = {
            **_client(session),
            "keepalive": session.keep_alive,
            "clean_start": session.clean_start,
            "expiry_interval": int(min(session.expiry_interval, _EXPIRY_NEVER)),
            "connected_at": _milliseconds(session.connected_at),
            "ts": _milliseconds(self._clock()),
        }
        self._publish_json(topic, body)

    def disconnected(self, session: Session, reason: str) -> None:
        """Tell of a connection that has ended."""
        if not self._settings.client_disconnected or (topic := self._client_topic(session, "disconnected")) is None:
            return
        now = self._clock()
        body = {
            **_client(session),
            "reason": reason,
            "connected_at": _milliseconds(session.connected_at),
            "disconnected_at": _milliseconds(session.disconnected_at or now),
            "ts": _milliseconds(now),
        }
        self._publish_json(topic, body)

    def subscribed(self, session: Session, topic_filter: str, subscription: Subscription, is_new: bool) -> None:
        """Tell of a subscription."""
        if not self._settings.client_subscribed or (topic := self._client_topic(session, "subscribed")) is None:
            return
        options: dict[str, Any] = {
            "qos": subscription.qos,
            "nl": int(subscription.no_local),
            "rap": int(subscription.retain_as_published),
            "rh": subscription.retain_handling,
            "is_new": is_new,
            "sub_props": {},
        }
        if subscription.identifier is not None:
            options["sub_props"] = {"Subscription-Identifier": subscription.identifier}
        self._publish_json(topic, self._subscription(session, topic_filter, options))

    def unsubscribed(self, session: Session, topic_filter: str) -> None:
        """Tell of a subscription that is no more."""
        if not self._settings.client_unsubscribed or (topic := self._client_topic(session, "unsubscribed")) is None:
            return
        self._publish_json(topic, self._subscription(session, topic_filter, {}))

    def _subscription(self, session: Session, topic_filter: str, options: dict[str, Any]) -> dict[str, Any]:
        return {
            "clientid": session.client_id,
            "username": session.username,
            "protocol": "mqtt",
            "topic": topic_filter,
            "subopts": options,
            "ts": _milliseconds(self._clock()),
        }

    def _client_topic(self, session: Session, event: str) -> str | None:
        """Give the topic of an event where somebody subscribes to it; many clients make many topics for nobody."""
        # a topic has no wildcards, but a client id may
        client_id = session.client_id.replace("+", "%2B").replace("#", "%23")
        topic = f"{self._prefix}/clients/{client_id}/{event}"
        return topic if self._engine.router.reaches_any(topic) else None

    # -- out

    def _publish_json(self, topic: str, body: Mapping[str, Any]) -> None:
        self._publish(topic, json.dumps(body, ensure_ascii=False, separators=(",", ":")))

    def _publish(self, topic: str, text: str, *, retain: bool = False) -> None:
        """Publish without being counted as a message of anybody's."""
        engine = self._engine
        try:
            check_name(topic, engine.settings.max_topic_levels)
        except InvalidTopic:  # a client id with many levels
            return
        now = self._clock()
        message = Message(topic, text.encode(), retain=retain)
        message.published_at = now
        if retain and engine.settings.retain_available:
            engine.retain(message, silent=True)
        if not engine.router.reaches_any(topic):
            return
        route = engine.router.route(topic)
        if not route.empty:
            engine.deliver(message, route)
            engine.pace.met = False  # the server's own messages hold nobody


def _client(session: Session) -> dict[str, Any]:
    return {
        "clientid": session.client_id,
        "username": session.username,
        "ipaddress": session.peer_host,
        "sockport": session.peer_port,
        "protocol": "mqtt",
        "proto_name": session.protocol_name,
        "proto_ver": session.protocol_version,
    }


async def _given(numbers: Mapping[str, int]) -> Mapping[str, int]:
    return numbers


def _milliseconds(moment: float) -> int:
    return int(moment * 1_000)


def _microseconds(moment: float) -> int:
    return int(moment * 1_000_000)
