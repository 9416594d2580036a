"""One socket: the driver between asyncio's transport and the engine.

It owns the socket's life: timers, reasons not to read, the packets that open, subscribe, re-authenticate and close.
What a client publishes goes through `incoming.py`, what it is sent through `outgoing.py`. Only what must wait (a
password hash, a foreign plugin) leaves the loop, and then this one socket is not read.
"""

import asyncio
from collections.abc import Coroutine
from logging import getLogger
from typing import Any, Protocol, cast

from amqtt.session import Session as AmqttSession

from .admission import limit_expiry
from .engine import Engine
from .handshake import Handshake
from .incoming import Incoming
from .keep_alives import KeepAlives
from .outgoing import WRITE_HIGH_WATER, Flusher, Outgoing
from .packet_taps import PacketTaps, PacketWatch
from .protocol.encode import PINGRESP
from .protocol.errors import MqttError, ProtocolError
from .protocol.packets import (
    Auth,
    Connect,
    Disconnect,
    Packet,
    PacketType,
    Pingreq,
    Properties,
    Subscribe,
    Unsubscribe,
)
from .protocol.properties import PropertyId
from .protocol.reader import PacketReader
from .protocol.reason_codes import ReasonCode
from .rates import ClientRates
from .read_gate import Hold, ReadGate
from .session import Session
from .settings import MqttSettings
from .subscribing import Subscribing
from .topic_aliases import IncomingAliases
from .traffic import Traffic

_logger = getLogger(__name__)

_WORK_OFF_TIMEOUT = 5.0
"""Seconds in which what a peer had sent that is gone may be worked off."""
_TURN_AWAY_TIMEOUT = 2.0
"""Seconds in which a client that is turned away may send the CONNECT that is answered with the reason."""


class Door(Protocol):
    """The listener that a connection came through."""

    listener_id: str

    def turn_away(self, peer_host: str) -> ReasonCode | None:
        """Give the reason for not serving another client from this address now, None where there is none."""
        ...

    def certificate_name(self, transport: asyncio.BaseTransport) -> str | None:
        """Give the user name that the client's certificate proves, where the listener takes it from there."""
        ...

    def time_left(self, connect_timeout: float) -> float:
        """Give the seconds of this time limit that are left, for it began when the socket was accepted."""
        ...

    def entered(self, connection: "Connection") -> None:
        """Count a connection in."""
        ...

    def left(self, connection: "Connection") -> None:
        """Count a connection out."""
        ...


