"""SUBSCRIBE and UNSUBSCRIBE of one client."""

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from logging import getLogger
from typing import Any, Protocol, cast

from amqtt.contexts import Action

from .engine import Engine
from .outgoing import Outgoing
from .protocol.encode import SUBACK_FAILURE, encode_suback, encode_suback5, encode_unsuback, encode_unsuback5
from .protocol.errors import ProtocolError
from .protocol.packets import PacketType, Subscribe, SubscribeRequest, Unsubscribe
from .protocol.properties import PropertyId, encode_properties
from .protocol.reason_codes import ReasonCode
from .routing.topics import has_wildcard, is_shared, split_share
from .session import Session

_logger = getLogger(__name__)
_SHOWN = 200
"""Characters of a filter that go to the log."""


class Waiter(Protocol):
    """The connection, as far as a SUBSCRIBE needs it that must wait for a foreign plugin."""

    def leave_loop(self, work: Coroutine[Any, Any, None]) -> bool:
        """Wait for something with reading held; True."""
        ...


class Subscribing:
    """Enter and take out the subscriptions of one client."""

    __slots__ = ("_engine", "_out", "_waiter")

    def __init__(self, engine: Engine, waiter: Waiter, out: Outgoing) -> None:
        self._engine = engine
        self._waiter = waiter
        self._out = out

    def subscribe(self, session: Session, packet: Subscribe) -> bool | None:
        """Enter what is allowed, answer, and begin to send retained messages; raises `MqttError`."""
        engine = self._engine
        engine.check_filters((request.topic_filter for request in packet.requests), session.protocol_version)
        self._check_available(session, packet)
        self._check_number(len(packet.requests))
        strict = engine.access.deny_action == "disconnect"
        if strict and not all(engine.may_subscribe(session, request) for request in packet.requests):
            raise self._denied()
        if engine.access.waits:
            return self._waiter.leave_loop(self._subscribe_when_allowed(session, packet, strict=strict))
        identifier = cast("int | None", packet.properties.get(PropertyId.SUBSCRIPTION_IDENTIFIER))
        codes: list[int] = []
        replayed: list[tuple[str, int]] = []
        filters: list[str] = []
        for request in packet.requests:  # [MQTT-3.8.4-4], [MQTT5-3.8.4-5]
            entered = self._rewritten(session, request)
            wanted = engine.replays.wanted(session, request if entered is None else _under(request, entered))
            code = engine.subscribe(session, request, identifier, entered)
            codes.append(code)
            filters.append(entered or request.topic_filter)
            if wanted and code < SUBACK_FAILURE:
                replayed.append((filters[-1], code))
        self._when_written(session, filters, lambda: self._finish(session, packet, codes, replayed))
        return None

    def _rewritten(self, session: Session, request: SubscribeRequest) -> str | None:
        """Give the filter that is entered in place of the one asked for; None for the same."""
        if self._engine.detours.rewriter is None:
            return None
        entered = self._engine.rewritten(session, request.topic_filter)
        return None if entered == request.topic_filter else entered

    def _denied(self) -> ProtocolError:
        self._engine.counters.subscribe_denied += 1
        return ProtocolError("a subscription that is denied", ReasonCode.NOT_AUTHORIZED)

    def _finish(self, session: Session, packet: Subscribe, codes: list[int], replayed: list[tuple[str, int]]) -> None:
        engine = self._engine
        self._answer(session, packet, codes)
        for topic_filter, qos in replayed:
            engine.replays.enter(session, topic_filter, qos)  # [MQTT-3.3.1-6], [MQTT5-3.8.4-4]
        if replayed:
            engine.replays.go_on(session)
            engine.pace.met = False  # no publisher is held for what is replayed

    def _when_written(self, session: Session, topic_filters: Iterable[str], answer: Callable[[], None]) -> None:
        """Answer, once what the answer promises is written where that is owed."""
        journal = self._engine.journal
        if journal is not None and session.is_pending(topic_filters):
            self._out.hold_call(journal, answer)
        else:
            answer()

    async def _subscribe_when_allowed(self, session: Session, packet: Subscribe, *, strict: bool) -> None:
        """Do the same where foreign topic plugins must be asked first; `strict` is to end clients that may not."""
        view, engine = session.view, self._engine
        identifier = cast("int | None", packet.properties.get(PropertyId.SUBSCRIPTION_IDENTIFIER))
        codes: list[int] = []
        replayed: list[tuple[str, int]] = []
        filters: list[str] = []
        known: dict[str, bool] = {}
        if strict and view is not None:
            for request in packet.requests:
                plain = _plain_filter(request.topic_filter)
                known[plain] = await engine.access.consult(view, Action.SUBSCRIBE, plain)
            if session.link is not self._out:
                return
            if not all(known.values()):
                raise self._denied()
        for request in packet.requests:
            entered = self._rewritten(session, request)
            wanted = engine.replays.wanted(session, request if entered is None else _under(request, entered))
            plain = _plain_filter(request.topic_filter)
            allowed = known.get(plain) or (
                view is not None and await engine.access.consult(view, Action.SUBSCRIBE, plain)
            )
            if session.link is not self._out:  # taken over or closed meanwhile: nothing may be entered any more
                return
            code = engine.subscribe(session, request, identifier, entered) if allowed else ReasonCode.NOT_AUTHORIZED
            codes.append(int(code))
            filters.append(entered or request.topic_filter)
            if wanted and code < SUBACK_FAILURE:
                replayed.append((filters[-1], int(code)))
        self._when_written(session, filters, lambda: self._answer(session, packet, codes))
        for topic_filter, qos in replayed:
            await engine.replays.enter_allowed(session, topic_filter, qos)
        engine.replays.go_on(session)

    def _check_available(self, session: Session, packet: Subscribe) -> None:
        """Raise `ProtocolError` for what an MQTT 5 client was told is not to be had (3.2.2.3.11 to 3.2.2.3.13)."""
        if session.protocol_version < 5:
            return
        settings = self._engine.settings
        if not settings.subscription_identifiers and PropertyId.SUBSCRIPTION_IDENTIFIER in packet.properties:
            raise ProtocolError("a subscription identifier", ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED)
        for request in packet.requests:
            if not settings.wildcard_subscription and has_wildcard(request.topic_filter):
                raise ProtocolError("a wildcard", ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED)
            if not settings.shared_subscription and is_shared(request.topic_filter):
                raise ProtocolError("a shared subscription", ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED)

    def _check_number(self, filters: int) -> None:
        """Raise `ProtocolError` for so many filters at once that others would have to wait for long."""
        if 0 < self._engine.settings.max_filters < filters:
            raise ProtocolError(f"{filters} filters in one packet", ReasonCode.QUOTA_EXCEEDED)

    def _answer(self, session: Session, packet: Subscribe, codes: list[int]) -> None:
        refused = [index for index, code in enumerate(codes) if code >= SUBACK_FAILURE]
        if refused:
            _logger.info(
                "client %r: %d subscriptions refused, the first to %r with %s",
                session.client_id,
                len(refused),
                packet.requests[refused[0]].topic_filter[:_SHOWN],
                ReasonCode(codes[refused[0]]).name,
            )
        self._engine.events.subscribed(session.client_id, packet, codes)
        # [MQTT-3.8.4-1], [MQTT-3.8.4-2]
        if session.protocol_version < 5:
            # 3.1 has no code for a failure: what is refused looks granted there
            answers = [
                # [MQTT-3.8.4-5], [MQTT-3.9.3-2]
                code if code < SUBACK_FAILURE else SUBACK_FAILURE if session.protocol_version == 4 else request.qos
                for request, code in zip(packet.requests, codes, strict=True)
            ]
            self._out.send(encode_suback(packet.packet_id, answers), PacketType.SUBACK)
            return
        self._out.send_with_reason(
            PacketType.SUBACK,
            ReasonCode(max(codes)),
            # [MQTT5-3.8.4-6], [MQTT5-3.8.4-7]
            lambda properties: encode_suback5(packet.packet_id, codes, encode_properties(properties)),
        )

    def unsubscribe(self, session: Session, packet: Unsubscribe) -> None:
        """Take subscriptions out and answer; raises `MqttError`."""
        engine = self._engine
        engine.check_filters(packet.topic_filters, session.protocol_version)
        self._check_number(len(packet.topic_filters))
        filters = [engine.rewritten(session, topic_filter) for topic_filter in packet.topic_filters]
        codes = [  # [MQTT-3.10.4-6], [MQTT-3.11.3-1], [MQTT-3.11.3-2]
            ReasonCode.SUCCESS if removed else ReasonCode.NO_SUBSCRIPTION_EXISTED
            for removed in engine.unsubscribe(session, filters)
        ]
        # [MQTT-3.10.4-4], [MQTT-3.10.4-5], [MQTT-3.11.3-1]
        five = session.protocol_version == 5
        data = encode_unsuback5(packet.packet_id, codes) if five else encode_unsuback(packet.packet_id)
        self._when_written(session, filters, lambda: self._out.send(data, PacketType.UNSUBACK))


def _under(request: SubscribeRequest, topic_filter: str) -> SubscribeRequest:
    """Give the same request for another filter."""
    return replace(request, topic_filter=topic_filter)


def _plain_filter(topic_filter: str) -> str:
    """Give the filter that plugins are asked about: what a shared subscription shares."""
    try:
        return split_share(topic_filter)[1]
    except ValueError:  # it will be refused as no filter
        return topic_filter
