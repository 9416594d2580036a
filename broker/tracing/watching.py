"""What the traces that run are told: packets of the clients traced, messages, subscriptions, who came and went.

Nothing of this is asked for, and no connection tapped, while no trace runs.
"""

import asyncio
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address
from time import time
from typing import Protocol

from ..deliveries import Subscription
from ..engine import Engine
from ..message import Message
from ..outgoing import Outgoing
from ..packet_taps import Tapped
from ..protocol.decode_connect import decode_connect
from ..protocol.errors import MqttError
from ..protocol.packets import PacketType
from ..protocol.variable_integer import decode_varint
from ..routing.topics import covers, matches, split_share
from ..session import Session
from ..session_watch import SessionWatch
from .lines import Happening
from .log import LogWriter, TraceLog

_SLICE = 1_000
"""Sessions that are looked at in one turn of the loop."""

Logs = tuple[TraceLog, ...]


class Opening(Tapped, Protocol):
    """A connection that has just been made."""

    peer_host: str
    peer_port: int
    out: Outgoing


class _Tap:
    """Show traces the packets of one connection."""

    __slots__ = ("_connect", "_opening", "_watching", "client_id", "host", "logs", "out", "port", "username", "version")

    reads = True

    def __init__(self, watching: "Watching", out: Outgoing) -> None:
        self.out = out
        self.client_id: str | None = None
        """None until a CONNECT has told it, or the server has chosen one."""
        self.username: str | None = None
        self.host, self.port = "", 0
        self.version = 4
        self.logs: Logs = ()
        self._watching = watching
        self._opening: Opening | None = None
        self._connect = b""
        """A CONNECT that is not known yet to be of a traced client."""

    @classmethod
    def of_opening(cls, watching: "Watching", connection: Opening) -> "_Tap":
        """Make one for a connection of which nothing is known yet."""
        tap = cls(watching, connection.out)
        tap._opening = connection
        return tap

    def take(self, session: Session) -> None:
        """Know who it is."""
        self.client_id, self.username = session.client_id, session.username
        self.host, self.port, self.version = session.peer_host, session.peer_port, session.protocol_version
        self._opening = None
        self.match()

    def match(self) -> None:
        """Find the traces again that want to see it."""
        if self.client_id is not None:
            self._settle(self._watching.logs_of(self.client_id, self.host))

    def _settle(self, logs: Logs) -> None:
        self.logs = logs
        if not logs:
            self.out.unwatch_packets(self)
        elif self._connect:
            self._show("mqtt_packet_received", self._connect)
        self._connect = b""

    def received(self, packet: bytes) -> None:
        opening = self._opening
        if opening is not None and packet[0] >> 4 == PacketType.CONNECT:
            self._identify(opening, packet)
        elif self.logs:
            self._show("mqtt_packet_received", packet)

    def sent(self, data: bytes) -> None:
        if self.logs:
            self._show("mqtt_packet_sent", data)

    def ended(self) -> None:
        self.logs = ()
        self._watching.untapped(self)

    def _identify(self, opening: Opening, packet: bytes) -> None:
        self.host, self.port = opening.peer_host, opening.peer_port
        try:
            connect = decode_connect(packet[0] & 0x0F, packet[decode_varint(packet, 1)[1] :])
        except MqttError:  # it has been checked already, so this is never met
            return
        self.version, self.username = connect.protocol_version, connect.username
        self._connect = packet
        if connect.client_id:
            self.client_id = connect.client_id
            self._opening = None
            self.match()
        else:
            self.logs = self._watching.logs_of("", self.host)
            if self.logs:
                self._settle(self.logs)

    def _show(self, message: str, packets: bytes) -> None:
        self._watching.put(
            self.logs,
            Happening(
                time(),
                "MQTT",
                message,
                self.client_id or "",
                self.username,
                peer_of(self.host, self.port),
                packets=packets,
                version=self.version,
            ),
        )


