"""The incoming half of a connection and the hot path: what a client publishes and acknowledges.

No task, future, lock or coroutine for a message: it is parsed, checked, routed and written within one call of
`data_received`. Runs of equal QoS 0 packets are passed on as one slice, or converted once for each form in which
they are wanted; runs of QoS 1 and 2 packets are encoded once, and get each receiver's packet identifiers.
"""

import asyncio
from logging import getLogger
from time import time
from typing import cast

from amqtt.contexts import Action

from .driver import NOBODY, Driver
from .engine import Engine
from .message import Message
from .message_run import MessageRun
from .outgoing import Outgoing
from .protocol.decode import decode_topic_name
from .protocol.encode import PUBACK, PUBCOMP, PUBREC, encode_publish_head, encode_publish_head5, encode_varint
from .protocol.errors import MalformedPacket, ProtocolError
from .protocol.packet_ids import unpack_ids
from .protocol.packets import Packet
from .protocol.properties import PublishProperties, decode_publish_properties
from .protocol.reason_codes import ReasonCode
from .protocol.runs import RUN_MESSAGES, Parts, Relay
from .publish_decisions import decide, end_of, log_denial
from .publish_routes import Detour, PublishRoute, PublishRoutes
from .router import Route
from .routing.topics import InvalidTopic
from .session import Session
from .topic_aliases import IncomingAliases

_logger = getLogger(__name__)

_WORK = 10_000
"""Deliveries that one client may cause before others have their turn."""
_PIECE = 65_536
"""Bytes that are made of a run at once where it must be encoded anew."""
_SHOWN = 200
"""Characters of a topic that go to the log."""
_PUBACK, _PUBREC, _PUBREL, _PUBCOMP = 4, 5, 6, 7
_PLAIN_QOS_1 = 0b0010
"""The flags of a PUBLISH at QoS 1 with neither DUP nor RETAIN."""
_NO_PROPERTIES = PublishProperties()


_NOWHERE = Route(())


