"""One socket: the driver between asyncio's transport and the engine, and the hot path.

No task, future, lock or coroutine for a message: what arrives is parsed, checked, routed and written within
`data_received`; what is written is gathered and handed to the transport once for each turn of the event loop.
Only what must wait (a password hash, a foreign plugin) leaves the loop, and then this one socket is not read.
"""

import asyncio
from collections.abc import Coroutine
from logging import getLogger
from typing import Any, Protocol, cast

from amqtt.contexts import Action

from .admission import Admission, Refused
from .engine import Engine
from .message import Message
from .protocol.decode import decode_topic_name
from .protocol.encode import (
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    SUBACK_FAILURE,
    encode_connack,
    encode_suback,
    encode_unsuback,
)
from .protocol.errors import MalformedPacket, MqttError, ProtocolError
from .protocol.packets import Connect, Disconnect, Packet, PacketType, Pingreq, Subscribe, Unsubscribe
from .protocol.reader import PacketReader
from .protocol.reason_codes import ReasonCode, connack_return_code
from .router import Targets
from .session import Session
from .traffic import Traffic

_logger = getLogger(__name__)

_ROUTE_CACHE_LIMIT = 1_024
_CACHED_TOPIC_LIMIT = 512
"""Bytes; longer topics are decided each time, so that the cache is bounded in bytes too."""
_ENTRY_OVERHEAD = 64
"""Bytes that a piece of waiting output costs besides its own."""
_WRITE_HIGH_WATER = 262_144
_CLOSE_TIMEOUT = 5.0
"""Seconds in which a closed peer may take what is waiting for it."""
_CONNACK, _PUBACK, _PUBREC, _PUBREL, _PUBCOMP = 2, 4, 5, 6, 7


class Door(Protocol):
    """The listener that a connection came through."""

    listener_id: str

    @property
    def full(self) -> bool:
        """Tell whether the listener has as many connections as it may."""
        ...

    def entered(self, connection: "Connection") -> None:
        """Count a connection in."""
        ...

    def left(self, connection: "Connection") -> None:
        """Count a connection out."""
        ...


class Flusher:
    """Hand gathered output to the transports, once for each turn of the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[Connection] = []

    def add(self, connection: "Connection") -> None:
        """Remember a connection that has something to send."""
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(connection)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            connection.flush()


class PublishRoute:
    """What one publisher's messages on one topic with the same flags come to."""

    __slots__ = ("allowed", "generation", "targets", "topic")

    def __init__(self, generation: int, topic: str, allowed: bool, targets: Targets) -> None:
        self.generation = generation
        self.topic = topic
        self.allowed = allowed
        self.targets = targets


