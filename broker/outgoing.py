"""The outgoing half of a connection: encoded for the client's version, gathered, bounded, written once a turn.

What is written is gathered in a list and handed to the transport once for each turn of the event loop. Where the peer
reads slowly, it waits here: QoS 0 up to a bound, QoS 1 and 2 in the session's queue.
"""

import asyncio
import struct
from collections import Counter
from collections.abc import Callable
from logging import getLogger
from time import time
from typing import Protocol

from .held import Answer, HeldAnswers
from .link import Journal
from .message import Message
from .message_run import MessageRun
from .pace import Pace
from .packet_taps import PacketWatch
from .protocol.encode import PUBREL, encode_ack5, encode_disconnect5
from .protocol.packet_ids import encode_acks
from .protocol.packets import Properties
from .protocol.properties import PropertyId
from .protocol.reason_codes import REASON_STRINGS, ReasonCode, disconnect_reason
from .topic_aliases import OutgoingAliases
from .traffic import Traffic

_logger = getLogger(__name__)
_ENTRY_OVERHEAD = 64
"""Bytes that a piece of waiting output costs besides its own."""
_MESSAGE_OVERHEAD = 160
"""The same for the three pieces of a message."""
WRITE_HIGH_WATER = 262_144
_PACE_MARK = 524_288
"""Bytes waiting for one socket at which publishers are held."""
_CLOSE_TIMEOUT = 5.0
"""Seconds in which a closed peer may take what is waiting for it."""
_LINGER = 2.0
"""Seconds in which a peer that was told the reason may close its side; what it still sends is not looked at."""
_packed = struct.Struct(">H").pack
_AT_ONCE = (ReasonCode.SUCCESS, ReasonCode.SERVER_SHUTTING_DOWN)
"""Reasons for which nothing is lost by closing at once."""
_PUBREL, _DISCONNECT = 6, 14
_ALIAS = b"\x23"
_ALIAS_SIZE = 5
"""Bytes that an alias can add to a packet, longer length fields included."""


class Flusher:
    """Hand gathered output to the transports, once for each turn of the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[Outgoing] = []

    def add(self, outgoing: "Outgoing") -> None:
        """Remember a connection that has something to send."""
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(outgoing)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for outgoing in waiting:
            outgoing.flush()


class Owner(Protocol):
    """The connection, as far as its outgoing half needs it."""

    def session_waits(self) -> bool:
        """Tell whether the session's queue still is too full to let publishers go on."""
        ...

    def may_linger(self) -> bool:
        """Tell whether the peer may be waited for when we close; True counts the connection out at its listener."""
        ...

    def answers_unread(self) -> None:
        """Hear that the peer sends and does not read what it is answered."""
        ...

    def answers_held(self) -> None:
        """Hear that the peer is owed so many answers that it should not send more."""
        ...

    def forget_decisions(self) -> None:
        """Hear that what was decided on the peer's publishes does not hold any more."""
        ...

    def watch_packets(self, watch: PacketWatch) -> None:
        """Show each packet to this watch, too, from now on."""
        ...

    def unwatch_packets(self, watch: PacketWatch) -> None:
        """Show it no more."""
        ...


class _Nobody:
    """Own what is not connected any more."""

    def session_waits(self) -> bool:
        return False

    def may_linger(self) -> bool:
        return False

    def answers_unread(self) -> None:
        pass

    def answers_held(self) -> None:
        pass

    def forget_decisions(self) -> None:
        pass

    def watch_packets(self, watch: PacketWatch) -> None:
        watch.ended()

    def unwatch_packets(self, watch: PacketWatch) -> None:
        pass


_NOBODY = _Nobody()