class Watching(SessionWatch):
    """Find the traces that something concerns, and have it written."""

    def __init__(self, engine: Engine, writer: LogWriter) -> None:
        self._engine = engine
        self._writer = writer
        self._by_client: dict[str, Logs] = {}
        self._by_address: dict[str, Logs] = {}
        self._by_topic: tuple[TraceLog, ...] = ()
        self._taps: dict[Outgoing, _Tap] = {}
        self._active = False

    @property
    def taps_connections(self) -> bool:
        """Tell whether the packets of any client are wanted, so that new connections are to be tapped."""
        return bool(self._by_client or self._by_address)

    @property
    def tapped(self) -> int:
        """Connections whose packets are shown."""
        return len(self._taps)

    def watch(self, logs: Iterable[TraceLog]) -> None:
        """Watch for these traces and no others from now on."""
        self._by_client, self._by_address, self._by_topic = {}, {}, ()
        for log in logs:
            trace = log.trace
            if trace.type == "clientid":
                self._by_client[trace.value] = (*self._by_client.get(trace.value, ()), log)
            elif trace.type == "ip_address":
                self._by_address[trace.value] = (*self._by_address.get(trace.value, ()), log)
            elif trace.type == "topic":
                self._by_topic += (log,)
        active = bool(self._by_client or self._by_address or self._by_topic)
        engine = self._engine
        if active and not self._active:
            engine.session_watches.append(self)
            engine.detours.add(self)
        elif self._active and not active:
            engine.session_watches.remove(self)
            engine.detours.remove(self)
        elif active:
            engine.detours.changed()
        self._active = active
        for tap in list(self._taps.values()):
            tap.match() if tap.client_id is not None or self.taps_connections else tap.out.unwatch_packets(tap)
        for client_id in self._by_client:
            session = engine.registry.get(client_id)
            if session is not None:
                self._tap(session)
        if self._by_address:
            engine.spawn(self._tap_addresses())

    async def _tap_addresses(self) -> None:
        for number, session in enumerate(list(self._engine.registry), 1):
            if session.link is not None and plain_address(session.peer_host) in self._by_address:
                self._tap(session)
            if number % _SLICE == 0:
                await asyncio.sleep(0)

    def opening(self, connection: Opening) -> None:
        """Tap a connection that has just been made: its CONNECT may name a client that is traced."""
        tap = _Tap.of_opening(self, connection)
        self._taps[connection.out] = tap
        connection.watch_packets(tap)

    def untapped(self, tap: _Tap) -> None:
        """Forget a tap."""
        self._taps.pop(tap.out, None)

    def _tap(self, session: Session) -> None:
        link = session.link
        if not isinstance(link, Outgoing):
            return
        tap = self._taps.get(link)
        if tap is not None:
            tap.take(session)
        elif self.logs_of(session.client_id, session.peer_host):
            tap = self._taps[link] = _Tap(self, link)
            link.watch_packets(tap)
            tap.take(session)

    def logs_of(self, client_id: str, host: str) -> Logs:
        """Find the traces of a client or its address."""
        found = self._by_client.get(client_id, ())
        if self._by_address:
            found += self._by_address.get(plain_address(host), ())
        return found

    def put(self, logs: Logs, event: Happening) -> None:
        """Have something written."""
        self._writer.put(logs, event)

    # -- SessionWatch

    def connected(self, session: Session) -> None:
        self._tap(session)
        self._note(session, "AUTHN", "authentication_result", {"result": "allowed"})
        self._note(session, "SOCKET", "client_connected", {"listener": session.listener})

    def disconnected(self, session: Session, reason: str) -> None:
        self._note(session, "SOCKET", "client_disconnected", {"reason": reason})

    def refused(self, client_id: str, username: str | None, peer_host: str, reason: str) -> None:
        logs = self.logs_of(client_id, peer_host)
        if logs:
            details: dict[str, str | int] = {"result": "denied", "reason": reason}
            event = Happening(time(), "AUTHN", "authentication_result", client_id, username, peer_host, details)
            self._writer.put(logs, event)

    def subscribed(self, session: Session, topic_filter: str, subscription: Subscription, is_new: bool) -> None:
        details: dict[str, str | int] = {"topic": topic_filter, "qos": subscription.qos, "is_new": str(is_new).lower()}
        self._note(session, "SUBSCRIBE", "subscribe", details, self._about(topic_filter))

    def unsubscribed(self, session: Session, topic_filter: str) -> None:
        self._note(session, "UNSUBSCRIBE", "unsubscribe", {"topic": topic_filter}, self._about(topic_filter))

    def _note(self, session: Session, tag: str, message: str, details: dict[str, str | int], others: Logs = ()) -> None:
        logs = self.logs_of(session.client_id, session.peer_host) + others
        if logs:
            peer = peer_of(session.peer_host, session.peer_port)
            event = Happening(time(), tag, message, session.client_id, session.username, peer, details)
            self._writer.put(logs, event)

    def _about(self, topic_filter: str) -> Logs:
        """Find the traces of topics that a subscription falls under."""
        if not self._by_topic:
            return ()
        inner = split_share(topic_filter)[1]
        return tuple(log for log in self._by_topic if covers(log.trace.value, inner))

    # -- TopicWatch

    def watches(self, topic: str, sender: str) -> bool:
        """Tell whether messages of this client on this topic concern a trace."""
        return bool(self._concerned(topic, sender))

    def published(self, message: Message, reached: int, sender: str) -> None:
        """Note a message that went to so many sessions."""
        details: dict[str, str | int] = {
            "topic": message.topic,
            "qos": message.qos,
            "retain": int(message.retain),
            "subscribers": reached,
        }
        self._note_publish("PUBLISH", "publish_to", message.topic, sender, details, message.payload)

    def denied(self, topic: str, qos: int, sender: str) -> None:
        """Note a message that its client was not allowed to publish."""
        details: dict[str, str | int] = {"action": "publish", "topic": topic, "qos": qos}
        self._note_publish("AUTHZ", "authorization_permission_denied", topic, sender, details)

    def _concerned(self, topic: str, sender: str) -> Logs:
        found = tuple(log for log in self._by_topic if matches(log.trace.value, topic))
        session = self._engine.registry.get(sender) if sender else None
        return found + self.logs_of(sender, "" if session is None else session.peer_host)

    def _note_publish(
        self,
        tag: str,
        message: str,
        topic: str,
        sender: str,
        details: dict[str, str | int],
        payload: bytes | None = None,
    ) -> None:
        logs = self._concerned(topic, sender)
        if not logs:
            return
        session = self._engine.registry.get(sender) if sender else None
        username = None if session is None else session.username
        peer = "" if session is None else peer_of(session.peer_host, session.peer_port)
        self._writer.put(logs, Happening(time(), tag, message, sender, username, peer, details, payload=payload))


def peer_of(host: str, port: int) -> str:
    """Write an address and a port."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def plain_address(host: str) -> str:
    """Write an address in its one form, an IPv4 address also where it came over an IPv6 socket."""
    if ":" not in host:
        return host
    try:
        address = ip_address(host)
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