class Connection(asyncio.Protocol):
    """Drive one client's socket.

    There may be a hundred thousand: what only some need, or only for a while, is made when needed and let go after.
    """

    __slots__ = (
        "_counted",
        "_door",
        "_entered",
        "_gate",
        "_handshake",
        "_incoming",
        "_keep_alives",
        "_last_received",
        "_looked_at",
        "_loop",
        "_opening_timer",
        "_rate_timer",
        "_rates",
        "_reader",
        "_task",
        "_transport",
        "_turned_away",
        "certificate_name",
        "engine",
        "listener_id",
        "out",
        "peer_host",
        "peer_port",
        "session",
        "traffic",
    )

    def __init__(
        self, engine: Engine, door: Door, flusher: Flusher, keep_alives: KeepAlives, loop: asyncio.AbstractEventLoop
    ) -> None:
        settings = engine.settings
        self.engine = engine
        self.traffic = Traffic()
        self.peer_host = ""
        self.peer_port = 0
        self.listener_id = door.listener_id
        self.certificate_name: str | None = None
        self.session: Session | None = None
        self.out = out = Outgoing(
            self, loop, flusher, engine.pace, self.traffic, settings.max_outgoing_bytes, engine.counters.closed
        )
        self._door = door
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._gate = ReadGate()
        self._handshake: Handshake | None = Handshake(engine, self)
        """None once the client is in, unless it may authenticate anew."""
        self._incoming = Incoming(engine, self, out)
        events = engine.events
        slow_path = engine.access.waits or events.messages
        self._reader = PacketReader(self._incoming, settings.max_packet_size, coalesce=not slow_path)
        if events.packets:
            self.watch_packets(_AmqttPackets(self))
        self._rates = ClientRates(settings.max_message_rate, settings.max_byte_rate) if _is_bounded(settings) else None
        self._opening_timer: asyncio.TimerHandle | None = None
        """Ends a connection that is not opened in time."""
        self._keep_alives = keep_alives
        self._looked_at = 0
        """When the keep-alive is looked at next; 0 for never."""
        self._rate_timer: asyncio.TimerHandle | None = None
        self._last_received = 0.0
        self._entered = False
        self._counted = False
        self._turned_away: ReasonCode | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def closed(self) -> bool:
        """Tell whether nothing more is read or sent."""
        return self.out.closed

    @property
    def ssl_object(self) -> object | None:
        """The TLS connection, where there is one."""
        return None if self._transport is None else self._transport.get_extra_info("ssl_object")

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock for the CONNECT; a client that there is no room for is told so in answer to it."""
        # uvloop's transports have the methods, but not the base class
        self._transport = transport = cast("asyncio.Transport", transport)
        self.out.transport = self._gate.transport = transport
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple) and len(peer) > 1:  # pyright: ignore[reportUnknownArgumentType]
            self.peer_host, self.peer_port = str(peer[0]), int(peer[1])  # pyright: ignore[reportUnknownArgumentType]
        engine = self.engine
        reason = self._door.turn_away(self.peer_host)
        self._last_received = self._loop.time()
        if reason is not None:
            engine.counters.connections_refused += 1
            if not engine.may_explain(self):
                self.out.abort()
                return
            self._turned_away = reason
            self._opening_timer = self._loop.call_later(_TURN_AWAY_TIMEOUT, self.out.abort)
            return
        self._entered = True
        self._door.entered(self)
        self.certificate_name = self._door.certificate_name(transport)
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        allowed = self._door.time_left(engine.settings.connect_timeout)
        self._opening_timer = self._loop.call_later(allowed, self._connect_timed_out)

    def data_received(self, data: bytes) -> None:
        """Take what the socket had."""
        traffic = self.traffic
        traffic.bytes_received += len(data)
        traffic.reads += 1
        if self.out.closed:
            return
        reader = self._reader
        tail = reader.tail
        before = len(tail)
        self._incoming.now = 0.0
        try:
            reader.receive_data(data)
        except MqttError as error:
            self._fail(error)
        except Exception:  # the connection driver: a fault of ours ends this one connection and is heard of
            self._crashed()
        if not tail or len(tail) < before + len(
            data
        ):  # a packet was complete: bytes alone are no sign of life [MQTT-3.1.2-24]
            self._last_received = self._loop.time()
        if self._rates is not None:
            self._check_rates(self._rates, len(data))

    def eof_received(self) -> bool | None:
        """Close when the peer has."""
        return None

    def pause_writing(self) -> None:
        """Note that the peer reads slowly."""
        self.out.pause()

    def resume_writing(self) -> None:
        """Go on sending."""
        try:
            self._go_on_sending()
        except Exception:  # the connection driver, as above
            self._crashed()

    def _go_on_sending(self) -> None:
        out = self.out
        out.resume()
        if not out.paused:
            self._free(Hold.UNREAD_ANSWERS)
        session = self.session
        if session is not None and session.link is out:
            session.drain()
            if session.replays:
                self.engine.replays.go_on(session)
            self.engine.pace.met = False  # what leaves a queue holds nobody
        out.catch_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """Work off what had come before, then take the session off the connection and count the traffic."""
        self._gate.transport = None
        for timer in (self._opening_timer, self._rate_timer):
            if timer is not None:
                timer.cancel()
        if self._looked_at:
            self._keep_alives.forget(self, self._looked_at)
        if self.session is not None and not self.closed and self._reader.stopped:
            # TLS hears of the end while we do not read; what the peer sent before it has been acknowledged to it.
            self.out.unplug()
            self.engine.spawn(self._work_off())
            return
        if self._task is not None:
            self._task.cancel()
        self._gone()

    async def _work_off(self) -> None:
        """Take what a peer had sent that is gone now, as far as that takes no longer than closing may."""
        until = self._loop.time() + _WORK_OFF_TIMEOUT
        while self._reader.stopped and not self.closed and self._loop.time() < until:
            if self._task is not None:
                _, late = await asyncio.wait([self._task], timeout=_WORK_OFF_TIMEOUT)
                if late:
                    self._task.cancel()
                    break
            else:
                self._resume_reader()
                await asyncio.sleep(0)
        self._gone()

    def _leave_door(self) -> None:
        """Count the connection out and its traffic in, once; one that was turned away had never been counted in."""
        if self._entered:
            self._entered = False
            self._door.left(self)
        if not self._counted:
            self._counted = True
            self.engine.ended.add(self.traffic)

    # -- what the outgoing half asks and tells

    def may_linger(self) -> bool:
        """Count the connection out, so that a peer that does not close takes nobody's place."""
        if not self.engine.may_linger(self):
            return False
        self._leave_door()
        return True

    def session_waits(self) -> bool:
        """Tell whether the session's queue still is too full to let publishers go on."""
        return self.session is not None and self.session.queue_filling

    def answers_unread(self) -> None:
        """Read no more until the client reads what it is answered."""
        self._gate.hold(Hold.UNREAD_ANSWERS)

    def answers_held(self) -> None:
        """Read no more until some of what waits for the disk is answered."""
        self.hold_for_journal()

    def forget_decisions(self) -> None:
        """Decide anew on what the client publishes."""
        self._incoming.forget_decisions()

    def _gone(self) -> None:
        self.out.lost()
        engine = self.engine
        self._leave_door()
        engine.turned_away.discard(self)
        engine.lingering.discard(self)
        session = self.session
        if session is not None and session.link is self.out:
            engine.detach(session, graceful=False, reason="tcp_closed")
            _logger.info("client %r: connection lost", session.client_id)
        # Nothing leads back here any more, so that a connection is freed as soon as it has ended.
        taps = self.out.tap
        self.out.tap = self._reader.tap = None
        if isinstance(taps, PacketTaps):
            taps.end()
        self._incoming.lost()
        self._handshake = self._transport = self._opening_timer = self._rate_timer = None

    # -- reading, and reasons not to

    def _free(self, reason: int) -> None:
        """Take back a reason not to read; if it was the last, go on with what came before."""
        if self._gate.free(reason) and self._reader.stopped and not self.out.closed:
            self._last_received = self._loop.time()
            self._resume_reader()

    def _resume_reader(self) -> None:
        self._incoming.now = 0.0
        try:
            self._reader.resume()
        except MqttError as error:
            self._fail(error)
        except Exception:  # the connection driver, as above
            self._crashed()

    def take_turns(self) -> bool:
        """Let others have their turn before the rest of what came is read; True."""
        self._loop.call_soon(self._next_turn)
        return True

    def _next_turn(self) -> None:
        if self._reader.stopped and not self.out.closed and not self._gate.held:
            self._resume_reader()

    def hold_for_pace(self) -> bool:
        """Stop reading until nobody is behind any more; False if there is nothing to stop."""
        if self._gate.transport is None:
            return False  # the peer is gone, and what it had sent is being worked off
        if not self._gate.holds(Hold.PACE):
            self._gate.hold(Hold.PACE)
            self.engine.pace.hold(self)
        return True

    def go_on(self) -> None:
        """Read again: nobody is behind any more."""
        self._free(Hold.PACE)

    def hold_for_journal(self) -> bool:
        """Stop reading until less waits for the disk; False if there is nothing to stop."""
        journal = self.engine.journal
        if journal is None or self._gate.transport is None:
            return False
        if not self._gate.holds(Hold.JOURNAL):
            self._gate.hold(Hold.JOURNAL)
            journal.hold(self)
        return True

    def go_on_writing(self) -> None:
        """Read again: less waits for the disk."""
        self._free(Hold.JOURNAL)

    def leave_loop(self, work: Coroutine[Any, Any, None]) -> bool:
        """Wait for something with reading from this socket held, so that order holds."""
        self._gate.hold(Hold.TASK)
        self._task = self._loop.create_task(self._wait_for(work))
        return True

    async def _wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except MqttError as error:
            self._fail(error)
        except Exception:  # the connection driver, as above
            self._crashed()
        self._task = None
        self._free(Hold.TASK)

    def _check_rates(self, rates: ClientRates, size: int) -> None:
        """Let a client wait that sent more than it may, or close it, as the settings say."""
        debt = rates.take(size, sum(self.traffic.messages_received_qos), self._loop.time())
        if debt <= 0 or self.out.closed:
            return
        counters = self.engine.counters
        if self.engine.settings.rate_exceeded == "disconnect":
            counters.disconnected_for_rate += 1
            self.end(ReasonCode.MESSAGE_RATE_TOO_HIGH)
            return
        counters.paused_for_rate += 1
        self._gate.hold(Hold.RATE)
        if self._rate_timer is not None:
            self._rate_timer.cancel()
        self._rate_timer = self._loop.call_later(debt, self._free, Hold.RATE)

    # -- packets other than PUBLISH and acknowledgements

    def packet(self, packet: Packet) -> bool | None:
        """Take a packet that is none of the others'."""
        received = self.traffic.acks_received
        if isinstance(packet, Connect):
            received[PacketType.CONNECT] += 1
            return self._opening().connect(packet, self._turned_away)
        session = self.session
        if session is None and not isinstance(packet, Auth | Disconnect):  # [MQTT-3.1.2-30]
            raise ProtocolError("another packet before the CONNECT was answered")
        match packet:
            case Pingreq():
                received[PacketType.PINGREQ] += 1
                self.out.send(PINGRESP, PacketType.PINGRESP)  # [MQTT-3.12.4-1]
            case Subscribe() if session is not None:
                received[PacketType.SUBSCRIBE] += 1
                return Subscribing(self.engine, self, self.out).subscribe(session, packet)
            case Unsubscribe() if session is not None:
                received[PacketType.UNSUBSCRIBE] += 1
                Subscribing(self.engine, self, self.out).unsubscribe(session, packet)
            case Auth():
                received[PacketType.AUTH] += 1
                return self._opening().authenticate(packet)
            case Disconnect():
                received[PacketType.DISCONNECT] += 1
                self._disconnected(packet)
                return True
            case _:
                pass
        return None

    def _disconnected(self, packet: Disconnect) -> None:
        session = self.session
        if session is not None and session.link is self.out:
            expiry = cast("int | None", packet.properties.get(PropertyId.SESSION_EXPIRY_INTERVAL))
            if expiry is not None:
                if expiry and not session.expiry_interval:  # 3.14.2.2.2
                    raise ProtocolError("a session expiry interval at DISCONNECT, and none at CONNECT")
                session.expiry_interval = limit_expiry(expiry, self.engine.settings.max_session_expiry_interval)
            with_will = packet.reason != ReasonCode.SUCCESS  # [MQTT-3.14.4-3], [MQTT5-3.14.4-3]
            self.engine.detach(session, graceful=not with_will)
        self.out.close(ReasonCode.SUCCESS)

    # -- the beginning

    def _opening(self) -> Handshake:
        """Give what opens the connection or renews the authentication; raises `ProtocolError` if there is no more."""
        if self._handshake is None:  # [MQTT-4.12.0-7]
            raise ProtocolError("AUTH, and no authentication method in the CONNECT")
        return self._handshake

    def admitted(self, session: Session, session_present: bool, properties: Properties) -> None:
        """Send the CONNACK and watch the keep-alive."""
        if self._opening_timer is not None:
            self._opening_timer.cancel()
            self._opening_timer = None
        self.session = self._incoming.session = session
        settings = self.engine.settings
        if session.protocol_version == 5:
            self._incoming.aliases = IncomingAliases(settings.max_topic_alias)
        opening = self._opening()
        opening.accept(session, session_present, properties)
        if not opening.renewable:
            self._handshake = None
        if session.keep_alive:
            allowed = session.keep_alive * settings.keepalive_multiplier
            self._looked_at = self._keep_alives.watch(self, allowed)
        _logger.info("client %r connected from %s:%s", session.client_id, self.peer_host, self.peer_port)

    # -- timers and failures

    def _connect_timed_out(self) -> None:
        if self.closed:
            return
        _logger.info("connection from %s:%s closed: not connected in time", self.peer_host, self.peer_port)
        # The CONNECT is there, but its authentication takes too long.
        if self._handshake is not None and self._handshake.begun:
            self._handshake.answer_refusal(ReasonCode.SERVER_UNAVAILABLE)
        self.out.close(ReasonCode.KEEP_ALIVE_TIMEOUT)

    def keep_alive_changed(self) -> None:
        """Measure the client's silence by the session's present keep-alive, beginning now."""
        session = self.session
        if self._looked_at:
            self._keep_alives.forget(self, self._looked_at)
            self._looked_at = 0
        if session is not None and session.keep_alive and not self.closed:
            allowed = session.keep_alive * self.engine.settings.keepalive_multiplier
            self._looked_at = self._keep_alives.watch(self, allowed)

    def check_silence(self) -> None:
        """Close the connection of a client that was silent for longer than its keep-alive allows."""
        session = self.session
        self._looked_at = 0
        if self.closed or session is None:
            return
        allowed = session.keep_alive * self.engine.settings.keepalive_multiplier
        silent = 0.0 if self._gate.held_by_us else self._loop.time() - self._last_received
        if silent < allowed:
            self._looked_at = self._keep_alives.watch(self, allowed - silent)
            return
        if session.link is self.out:  # [MQTT-3.1.2-24], [MQTT5-3.1.2-22]
            _logger.info("client %r: keep-alive exceeded", session.client_id)
            self.engine.close_link(session, ReasonCode.KEEP_ALIVE_TIMEOUT)

    def _fail(self, error: MqttError) -> None:
        session = self.session
        _logger.info(
            "client %r at %s:%s: %s",
            session.client_id if session is not None else "",
            self.peer_host,
            self.peer_port,
            error,
        )
        if self._handshake is not None and session is None and not self.closed:
            self._handshake.explain(error)
        self.end(error.reason)  # [MQTT-4.8.0-1], [MQTT5-4.13.1-1]

    def _crashed(self) -> None:
        _logger.exception("connection from %s:%s closed by a fault of the broker", self.peer_host, self.peer_port)
        self.end(ReasonCode.UNSPECIFIED_ERROR)  # [MQTT-4.8.0-2]

    def end(self, reason: ReasonCode) -> None:
        """Close the connection; the will of a client that is in is published."""
        self._reader.stopped = True
        session = self.session
        if session is not None and session.link is self.out:
            self.engine.close_link(session, reason)
        else:
            self.out.close(reason)

    # -- those who watch its packets

    @property
    def version(self) -> int:
        """The protocol version of the packets that are read."""
        return self._reader.version

    def watch_packets(self, watch: PacketWatch) -> None:
        """Show each packet to this watch, too, from now on."""
        if self.out.closed:
            watch.ended()
        else:
            self._show_packets((*self._watches, watch))

    def unwatch_packets(self, watch: PacketWatch) -> None:
        """Show it no more."""
        if watch in self._watches:
            self._show_packets(tuple(other for other in self._watches if other is not watch))
            watch.ended()

    @property
    def _watches(self) -> tuple[PacketWatch, ...]:
        taps = self.out.tap
        return taps.watches if isinstance(taps, PacketTaps) else ()

    def _show_packets(self, watches: tuple[PacketWatch, ...]) -> None:
        taps = PacketTaps(watches) if watches else None
        reader = self._reader
        self.out.tap = taps
        reader.tap = taps.received if taps is not None and taps.read else None
        engine = self.engine
        reader.coalesce = reader.tap is None and not (engine.access.waits or engine.events.messages)


class _AmqttPackets:
    """Show a connection's packets to amqtt's plugins."""

    __slots__ = ("_connection",)

    reads = True

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def received(self, packet: bytes) -> None:
        connection = self._connection
        connection.engine.events.packet_received(self._view, packet, connection.version)

    def sent(self, data: bytes) -> None:
        connection = self._connection
        connection.engine.events.packets_sent(self._view, data, connection.out.version)

    def ended(self) -> None:
        """Do nothing: it goes with the connection."""

    @property
    def _view(self) -> AmqttSession | None:
        session = self._connection.session
        return None if session is None else session.view


def _is_bounded(settings: MqttSettings) -> bool:
    return settings.max_message_rate > 0 or settings.max_byte_rate > 0