class Outgoing:
    """Write to one client; the session's `Link`."""

    __slots__ = (
        "_abort_timer",
        "_closed_for",
        "_finished",
        "_flusher",
        "_limit",
        "_loop",
        "_mark",
        "_out",
        "_owner",
        "_pace",
        "_size",
        "acknowledged",
        "aliases",
        "behind",
        "closed",
        "held",
        "max_packet_size",
        "paused",
        "problem_information",
        "slow",
        "tap",
        "traffic",
        "transport",
        "version",
    )

    def __init__(
        self,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        flusher: Flusher,
        pace: Pace,
        traffic: Traffic,
        limit: int,
        closed_for: Counter[ReasonCode],
    ) -> None:
        """`limit` is the number of bytes that may wait for the socket; `closed_for` counts why the server closed."""
        self._closed_for = closed_for
        self.traffic = traffic
        self.transport: asyncio.Transport | None = None
        self.version = 4
        self.acknowledged = False
        """Whether the CONNACK has been sent, before which MQTT 5 knows no DISCONNECT from a server."""
        self.closed = False
        self.behind = False
        self.slow = False
        """Whether this peer has held publishers up for too long."""
        self.max_packet_size = 0
        """The client's Maximum Packet Size, 0 for none."""
        self.problem_information = True
        """Whether the client wants reason strings in acknowledgements."""
        self.aliases: OutgoingAliases | None = None
        self.tap: Callable[[bytes], None] | None = None
        """Shown every packet that is written, where somebody watches the connection's packets."""
        self.held: HeldAnswers | None = None
        """Answers that wait for the journal; while there are any, others that must keep their order join them."""
        self._finished = False
        """Whether nothing may be written any more."""
        self._owner = owner
        self._loop = loop
        self._flusher = flusher
        self._pace = pace
        self._limit = limit
        self._mark = min(_PACE_MARK, limit // 2)
        self._out: list[bytes] = []
        self._size = 0
        self.paused = False
        """Whether the transport wants no more for now."""
        self._abort_timer: asyncio.TimerHandle | None = None

    # -- flow control

    @property
    def congested(self) -> bool:
        """Tell whether the peer reads too slowly for more than what is waiting."""
        return self.paused and self._size > WRITE_HIGH_WATER

    @property
    def taken(self) -> int:
        """A number that grows with whatever the peer takes: bytes that left for it, and messages acknowledged."""
        waiting = 0 if self.transport is None else self.transport.get_write_buffer_size()
        return self.traffic.bytes_sent - waiting + self.traffic.acked

    def pause(self) -> None:
        """Note that the peer reads slowly."""
        self.paused = True

    def resume(self) -> None:
        """Go on sending; the session's queue comes after this."""
        self.paused = False
        if self._out:
            self.flush()

    def fall_behind(self) -> None:
        """Have publishers held until this peer has caught up."""
        if not self.closed:
            self._pace.fall_behind(self)

    def catch_up(self) -> None:
        """Let publishers go on once neither the socket nor the session's queue is too full."""
        if self.paused or self._size > self._mark // 2 or self._owner.session_waits():
            return
        self.slow = False
        if self.behind:
            self._pace.catch_up(self)

    def _make_room(self, size: int) -> bool:
        """Deal with more output than the mark; False if there is no room for `size` bytes in all."""
        if not self.paused:
            self.flush()  # all within one turn of the loop: the transport may take it
            return True
        self.fall_behind()
        return size <= self._limit or not self._out

    # -- Link

    def relay(self, chunk: bytes, count: int) -> None:
        """Send `count` encoded QoS 0 packets; dropped and counted where too much is waiting already."""
        size = self._size + len(chunk) + _ENTRY_OVERHEAD
        if size > self._mark:
            if not self._make_room(size):
                self.traffic.dropped_qos0 += count
                return
            size = self._size + len(chunk) + _ENTRY_OVERHEAD
        if not self._out:
            self._flusher.add(self)
        self._out.append(chunk)
        self._size = size
        self.traffic.messages_sent_qos[0] += count

    def send_publish(
        self, message: Message, qos: int, retain: bool, packet_id: int, dup: bool = False, identifiers: bytes = b""
    ) -> bool:
        """Send one message; QoS 0 is dropped and counted where too much is waiting; False if it is too large."""
        payload = message.payload
        if self._size > self._mark and not self._make_room(self._size + len(payload)) and qos == 0:
            self.traffic.dropped_qos0 += 1
            return True
        first_byte = 0x30 | (qos << 1) | retain | (dup << 3)  # [MQTT-3.3.1-3], [MQTT-4.3.1-1]
        if self.version == 5:
            encoded = self._encode5(message, first_byte, identifiers)
            if encoded is None:
                return False
            head, block = encoded
            payload = block + payload
        else:
            head = message.head(first_byte)
        out = self._out
        if not out:
            self._flusher.add(self)
        if qos:
            out += (head, _packed(packet_id), payload)
        else:
            out += (head, payload)
        self._size += len(head) + len(payload) + _MESSAGE_OVERHEAD
        self.traffic.messages_sent_qos[qos] += 1
        return True

    def send_run(self, run: MessageRun, qos: int, at: int, count: int, first_id: int, identifiers: bytes = b"") -> None:
        """Send `count` messages of a run from the one at `at` on, with consecutive packet identifiers.

        All of them at QoS 0. Not for those who limit packet sizes or take aliases.
        """
        if self.version == 5:
            expiry = b"" if run.expires_at is None else run.expiry_property(time())
            template = run.template(0x30 | qos << 1, 5, expiry + identifiers)
        else:
            template = run.template(0x30 | qos << 1, self.version)
        if not qos:
            self.relay(template.data, run.count)
            return
        packets = template.numbered(at, count, first_id)
        size = self._size + len(packets) + _ENTRY_OVERHEAD
        if size > self._mark:
            self._make_room(size)
            size = self._size + len(packets) + _ENTRY_OVERHEAD
        if not self._out:
            self._flusher.add(self)
        self._out.append(packets)
        self._size = size
        self.traffic.messages_sent_qos[qos] += count

    def _encode5(self, message: Message, first_byte: int, identifiers: bytes) -> tuple[bytes, bytes] | None:
        extra = identifiers
        if message.expires_at is not None:
            extra = message.expiry_property(time()) + extra
        head, block = message.head5(first_byte, extra)
        room = _ALIAS_SIZE
        if self.max_packet_size:
            size = len(head) + len(block) + len(message.payload) + (2 if first_byte & 0x06 else 0)
            room = self.max_packet_size - size
            if room < 0:
                return None  # [MQTT5-3.1.2-24]
        if self.aliases is None or room < _ALIAS_SIZE:
            return head, block
        alias, known = self.aliases.find(message.topic_bytes)
        if not alias:
            return head, block
        extra += _ALIAS + alias.to_bytes(2, "big")
        return message.aliased_head5(first_byte, extra) if known else message.head5(first_byte, extra)

    def send_pubrel(self, packet_id: int, known: bool = True) -> None:
        """Release a QoS 2 message, or tell MQTT 5 clients that there is none of this identifier."""
        reason = ReasonCode.SUCCESS if known else ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
        self.send_ack(PUBREL, _PUBREL, packet_id.to_bytes(2, "big"), reason)

    def release_when_written(self, journal: Journal, packet_ids: bytes) -> None:
        """Release QoS 2 messages once it is written that the client has received them."""
        self.hold(journal, PUBREL, _PUBREL, packet_ids)

    def forget_decisions(self) -> None:
        """Decide anew on what the client publishes from now on."""
        self._owner.forget_decisions()

    def watch_packets(self, watch: PacketWatch) -> None:
        """Show each packet of the connection to this watch, too, from now on."""
        self._owner.watch_packets(watch)

    def unwatch_packets(self, watch: PacketWatch) -> None:
        """Show it no more."""
        self._owner.unwatch_packets(watch)

    def close(self, reason: ReasonCode) -> None:
        """Send what is waiting and close; MQTT 5 clients are told the reason, earlier ones cannot be."""
        if self.closed:
            return
        if reason is not ReasonCode.SUCCESS:
            self._closed_for[reason] += 1
        if self.version == 5 and self.acknowledged and reason is not ReasonCode.SUCCESS:
            said = disconnect_reason(reason)
            self.send_with_reason(
                _DISCONNECT, said, lambda properties: encode_disconnect5(said, properties), always=True
            )
        self.closed = True  # [MQTT5-3.14.4-1]
        self._pace.catch_up(self)
        transport = self.transport
        if transport is None:
            return
        self.paused = False
        self.flush()
        self._finished = True
        # A peer that is sending would meet a closed socket, and its operating system would throw away what it has
        # not read yet, our last words among it. So we only stop writing, and wait for the peer to close.
        lingers = reason not in _AT_ONCE and transport.can_write_eof() and self._owner.may_linger()
        waiting = transport.get_write_buffer_size() > 0
        if lingers or waiting or not transport.can_write_eof():  # the end of TLS takes the peer's word
            self._abort_timer = self._loop.call_later(
                _LINGER if lingers and not waiting else _CLOSE_TIMEOUT, transport.abort
            )
        if not lingers:
            transport.close()  # [MQTT5-3.14.4-2], [MQTT5-4.13.2-1]
            return
        try:
            transport.write_eof()
            transport.resume_reading()
        except (OSError, RuntimeError):  # the peer has gone already, and nobody has noticed yet
            transport.abort()

    def abort(self) -> None:
        """Close at once, whatever is waiting."""
        self.closed = self._finished = True
        if self.transport is not None:
            self.transport.abort()

    def unplug(self) -> None:
        """Write nothing any more, for the socket is gone, but stay open for what the peer had sent before."""
        self._finished = True
        self._pace.catch_up(self)

    def lost(self) -> None:
        """Forget what was waiting: the socket is closed."""
        self.closed = self._finished = True
        if self.held is not None:
            self.held.let_go()
            self.held = None
        self._pace.catch_up(self)
        self._out.clear()
        self._size = 0
        if self._abort_timer is not None:
            self._abort_timer.cancel()
            self._abort_timer = None
        self._owner, self.transport = _NOBODY, None  # so that what is gone is let go at once, not by a collection

    # -- anything else

    def send_ack(self, first_two: bytes, packet_type: int, packet_id: bytes, reason: int = 0) -> None:
        """Send a PUBACK, PUBREC, PUBREL or PUBCOMP; `first_two` are its fixed header without a reason."""
        if (reason or self.max_packet_size) and self.version == 5:
            # Without a reason string: these answer single messages, and the code says it all.
            self.send(encode_ack5(first_two[0], packet_id, reason), packet_type)
        else:
            if not self._out:
                self._flusher.add(self)
            self._out.append(first_two + packet_id)
            self._size += 4 + _ENTRY_OVERHEAD
            self.traffic.acks_sent[packet_type] += 1
            if self._size > self._limit and self.paused:
                self._owner.answers_unread()

    def send_acks(self, first_two: bytes, packet_type: int, packet_ids: bytes, reason: int = 0) -> None:
        """Send an acknowledgement for each packet identifier of a column."""
        if (reason or self.max_packet_size) and self.version == 5:
            for at in range(0, len(packet_ids), 2):
                self.send_ack(first_two, packet_type, packet_ids[at : at + 2], reason)
        else:
            if not self._out:
                self._flusher.add(self)
            data = encode_acks(first_two, packet_ids)
            self._out.append(data)
            self._size += len(data) + _ENTRY_OVERHEAD
            self.traffic.acks_sent[packet_type] += len(packet_ids) >> 1
            if self._size > self._limit and self.paused:
                self._owner.answers_unread()

    def hold(
        self,
        journal: Journal | None,
        first_two: bytes,
        packet_type: int,
        packet_ids: bytes,
        reason: int = 0,
        answer: Answer | None = None,
    ) -> None:
        """Send acknowledgements once all is written that the journal has; without one, behind those that wait.

        With an `answer` that was begun also once nothing is owed any more of what came since.
        """
        held = self.held
        if held is None:
            held = self.held = HeldAnswers(self)
        settled = answer is not None or journal is None
        held.hold(journal, answer or Answer(), first_two, packet_type, packet_ids, reason, settled)
        if held.too_many:
            self._owner.answers_held()

    def begin_answer(self, journal: Journal) -> Answer:
        """Give the answer that the message is to have which comes now."""
        held = self.held
        if held is None:
            held = self.held = HeldAnswers(self)
        return held.begin(journal)

    def hold_call(self, journal: Journal, answer: Callable[[], None]) -> None:
        """Give any other answer then."""
        held = self.held
        if held is None:
            held = self.held = HeldAnswers(self)
        held.hold_call(journal, answer)
        if held.too_many:
            self._owner.answers_held()

    def send_pubrels(self, packet_ids: bytes) -> None:
        """Release the QoS 2 messages of a column of packet identifiers."""
        self.send_acks(PUBREL, _PUBREL, packet_ids)

    def send_with_reason(
        self, packet_type: int, reason: ReasonCode, encode: Callable[[Properties], bytes], *, always: bool = False
    ) -> None:
        """Send a packet with a reason string, if the client wants and can take one; `always` without asking.

        [MQTT-3.1.2-29], [MQTT-3.2.2-19], [MQTT-3.4.2-2], [MQTT-3.5.2-2], [MQTT-3.6.2-2], [MQTT-3.7.2-2],
        [MQTT-3.9.2-1], [MQTT-3.11.2-1], [MQTT-3.14.2-3], [MQTT-3.15.2-2]. User properties of the server's own there
        are none, so none is ever too large [MQTT-3.2.2-20], [MQTT-3.4.2-3], [MQTT-3.5.2-3], [MQTT-3.6.2-3],
        [MQTT-3.7.2-3], [MQTT-3.9.2-2], [MQTT-3.11.2-2], [MQTT-3.14.2-4], [MQTT-3.15.2-3]; nor has a DISCONNECT a
        session expiry interval [MQTT-3.14.2-2].
        """
        text = REASON_STRINGS.get(reason)
        if text is not None and (always or self.problem_information):
            data = encode({PropertyId.REASON_STRING: text})
            if not 0 < self.max_packet_size < len(data):
                self.send(data, packet_type)
                return
        self.send(encode({}), packet_type)

    def send(self, data: bytes, packet_type: int) -> None:
        """Send a packet other than PUBLISH; one that is larger than the client takes is dropped [MQTT-3.1.2-25]."""
        if 0 < self.max_packet_size < len(data):
            self.traffic.dropped_too_large += 1
            return
        if not self._out:
            self._flusher.add(self)
        self._out.append(data)
        self._size += len(data) + _ENTRY_OVERHEAD
        self.traffic.acks_sent[packet_type] += 1
        if self._size > self._limit and self.paused:
            # A peer that sends and never reads its acknowledgements is not read any more, so that they stay bounded.
            self._owner.answers_unread()

    def flush(self) -> None:
        """Hand what has been gathered to the transport, unless the transport has enough."""
        out = self._out
        if self.paused or not out or self.transport is None or self._finished:
            return
        data = b"".join(out)  # a single one is not copied
        out.clear()
        self._size = 0
        traffic = self.traffic
        traffic.bytes_sent += len(data)
        traffic.writes += 1
        try:
            if self.tap is not None:
                self.tap(data)
            self.transport.write(data)
        except Exception:  # the connection driver: whoever publishes must not suffer from one subscriber's transport
            _logger.exception("a connection was closed because it could not be written to")
            self.abort()