class Incoming:
    """Take what the reader finds."""

    __slots__ = (
        "_driver",
        "_engine",
        "_forgotten",
        "_journal",
        "_out",
        "_pace",
        "_remembered",
        "_router",
        "_routes",
        "_traffic",
        "_waits",
        "_watched",
        "_work",
        "aliases",
        "now",
        "session",
    )

    def __init__(self, engine: Engine, driver: Driver, out: Outgoing) -> None:
        self.session: Session | None = None
        """None until the CONNECT has been accepted."""
        self.aliases: IncomingAliases | None = None
        self.now = 0.0
        """When what is being taken came, seconds since the epoch; 0 until somebody asks."""
        self._engine = engine
        self._router = engine.router
        self._driver: Driver = driver
        self._out = out
        self._traffic = out.traffic
        self._pace = engine.pace
        self._journal = engine.journal
        self._work = 0
        """Deliveries since others had their turn."""
        self._waits = engine.access.waits
        self._watched = engine.access.waits or engine.events.messages or engine.events.queues
        self._remembered = PublishRoutes()
        self._routes = self._remembered.by_flags
        self._forgotten = 0
        """How often what had been decided was forgotten; whoever waited between two of its steps looks at it."""

    def lost(self) -> None:
        """Let the connection go, and take nothing any more."""
        self._driver = NOBODY

    def forget_decisions(self) -> None:
        """Decide anew on every topic: what the client may publish has changed."""
        self._forgotten += 1
        self._remembered.clear()

    def _breathe(self) -> bool | None:
        """Stop reading: for a while because a consumer is behind, or for one turn because others must have theirs."""
        pace = self._pace
        if pace.met:
            pace.met = False
            if not pace.nobody_behind:  # it may be over already: something else than a message can have met it
                return self._driver.hold_for_pace()
        if self._work <= _WORK:
            return None
        self._work = 0
        return self._driver.take_turns()

    def packet(self, packet: Packet) -> bool | None:
        """Hand on what is none of this half's business."""
        return self._driver.packet(packet)

    # -- runs of QoS 0 packets

    @property
    def relays(self) -> dict[bytes, Relay]:
        """To whom plain packets on a topic go as they come; see `relay_of`."""
        return self._remembered.relays

    def relay_of(self, topic: bytes) -> Relay | None:
        """Give those to whom packets on a topic can be relayed as they come; None where there is more to do."""
        remembered = self._remembered
        return remembered.relays.get(topic) if remembered.generation == self._router.generation else None

    def relay_parts(self, parts: Parts) -> bool | None:
        """Pass packets on to those that `relay_of` gave."""
        received = self._traffic.messages_received_qos
        for relay, chunk, count in parts:
            received[0] += count
            for session in cast("tuple[Session, ...]", relay.receivers):
                link = session.link
                if link is not None:
                    link.relay(chunk, count)
        return self._breathe() if self._pace.met else None

    def publish_run(self, topic: bytes, data: bytes, start: int, body: int, end: int, count: int) -> bool | None:
        """Pass a run of 3.1 or 3.1.1 packets on."""
        known = self._routes[0].get(topic)
        if known is None or known.generation != self._router.generation:
            known = self._resolve(0, topic)
        self._traffic.messages_received_qos[0] += count
        plain = known.plain3
        if plain:
            chunk = data[start:end]  # the same object if it is all of it
            for session in plain:
                link = session.link
                if link is not None:
                    link.relay(chunk, count)
        if known.rest:
            return self._finish_run(known, topic, data, start, body, end, count)
        return self._breathe() if self._pace.met else None

    def _finish_run(
        self, known: PublishRoute, topic: bytes, data: bytes, start: int, body: int, end: int, count: int
    ) -> bool | None:
        """Pass a run of 3.1 or 3.1.1 packets on to all but `plain3`."""
        route = known.route
        if route.empty:
            if known.detour is None:
                self._count_unwanted(known, count)
                return None
            length = (end - start) // count
            return self._take_each(known, [data[at + body : at + length] for at in range(start, end, length)])
        self._work += known.heavy
        if route.mixed:
            length = (end - start) // count
            payloads = [data[at + body : at + length] for at in range(start, end, length)]
            _relay(route.plain5, encode_publish_head5(0x30, topic, 1 + len(payloads[0])) + b"\0", payloads)
            if self._deliver_odd(known, payloads, _NO_PROPERTIES):
                return True
        return self._breathe()

    def publish_run5(
        self, topic: bytes, properties: bytes, data: bytes, start: int, body: int, end: int, count: int
    ) -> bool | None:
        """Pass a run of MQTT 5 packets on."""
        found = decode_publish_properties(properties) if properties else _NO_PROPERTIES
        aliased = found.topic_alias != 0
        if aliased or not topic:
            topic = self._topic_of(topic, found)
        known = self._routes[0].get(topic)
        if known is None or known.generation != self._router.generation:
            known = self._resolve(0, topic)
        self._traffic.messages_received_qos[0] += count
        route = known.route
        if route.empty:
            if known.detour is None:
                self._count_unwanted(known, count)
                return None
            length = (end - start) // count
            return self._take_each(known, [data[at + body : at + length] for at in range(start, end, length)], found)
        self._work += known.heavy
        if route.plain5 and not aliased:
            chunk = data[start:end]
            for session in route.plain5:
                link = session.link
                if link is not None:
                    link.relay(chunk, count)
        if aliased or route.plain3 or route.odd or route.groups:
            length = (end - start) // count
            payloads = [data[at + body : at + length] for at in range(start, end, length)]
            if aliased and route.plain5:
                expiry = found.message_expiry
                extra = b"" if expiry is None else b"\x02" + expiry.to_bytes(4, "big")
                block = encode_varint(len(extra) + len(found.forwarded)) + extra + found.forwarded
                _relay(route.plain5, encode_publish_head5(0x30, topic, len(block) + len(payloads[0])) + block, payloads)
            if route.plain3:
                _relay(route.plain3, encode_publish_head(0x30, topic, len(payloads[0])), payloads)
            if self._deliver_odd(known, payloads, found):
                return True
        return self._breathe() if self._pace.met or self._work > _WORK else None

    def _deliver_odd(self, known: PublishRoute, payloads: list[bytes], properties: PublishProperties) -> bool | None:
        """Deliver a run message by message to those who need something of their own, and to shared subscriptions."""
        route = known.route
        session = self.session
        if session is None or not (route.odd or route.groups):
            return None
        work = len(payloads) * (len(route.odd) + len(route.groups))
        if work > _WORK:  # one packet of a few bytes can owe a thousand deliveries
            return self._driver.leave_loop(self._deliver_odd_in_turns(session, known, payloads, properties))
        self._work += work
        for payload in payloads:
            self._deliver_one_odd(session, known, payload, properties)
        return None

    async def _deliver_odd_in_turns(
        self, session: Session, known: PublishRoute, payloads: list[bytes], properties: PublishProperties
    ) -> None:
        share = max(1, _WORK // (len(known.route.odd) + len(known.route.groups)))
        met, forgotten = False, self._forgotten
        for number, payload in enumerate(payloads, 1):
            self._deliver_one_odd(session, known, payload, properties)
            met, self._pace.met = met or self._pace.met, False
            if number % share:
                continue
            await asyncio.sleep(0)
            if session.link is not self._out:  # taken over: a newer connection speaks for this client
                return
            if known.generation != self._router.generation or forgotten != self._forgotten:
                known, forgotten = self._resolve(0, known.topic_bytes), self._forgotten
                share = max(1, _WORK // max(1, known.heavy))
        if met and not self._pace.nobody_behind:
            self._driver.hold_for_pace()

    def _deliver_one_odd(
        self, session: Session, known: PublishRoute, payload: bytes, properties: PublishProperties
    ) -> None:
        route = known.route
        message = Message(
            known.topic,
            payload,
            0,
            False,
            session.client_id,
            known.topic_bytes,
            properties.forwarded,
            _expires_at(properties),
        )
        for target in route.odd:
            if target.session.link is not None:
                target.session.deliver(message, 0, False, target.identifiers)
        for group in route.groups:
            self._engine.sharing.deliver(message, route, group)

    def _take_each(
        self, known: PublishRoute, payloads: list[bytes], properties: PublishProperties = _NO_PROPERTIES
    ) -> bool | None:
        """Take the messages of a run of QoS 0 one by one: there is more to do with them than to pass them on."""
        session = self.session
        if session is not None:
            for payload in payloads:
                self._accept(session, known, 0, b"", payload, properties)
        return self._breathe() if self._pace.met or self._work > _WORK else None

    def _count_unwanted(self, known: PublishRoute, count: int) -> None:
        if known.allowed:
            self._traffic.no_subscribers += count
        else:
            self._traffic.publish_dropped += count
            self._punish()

    def _punish(self) -> None:
        """Raise `ProtocolError` where a client is to be disconnected that publishes what it may not."""
        if self._engine.access.deny_action == "disconnect":
            raise ProtocolError("a publish that is denied", ReasonCode.NOT_AUTHORIZED)

    # -- any other message

    def publish(self, flags: int, topic: bytes, packet_id: bytes, payload: bytes) -> bool | None:
        """Check, route and acknowledge one message of a 3.1 or 3.1.1 client."""
        if flags == _PLAIN_QOS_1 and not self._watched:
            # What follows is `_publish` for the most frequent case, without what it does not need.
            known = self._routes[_PLAIN_QOS_1].get(topic)
            if known is None or known.generation != self._router.generation:
                known = self._resolve(_PLAIN_QOS_1, topic)
            if known.durable or self._out.held is not None:
                return self._publish_held(known, packet_id, payload)
            self._traffic.messages_received_qos[1] += 1
            route = known.route
            if route.empty:
                if known.detour is not None:
                    self._traffic.messages_received_qos[1] -= 1
                    return self._publish(flags, topic, packet_id, payload, _NO_PROPERTIES)
                self._count_unwanted(known, 1)
            else:
                if len(payload) != known.payload_length:
                    known.payload_length = len(payload)
                    known.head = encode_publish_head(0x30 | _PLAIN_QOS_1, topic, len(payload))
                now = self.now
                if not now:
                    now = self.now = time()
                message = Message(
                    known.topic, payload, 1, False, known.sender, known.topic_bytes, b"", None, known.head, now
                )
                if route.groups:
                    self._engine.deliver_now(message, route)
                else:
                    for session, granted, _, identifiers in route.targets:
                        session.deliver(message, 1 if granted else 0, False, identifiers)
            self._out.send_ack(PUBACK, _PUBACK, packet_id)
            self._work += known.work
            return self._breathe() if self._work > _WORK or self._pace.met else None
        return self._publish(flags, topic, packet_id, payload, _NO_PROPERTIES)

    def _publish_held(self, known: PublishRoute, packet_id: bytes, payload: bytes) -> bool | None:
        """Take a plain QoS 1 message whose acknowledgement must wait, for the journal or behind others that do."""
        journal, out = self._journal, self._out
        if journal is None or known.detour is not None or (known.durable and journal.strained):
            return self._publish(_PLAIN_QOS_1, known.topic_bytes, packet_id, payload, _NO_PROPERTIES)
        self._traffic.messages_received_qos[1] += 1
        answer = None
        if known.route.empty:
            self._count_unwanted(known, 1)
        else:
            if len(payload) != known.payload_length:
                known.payload_length = len(payload)
                known.head = encode_publish_head(0x30 | _PLAIN_QOS_1, known.topic_bytes, len(payload))
            self.now = self.now or time()
            message = Message(
                known.topic, payload, 1, False, known.sender, known.topic_bytes, b"", None, known.head, self.now
            )
            if known.durable:
                answer = journal.answer = out.begin_answer(journal)
            try:
                if known.route.groups:
                    self._engine.deliver_now(message, known.route)
                else:
                    for session, granted, _, identifiers in known.route.targets:
                        session.deliver(message, 1 if granted else 0, False, identifiers)
            finally:
                journal.answer = None
        out.hold(journal if known.durable else None, PUBACK, _PUBACK, packet_id, 0, answer)
        self._work += known.work
        return self._breathe() if self._work > _WORK or self._pace.met else None

    def publish5(self, flags: int, topic: bytes, packet_id: bytes, properties: bytes, payload: bytes) -> bool | None:
        """Check, route and acknowledge one message of an MQTT 5 client."""
        found = decode_publish_properties(properties) if properties else _NO_PROPERTIES
        if found.topic_alias or not topic:
            topic = self._topic_of(topic, found)
        return self._publish(flags, topic, packet_id, payload, found)

    def _publish(
        self, flags: int, topic: bytes, packet_id: bytes, payload: bytes, properties: PublishProperties
    ) -> bool | None:
        qos = flags >> 1 & 3
        known = self._known(flags & 7, topic)
        self._traffic.messages_received_qos[qos] += 1
        session = self.session
        if session is None:
            return True
        if qos == 2 and not self._receive_once(session, packet_id):
            return None
        if self._waits:
            return self._driver.leave_loop(
                self._publish_when_allowed(session, known, flags, packet_id, payload, properties)
            )
        self._accept(session, known, flags, packet_id, payload, properties)
        if ((known.durable and qos) or flags & 1) and self._journal is not None and self._must_wait():
            return self._driver.hold_for_journal()
        return self._breathe() if self._pace.met or self._work > _WORK else None

    def _must_wait(self) -> bool:
        """Tell whether too much waits for the disk to read on."""
        return self._journal is not None and self._journal.congested

    def run_limit(self, flags: int, topic: bytes) -> int:
        """Count the QoS 1 or 2 messages that can be delivered together: as many as every receiver has room for."""
        if self._watched:
            return 0
        known = self._known(flags, topic)
        if not known.in_runs or (known.durable and self._journal is not None and self._journal.fault is not None):
            return 0
        limit = min(RUN_MESSAGES, _WORK // known.heavy) if known.heavy else RUN_MESSAGES
        for session, granted, _, _ in known.route.targets:
            if granted:
                room = session.room
                if room < limit:
                    limit = room
        return limit

    def publish_numbered(
        self, flags: int, topic: bytes, packet_ids: bytes, properties: bytes, data: bytes, id_at: int, body: int
    ) -> bool | None:
        """Check, route and acknowledge a run of QoS 1 or 2 messages."""
        found = decode_publish_properties(properties) if properties else _NO_PROPERTIES
        session = self.session
        if session is None:
            return True
        if found.topic_alias:
            topic = self._topic_of(topic, found)
        known = self._known(flags, topic)
        qos, count = flags >> 1, len(packet_ids) >> 1
        self.now = self.now or time()
        as_it_came = not found.topic_alias and found.message_expiry is None
        run = MessageRun(
            known.topic,
            known.topic_bytes,
            known.sender,
            qos,
            data,
            count,
            id_at,
            body,
            found.forwarded,
            _expires_at(found),
            (0x30 | flags, session.protocol_version == 5) if as_it_came else None,
            self.now,
        )
        if qos == 2:
            numbers = set(unpack_ids(packet_ids))
            waiting = session.awaiting_rel
            if len(numbers) != count or len(waiting) + count > session.max_awaiting_rel or numbers & waiting:
                return self._publish_each(session, known, run, packet_ids, flags, found)
        self._traffic.messages_received_qos[qos] += count
        self._work += count * len(known.route.targets)
        answer, journal = None, self._journal
        if known.durable and qos == 1 and journal is not None:
            answer = journal.answer = self._out.begin_answer(journal)
        try:
            reached = self._engine.deliver_run(run, known.route)
        finally:
            if journal is not None:
                journal.answer = None
        run.settle()
        reason = 0 if reached else ReasonCode.NO_MATCHING_SUBSCRIBERS
        # [MQTT-2.3.1-6], [MQTT-3.3.4-1], [MQTT-4.3.2-2], [MQTT5-4.3.2-4], [MQTT5-4.3.3-8]
        if qos == 2:
            session.awaiting_rel.update(unpack_ids(packet_ids))  # [MQTT-4.3.3-2], [MQTT5-4.3.3-9], [MQTT5-4.3.3-13]
            if known.durable:
                session.hold_back(unpack_ids(packet_ids))
        first_two, packet_type = (PUBACK, _PUBACK) if qos == 1 else (PUBREC, _PUBREC)
        if known.durable or self._out.held is not None:
            self._out.hold(journal if known.durable else None, first_two, packet_type, packet_ids, reason, answer)
            if self._must_wait():
                return self._driver.hold_for_journal()
        else:
            self._out.send_acks(first_two, packet_type, packet_ids, reason)
        return self._breathe() if self._pace.met or self._work > _WORK else None

    def _publish_each(
        self,
        session: Session,
        known: PublishRoute,
        run: MessageRun,
        packet_ids: bytes,
        flags: int,
        properties: PublishProperties,
    ) -> bool | None:
        """Take QoS 2 messages some of which may have come before, or are too many."""
        for number, payload in enumerate(run.payloads):
            packet_id = packet_ids[2 * number : 2 * number + 2]
            self._traffic.messages_received_qos[2] += 1
            if self._receive_once(session, packet_id):
                self._accept(session, known, flags, packet_id, payload, properties)
        return self._breathe() if self._pace.met or self._work > _WORK else None

    def _known(self, flags: int, topic: bytes) -> PublishRoute:
        known = self._routes[flags].get(topic)
        if known is None or known.generation != self._router.generation:
            return self._resolve(flags, topic)
        return known

    def _receive_once(self, session: Session, packet_id: bytes) -> bool:
        """Tell whether a QoS 2 message is to be passed on; raises `ProtocolError` where too many are not released."""
        # [MQTT-4.3.2-2], [MQTT5-4.3.2-5]
        if (packet_id[0] << 8) | packet_id[1] in session.awaiting_rel:  # [MQTT-4.3.3-2], [MQTT5-4.3.3-10]
            # [MQTT-4.3.3-10]: received before, not passed on again. That may not be written yet.
            self._answer(PUBREC, _PUBREC, packet_id, 0, durable=session.journaled)
            return False
        if len(session.awaiting_rel) >= session.max_awaiting_rel:  # [MQTT-3.3.4-7]
            raise ProtocolError("too many QoS 2 messages wait for PUBREL", ReasonCode.RECEIVE_MAXIMUM_EXCEEDED)
        return True

    def _accept(
        self,
        session: Session,
        known: PublishRoute,
        flags: int,
        packet_id: bytes,
        payload: bytes,
        properties: PublishProperties,
    ) -> None:
        qos = flags >> 1 & 3
        engine = self._engine
        reason = 0
        durable, answer = False, None
        detour = known.detour
        if detour is not None:
            known = detour.known
        if known.allowed:
            route = known.route
            retain = flags & 1
            journal = self._journal
            durable = journal is not None and (known.durable or retain == 1)
            if journal is not None and journal.fault and durable and qos and session.protocol_version == 5:
                # A client that can be told is; from others the message is taken, and acknowledged once it is written.
                reason = journal.fault
                journal.refused += 1
            elif retain or not route.empty or engine.events.messages or detour is not None:
                self.now = self.now or time()
                message = Message(
                    known.topic,
                    payload,
                    qos,
                    retain == 1,
                    session.identity.client_id,
                    known.topic_bytes,
                    properties.forwarded,
                    None if properties.message_expiry is None else time() + properties.message_expiry,
                    b"",
                    self.now,
                )
                if engine.events.messages:
                    engine.events.message(session.client_id, message, packet_id)
                if detour is not None and detour.delays is not None:
                    reason = self._delay(detour, message)
                else:
                    if retain:  # [MQTT-3.3.1-12], [MQTT5-3.3.1-8]
                        engine.retain(message)
                    self._work += 1 + len(route.targets) + len(route.groups)
                    if durable and journal is not None and qos == 1 and not retain:
                        answer = journal.answer = self._out.begin_answer(journal)
                    reached = 0
                    try:
                        if not retain or payload or engine.retention.forward_clearing:
                            reached = engine.deliver_now(message, route)
                        if reached == 0:
                            reason = ReasonCode.NO_MATCHING_SUBSCRIBERS
                    finally:
                        if answer is not None and journal is not None:
                            journal.answer = None
                    if detour is not None:
                        detour.published(message, reached, session.client_id)
            else:
                reason = ReasonCode.NO_MATCHING_SUBSCRIBERS
            if route.empty and (detour is None or detour.delays is None):
                self._traffic.no_subscribers += 1
        else:
            self._traffic.publish_dropped += 1
            reason = known.refusal
            if detour is not None:
                detour.denied(qos, session.client_id)
            if reason == ReasonCode.NOT_AUTHORIZED:
                self._punish()
            if engine.events.messages:  # amqtt's plugins see what is received, allowed or not
                message = Message(known.topic, payload, qos, bool(flags & 1))
                engine.events.message(session.client_id, message, packet_id, permitted=False)
        # 3.1 and 3.1.1 know no negative acknowledgement: denied or not, they get the same [MQTT-3.3.5-2]
        durable = durable and reason < 0x80
        if qos == 1:
            # [MQTT-2.3.1-6], [MQTT-3.3.4-1], [MQTT-4.3.2-2], [MQTT5-4.3.2-4]
            if durable or self._out.held is not None:
                self._out.hold(self._journal if durable else None, PUBACK, _PUBACK, packet_id, reason, answer)
            else:
                self._out.send_ack(PUBACK, _PUBACK, packet_id, reason)
        elif qos == 2:
            if reason < 0x80 or session.protocol_version != 5:
                number = (packet_id[0] << 8) | packet_id[1]
                session.awaiting_rel.add(number)  # [MQTT-4.3.3-2], [MQTT5-4.3.3-9], [MQTT5-4.3.3-13]
                if durable:
                    session.hold_back((number,))
            # [MQTT-3.3.4-1], [MQTT5-4.3.3-8]
            self._answer(PUBREC, _PUBREC, packet_id, reason, durable=durable)

    @staticmethod
    def _delay(detour: Detour, message: Message) -> int:
        """Have a message kept until its time has come; give what its client is told.

        Its topic was found to say when, but the moment that it names may have passed since. One for which there is no
        room is dropped, and its client told nothing of that, as EMQX does.
        """
        delays = detour.delays
        try:
            found = None if delays is None else delays.read(detour.topic)
        except InvalidTopic:
            return ReasonCode.TOPIC_NAME_INVALID
        if delays is not None and found is not None:
            delays.keep(message, found[0])
        return 0

    def _answer(self, first_two: bytes, packet_type: int, packet_id: bytes, reason: int, *, durable: bool) -> None:
        """Acknowledge: once it is written where that is owed, and behind what waits for that already."""
        if durable or self._out.held is not None:
            self._out.hold(self._journal if durable else None, first_two, packet_type, packet_id, reason)
        else:
            self._out.send_ack(first_two, packet_type, packet_id, reason)

    async def _publish_when_allowed(
        self,
        session: Session,
        known: PublishRoute,
        flags: int,
        packet_id: bytes,
        payload: bytes,
        properties: PublishProperties,
    ) -> None:
        """Ask foreign topic plugins about the publisher and each receiver before the message goes on.

        That takes its time: where access or subscriptions have changed meanwhile, what holds now counts as well.
        """
        view, engine, forgotten = session.view, self._engine, self._forgotten
        receivers: frozenset[Session] = frozenset()
        topic, topic_bytes = known.topic, known.topic_bytes
        asked = topic if known.detour is None else known.detour.asked
        allowed = known.allowed and view is not None and await engine.access.consult(view, Action.PUBLISH, asked)
        if allowed:
            end = end_of(known).topic
            receivers = await engine.consult_receivers(end, self._router.route(end, session.client_id))
        if self._driver.closed:
            return
        if known.generation != self._router.generation or forgotten != self._forgotten:
            known = self._resolve(flags & 7, topic_bytes)
        allowed = allowed and known.allowed
        end = end_of(known)
        route = end.route.only(receivers) if allowed else _NOWHERE
        checked = PublishRoute(end.generation, end.topic, end.topic_bytes, end.sender, allowed, route)
        checked.durable = checked.durable or end.durable
        if (detour := known.detour) is not None:
            detour = Detour(detour.topic, detour.asked, checked, detour.delays, detour.watches)
            checked = PublishRoute(known.generation, topic, topic_bytes, known.sender, allowed, _NOWHERE, detour)
        self._accept(session, checked, flags, packet_id, payload, properties)
        met, self._pace.met = self._pace.met, False
        if met and not self._pace.nobody_behind:
            self._driver.hold_for_pace()

    def acknowledgement(self, packet_type: int, packet_id: bytes, reason: int = 0) -> bool | None:
        """Move a handshake on."""
        self._traffic.acks_received[packet_type] += 1
        session = self.session
        if session is None:
            raise ProtocolError("an acknowledgement before the CONNECT was answered")
        if packet_type == _PUBREL:
            number = (packet_id[0] << 8) | packet_id[1]
            known = number in session.awaiting_rel
            if known:
                session.awaiting_rel.discard(number)  # [MQTT-4.3.3-2], [MQTT5-4.3.3-12]
            else:
                self._traffic.missed[_PUBREL] += 1
            not_found = 0 if known else ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
            # [MQTT-4.3.3-2], [MQTT5-4.3.3-11]
            # A client that is told may use the identifier for another message, which must not be taken for this one.
            self._answer(PUBCOMP, _PUBCOMP, packet_id, not_found, durable=session.let_go((number,)))
        else:
            if (watch := self._engine.delivery_watch) is not None:
                watch.acknowledged(session, packet_type, packet_id)
            session.acknowledge(packet_type, (packet_id[0] << 8) | packet_id[1], reason)
            if session.replays:
                self._engine.replays.go_on(session)
            self._pace.met = False  # what leaves a queue holds nobody
        return None

    def acknowledgements(self, packet_type: int, packet_ids: bytes) -> bool | None:
        """Move several handshakes on."""
        session = self.session
        if session is None:
            raise ProtocolError("an acknowledgement before the CONNECT was answered")
        if packet_type == _PUBREL:
            numbers = set(unpack_ids(packet_ids))
            if 2 * len(numbers) != len(packet_ids) or not numbers <= session.awaiting_rel:
                for at in range(0, len(packet_ids), 2):
                    self.acknowledgement(_PUBREL, packet_ids[at : at + 2])
                return None
            session.awaiting_rel -= numbers  # [MQTT-4.3.3-2], [MQTT5-4.3.3-12]
            written = session.let_go(numbers)
            # [MQTT-4.3.3-2], [MQTT5-4.3.3-11]
            if written or self._out.held is not None:
                self._out.hold(self._journal if written else None, PUBCOMP, _PUBCOMP, packet_ids)
            else:
                self._out.send_acks(PUBCOMP, _PUBCOMP, packet_ids)
            self._traffic.acks_received[_PUBREL] += len(numbers)
        else:
            if self._engine.delivery_watch is not None:
                for at in range(0, len(packet_ids), 2):
                    self.acknowledgement(packet_type, packet_ids[at : at + 2])
                return None
            taken = session.acknowledge_all(packet_type, packet_ids)
            self._traffic.acks_received[packet_type] += taken
            if session.replays:
                self._engine.replays.go_on(session)
            self._pace.met = False  # what leaves a queue holds nobody
            for at in range(2 * taken, len(packet_ids), 2):
                self.acknowledgement(packet_type, packet_ids[at : at + 2])
        return None

    # -- topics that are not in the cache

    def _topic_of(self, topic: bytes, properties: PublishProperties) -> bytes:
        """Find the topic of a packet with an alias or without a topic; raises `ProtocolError`."""
        if not properties.topic_alias:
            raise ProtocolError("neither a topic nor a topic alias")
        if self.aliases is None:
            raise ProtocolError("PUBLISH before the CONNECT was answered")
        if topic:
            decode_topic_name(topic)  # what is no topic must not be kept as one
        return self.aliases.resolve(properties.topic_alias, topic)

    def _resolve(self, flags: int, topic_bytes: bytes) -> PublishRoute:
        """Decide on a topic that is not in the cache; raises `MalformedPacket` or `ProtocolError`."""
        session = self.session
        if session is None:
            raise ProtocolError("PUBLISH before the CONNECT was answered")
        engine = self._engine
        settings = engine.settings
        topic = decode_topic_name(topic_bytes)
        if len(topic_bytes) > settings.max_topic_length:
            raise MalformedPacket(f"a topic of {len(topic_bytes)} bytes", ReasonCode.TOPIC_NAME_INVALID)
        limit = settings.max_topic_levels
        if limit and topic.count("/") >= limit:
            raise MalformedPacket(f"a topic of more than {limit} levels", ReasonCode.TOPIC_NAME_INVALID)
        if flags >> 1 > settings.max_qos_allowed:  # [MQTT-3.2.2-11]
            raise ProtocolError("a QoS that is not supported", ReasonCode.QOS_NOT_SUPPORTED)
        if flags & 1 and not settings.retain_available:  # [MQTT-3.2.2-14]
            raise ProtocolError("retained messages are not supported", ReasonCode.RETAIN_NOT_SUPPORTED)
        self._traffic.cache_miss += 1
        if engine.detours.divert or topic[0] == "$":
            known = decide(engine, session, flags, topic, topic_bytes)
            route = known.route
        else:
            allowed = engine.may_publish(session.identity, topic, flags >> 1, bool(flags & 1))
            if not allowed:
                log_denial(session, topic)
            route = engine.router.route(topic, session.client_id) if allowed else _NOWHERE
            known = PublishRoute(engine.router.generation, topic, topic_bytes, session.client_id, allowed, route)
        relay = None
        if flags == 0 and not route.groups and not known.heavy:
            plain = route.plain5 if session.protocol_version == 5 else route.plain3
            if plain and len(plain) == len(route.targets):
                relay = self._router.relay(plain)
        self._remembered.remember(flags, known, relay)
        return known


def _relay(sessions: tuple[Session, ...], head: bytes, payloads: list[bytes]) -> None:
    """Send messages as packets that begin alike, in pieces that a receiver's bounds can do something about.

    A topic alias can make 64 KiB of a packet of eight bytes.
    """
    if not sessions:
        return
    at_once = max(1, _PIECE // (len(head) + len(payloads[0])))
    for at in range(0, len(payloads), at_once):
        piece = payloads[at : at + at_once]
        chunk = head + head.join(piece)
        for session in sessions:
            link = session.link
            if link is not None:
                link.relay(chunk, len(piece))


def _expires_at(properties: PublishProperties) -> float | None:
    return None if properties.message_expiry is None else time() + properties.message_expiry