class Connection(asyncio.Protocol):
    """Drive one client's socket."""

    def __init__(self, engine: Engine, door: Door, flusher: Flusher, loop: asyncio.AbstractEventLoop) -> None:
        self.engine = engine
        self.traffic = Traffic()
        self.peer_host = ""
        self.peer_port = 0
        self.listener_id = door.listener_id
        self.session: Session | None = None
        self.closed = False
        self._door = door
        self._flusher = flusher
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._waits = engine.access.waits
        self._reader = PacketReader(
            self, engine.settings.max_packet_size, coalesce=not (engine.access.waits or engine.events.messages)
        )
        self._routes: list[dict[bytes, PublishRoute]] = [{} for _ in range(8)]
        self._out: list[bytes] = []
        self._out_size = 0
        self._out_limit = engine.settings.max_outgoing_bytes
        self._write_paused = False
        self._read_held = False
        self._timers: list[asyncio.TimerHandle] = []
        self._keep_alive: asyncio.TimerHandle | None = None
        self._last_received = 0.0
        self._entered = False
        self._task: asyncio.Task[None] | None = None

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock for the CONNECT, unless there is no room."""
        # uvloop's transports have the methods, but not the base class
        self._transport = transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple) and len(peer) > 1:  # pyright: ignore[reportUnknownArgumentType]
            self.peer_host, self.peer_port = str(peer[0]), int(peer[1])  # pyright: ignore[reportUnknownArgumentType]
        engine = self.engine
        limit = engine.settings.max_connections
        if self._door.full or 0 < limit <= engine.connection_count:
            engine.counters.connections_refused += 1
            self.closed = True
            transport.abort()
            return
        self._entered = True
        engine.connection_count += 1
        self._door.entered(self)
        transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER)
        self._last_received = self._loop.time()
        self._later(self.engine.settings.connect_timeout, self._connect_timed_out)

    def data_received(self, data: bytes) -> None:
        """Take what the socket had."""
        traffic = self.traffic
        traffic.bytes_received += len(data)
        traffic.reads += 1
        self._last_received = self._loop.time()
        if self.closed:
            return
        try:
            self._reader.receive_data(data)
        except MqttError as error:
            self._fail(error)
        except Exception:  # the connection driver: a fault of ours ends this one connection and is heard of
            self._crashed()

    def eof_received(self) -> bool | None:
        """Close when the peer has."""
        return None

    def pause_writing(self) -> None:
        """Note that the peer reads slowly."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """Go on sending."""
        self._write_paused = False
        if self._out:
            self.flush()
        if self._read_held and not self._write_paused:
            self._read_held = False
            self._resume_reading()
        session = self.session
        if session is not None and session.link is self:
            session.drain()
            if session.replays:
                self.engine.continue_replays(session)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the session off the connection and count the traffic."""
        self.closed = True
        for timer in self._timers:
            timer.cancel()
        if self._keep_alive is not None:
            self._keep_alive.cancel()
        if self._task is not None:
            self._task.cancel()
        if self._entered:
            self.engine.connection_count -= 1
            self._door.left(self)
        session = self.session
        if session is not None and session.link is self:
            self.engine.detach(session, graceful=False)
            _logger.info("client %r: connection lost", session.client_id)
        self.engine.ended.add(self.traffic)

    # -- Link: what the session sends

    @property
    def congested(self) -> bool:
        """Tell whether the peer reads too slowly for more than what is waiting."""
        return self._write_paused and self._out_size > _WRITE_HIGH_WATER

    def relay(self, chunk: bytes, count: int) -> None:
        """Send `count` encoded QoS 0 packets; dropped and counted where too much is waiting already."""
        size = self._out_size + len(chunk) + _ENTRY_OVERHEAD
        if size > self._out_limit and self._out:
            self.traffic.dropped_qos0 += count
            return
        if not self._out:
            self._flusher.add(self)
        self._out.append(chunk)
        self._out_size = size
        self.traffic.messages_sent_qos[0] += count

    def send_publish(self, message: Message, qos: int, retain: bool, packet_id: int, dup: bool) -> None:
        """Send one message; QoS 0 is dropped and counted where too much is waiting already."""
        out = self._out
        payload = message.payload
        if qos == 0:
            if out and self._out_size + len(payload) > self._out_limit:
                self.traffic.dropped_qos0 += 1
                return
            head = message.head(0x31 if retain else 0x30)
            if not out:
                self._flusher.add(self)
            out.append(head)
        else:
            head = message.head(0x30 | (qos << 1) | retain | (dup << 3))
            if not out:
                self._flusher.add(self)
            out.append(head)
            out.append(packet_id.to_bytes(2, "big"))
        out.append(payload)
        self._out_size += len(head) + len(payload) + 2 * _ENTRY_OVERHEAD
        self.traffic.messages_sent_qos[qos] += 1

    def send_pubrel(self, packet_id: int) -> None:
        """Release a QoS 2 message."""
        self._send(PUBREL + packet_id.to_bytes(2, "big"), _PUBREL)

    def close(self, reason: ReasonCode) -> None:
        """Send what is waiting and close; 3.1 and 3.1.1 have no way to tell the client the reason."""
        if self.closed:
            return
        self.closed = True
        self._reader.stopped = True
        transport = self._transport
        if transport is None:
            return
        self._write_paused = False
        self.flush()
        _logger.debug("connection from %s:%s closed: %s", self.peer_host, self.peer_port, reason.name)
        transport.close()
        self._later(_CLOSE_TIMEOUT, transport.abort)

    def abort(self) -> None:
        """Close at once, whatever is waiting."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def flush(self) -> None:
        """Hand what has been gathered to the transport, unless the transport has enough."""
        out = self._out
        if self._write_paused or not out or self._transport is None:
            return
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        self._out_size = 0
        traffic = self.traffic
        traffic.bytes_sent += len(data)
        traffic.writes += 1
        self._transport.write(data)

    def _send(self, data: bytes, packet_type: int) -> None:
        if not self._out:
            self._flusher.add(self)
        self._out.append(data)
        self._out_size += len(data) + _ENTRY_OVERHEAD
        self.traffic.acks_sent[packet_type] += 1
        if self._out_size > self._out_limit and self._write_paused and not self._read_held:
            # A peer that sends and never reads its acknowledgements is not read any more, so that they stay bounded.
            self._read_held = True
            self._pause_reading()

    # -- PacketSink: what the reader found

    def publish_run(self, topic: bytes, data: bytes, start: int, end: int, count: int) -> bool | None:
        """Pass a run of QoS 0 packets on as one slice."""
        route = self._routes[0].get(topic)
        if route is None or route.generation != self.engine.router.generation:
            route = self._resolve(0, topic)
        traffic = self.traffic
        traffic.messages_received_qos[0] += count
        targets = route.targets
        if not targets:
            if route.allowed:
                traffic.no_subscribers += count
            else:
                traffic.publish_dropped += count
            return
        chunk = data if end - start == len(data) else data[start:end]
        for session, _ in targets:
            link = session.link
            if link is not None:
                link.relay(chunk, count)

    def publish(self, flags: int, topic: bytes, packet_id: bytes, payload: bytes) -> bool | None:
        """Check, route and acknowledge one message."""
        traffic = self.traffic
        qos = flags >> 1 & 3
        traffic.messages_received_qos[qos] += 1
        route = self._routes[flags & 7].get(topic)
        if route is None or route.generation != self.engine.router.generation:
            route = self._resolve(flags & 7, topic)
        session = self.session
        if session is None:
            return True
        if qos == 2:
            if packet_id in session.awaiting_rel:
                self._send(PUBREC + packet_id, _PUBREC)  # [MQTT-4.3.3-2]: received before, not passed on again
                return None
            if len(session.awaiting_rel) >= session.max_awaiting_rel:
                raise ProtocolError("too many QoS 2 messages wait for PUBREL", ReasonCode.RECEIVE_MAXIMUM_EXCEEDED)
        if self._waits:
            return self._leave_loop(self._publish_when_allowed(session, route, flags, packet_id, payload))
        self._accept(session, route, flags, packet_id, payload)

    def _accept(self, session: Session, route: PublishRoute, flags: int, packet_id: bytes, payload: bytes) -> None:
        qos = flags >> 1 & 3
        engine = self.engine
        if route.allowed:
            targets = route.targets
            retain = flags & 1
            if targets or retain or engine.events.messages:
                message = Message(route.topic, payload, qos, bool(retain), sender=session.client_id)
                if retain:
                    engine.retain(message)
                engine.deliver_now(message, targets)
                if engine.events.messages:
                    engine.events.message(session.client_id, message)
            if not targets:
                self.traffic.no_subscribers += 1
        else:
            self.traffic.publish_dropped += 1
        # [MQTT-3.3.5-2]: denied or not, 3.1 and 3.1.1 know no negative acknowledgement
        if qos == 1:
            self._send(PUBACK + packet_id, _PUBACK)
        elif qos == 2:
            session.awaiting_rel.add(packet_id)
            self._send(PUBREC + packet_id, _PUBREC)

    def acknowledgement(self, packet_type: int, packet_id: bytes) -> bool | None:
        """Move a handshake on."""
        self.traffic.acks_received[packet_type] += 1
        session = self.session
        if session is None:
            return True
        if packet_type == _PUBREL:
            if packet_id in session.awaiting_rel:
                session.awaiting_rel.discard(packet_id)
            else:
                self.traffic.missed[_PUBREL] += 1
            self._send(PUBCOMP + packet_id, _PUBCOMP)
        else:
            session.acknowledge(packet_type, (packet_id[0] << 8) | packet_id[1])
            if session.replays:
                self.engine.continue_replays(session)

    def packet(self, packet: Packet) -> bool | None:
        """Take a packet that is none of the others'."""
        received = self.traffic.acks_received
        match packet:
            case Pingreq():
                received[PacketType.PINGREQ] += 1
                self._send(PINGRESP, PacketType.PINGRESP)  # [MQTT-3.12.4-1]
            case Subscribe():
                received[PacketType.SUBSCRIBE] += 1
                return self._subscribe(packet)
            case Unsubscribe():
                received[PacketType.UNSUBSCRIBE] += 1
                self._unsubscribe(packet)
            case Connect():
                received[PacketType.CONNECT] += 1
                return self._connect(packet)
            case Disconnect():
                received[PacketType.DISCONNECT] += 1
                self._disconnected()
                return True
        return None

    # -- steps of the hot path's cold side

    def _resolve(self, flags: int, topic_bytes: bytes) -> PublishRoute:
        """Decide on a topic that is not in the cache; raises `MalformedPacket`."""
        topic = decode_topic_name(topic_bytes)
        engine = self.engine
        limit = engine.settings.max_topic_levels
        if limit and topic.count("/") >= limit:
            raise MalformedPacket(f"a topic of more than {limit} levels", ReasonCode.TOPIC_NAME_INVALID)
        session = self.session
        if session is None:
            raise ProtocolError("PUBLISH before the CONNECT was answered")
        self.traffic.cache_miss += 1
        allowed = engine.may_publish(session.identity, topic, flags >> 1, bool(flags & 1))
        if not allowed:
            _logger.info("client %r: publish to %r denied", session.client_id, topic)
        targets = engine.router.route(topic) if allowed else ()
        route = PublishRoute(engine.router.generation, topic, allowed, targets)
        if len(topic_bytes) > _CACHED_TOPIC_LIMIT:
            return route
        routes = self._routes[flags]
        if len(routes) >= _ROUTE_CACHE_LIMIT:
            routes.clear()
        routes[topic_bytes] = route
        return route

    async def _publish_when_allowed(
        self, session: Session, route: PublishRoute, flags: int, packet_id: bytes, payload: bytes
    ) -> None:
        """Ask foreign topic plugins about the publisher and each receiver before the message goes on."""
        view, engine = session.view, self.engine
        allowed = route.allowed and view is not None and await engine.access.consult(view, Action.PUBLISH, route.topic)
        targets = await engine.allowed_targets(route.topic, engine.router.route(route.topic)) if allowed else ()
        checked = PublishRoute(route.generation, route.topic, allowed, targets)
        if not self.closed:
            self._accept(session, checked, flags, packet_id, payload)

    def _subscribe(self, packet: Subscribe) -> bool | None:
        session = self.session
        if session is None:
            return True
        self.engine.check_filters(request.topic_filter for request in packet.requests)
        if self._waits:
            return self._leave_loop(self._subscribe_when_allowed(session, packet))
        codes = [self.engine.subscribe(session, request) for request in packet.requests]
        self._send(encode_suback(packet.packet_id, codes), PacketType.SUBACK)  # [MQTT-3.8.4-1], [MQTT-3.8.4-5]
        for request, code in zip(packet.requests, codes, strict=True):
            if code != SUBACK_FAILURE:
                self.engine.replay_retained(session, request.topic_filter, code)  # [MQTT-3.3.1-6]
        return None

    async def _subscribe_when_allowed(self, session: Session, packet: Subscribe) -> None:
        view = session.view
        codes: list[int] = []
        for request in packet.requests:
            allowed = view is not None and await self.engine.access.consult(
                view, Action.SUBSCRIBE, request.topic_filter
            )
            codes.append(self.engine.subscribe(session, request) if allowed else SUBACK_FAILURE)
        if self.closed:
            return
        self._send(encode_suback(packet.packet_id, codes), PacketType.SUBACK)
        for request, code in zip(packet.requests, codes, strict=True):
            if code != SUBACK_FAILURE:
                await self.engine.replay_allowed(session, request.topic_filter, code)

    def _unsubscribe(self, packet: Unsubscribe) -> None:
        session = self.session
        if session is not None:
            self.engine.check_filters(packet.topic_filters)
            for topic_filter in packet.topic_filters:
                self.engine.unsubscribe(session, topic_filter)
            self._send(encode_unsuback(packet.packet_id), PacketType.UNSUBACK)  # [MQTT-3.10.4-4], [MQTT-3.10.4-5]

    def _disconnected(self) -> None:
        session = self.session
        if session is not None and session.link is self:
            session.will = None  # [MQTT-3.14.4-3]
            self.engine.detach(session, graceful=True)
        self.close(ReasonCode.SUCCESS)

    # -- CONNECT

    def _connect(self, connect: Connect) -> bool | None:
        self.engine.counters.connects += 1
        admission = Admission(self.engine, self, connect)
        try:
            decision = admission.begin()
        except Refused as refusal:
            self._refuse(connect, refusal)
            return True
        if decision is None:
            return None
        return self._leave_loop(self._connect_when_decided(admission, decision))

    async def _connect_when_decided(self, admission: Admission, decision: Any) -> None:
        try:
            answer = await decision
            if not self.closed:
                admission.decided(answer)
        except Refused as refusal:
            self._refuse(admission.connect, refusal)

    def admitted(self, session: Session, session_present: bool) -> None:
        """Send the CONNACK and watch the keep-alive."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self.session = session
        # 3.1 reserves the byte that tells of a stored session
        self._send(encode_connack(session_present and session.protocol_version > 3, 0), _CONNACK)
        if session.keep_alive:
            self._watch_keep_alive(session.keep_alive * self.engine.settings.keepalive_multiplier)
        _logger.info("client %r connected from %s:%s", session.client_id, self.peer_host, self.peer_port)

    def end_at(self, delay: float) -> None:
        """Close the connection after `delay` seconds, because the credential is valid no longer."""
        self._later(delay, self._credential_expired)

    def _refuse(self, connect: Connect, refusal: Refused) -> None:
        _logger.warning("client %r from %s:%s refused: %s", connect.client_id, self.peer_host, self.peer_port, refusal)
        self.engine.counters.connects_refused += 1
        self._send(encode_connack(False, connack_return_code(refusal.reason)), _CONNACK)  # [MQTT-3.2.2-4]
        self.close(refusal.reason)  # [MQTT-3.2.2-5]

    # -- timers and failures

    def _later(self, delay: float, callback: Any) -> None:
        self._timers.append(self._loop.call_later(delay, callback))

    def _connect_timed_out(self) -> None:
        _logger.info("connection from %s:%s closed: not connected in time", self.peer_host, self.peer_port)
        if self._task is not None:  # the CONNECT is there, but its authentication takes too long
            self._send(encode_connack(False, connack_return_code(ReasonCode.SERVER_UNAVAILABLE)), _CONNACK)
        self.close(ReasonCode.KEEP_ALIVE_TIMEOUT)

    def _credential_expired(self) -> None:
        session = self.session
        if session is not None and session.link is self:
            self.engine.close_link(session, ReasonCode.MAXIMUM_CONNECT_TIME)

    def _watch_keep_alive(self, allowed: float) -> None:
        silent = self._loop.time() - self._last_received
        if self.closed:
            return
        if self._task is not None:  # it is we who do not read
            silent = 0.0
        if silent < allowed:
            self._keep_alive = self._loop.call_later(allowed - silent, self._watch_keep_alive, allowed)
            return
        session = self.session
        if session is not None and session.link is self:  # [MQTT-3.1.2-24]
            _logger.info("client %r: keep-alive exceeded", session.client_id)
            self.engine.close_link(session, ReasonCode.KEEP_ALIVE_TIMEOUT)

    def _leave_loop(self, work: Coroutine[Any, Any, None]) -> bool:
        """Wait for something with reading from this socket held, so that order holds."""
        self._pause_reading()
        self._task = self._loop.create_task(self._wait_for(work))
        return True

    async def _wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except MqttError as error:
            self._fail(error)
        except Exception:  # the connection driver, as in `data_received`
            self._crashed()
        self._task = None
        if self.closed:
            return
        self._last_received = self._loop.time()
        self._resume_reading()
        try:
            self._reader.resume()
        except MqttError as error:
            self._fail(error)
        except Exception:
            self._crashed()

    def _pause_reading(self) -> None:
        if self._transport is not None and not self.closed:
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._transport is not None and not self.closed and not self._read_held and self._task is None:
            self._transport.resume_reading()

    def _fail(self, error: MqttError) -> None:
        session = self.session
        _logger.info(
            "client %r at %s:%s: %s",
            session.client_id if session is not None else "",
            self.peer_host,
            self.peer_port,
            error,
        )
        if session is None and error.reason is ReasonCode.UNSUPPORTED_PROTOCOL_VERSION:
            self._send(encode_connack(False, connack_return_code(error.reason)), _CONNACK)  # [MQTT-3.1.2-2]
        self._end(error.reason)

    def _crashed(self) -> None:
        _logger.exception("connection from %s:%s closed by a fault of the broker", self.peer_host, self.peer_port)
        self._end(ReasonCode.UNSPECIFIED_ERROR)

    def _end(self, reason: ReasonCode) -> None:
        session = self.session
        if session is not None and session.link is self:
            self.engine.close_link(session, reason)
        else:
            self.close(reason)
