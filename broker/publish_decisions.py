"""What becomes of the messages on one topic that a client publishes to, where there may be more to it than routing."""

from logging import getLogger

from .engine import Engine
from .protocol.reason_codes import ReasonCode
from .publish_routes import Detour, PublishRoute
from .router import Route
from .routing.topics import InvalidTopic, check_name
from .session import Session

_logger = getLogger(__name__)
_SHOWN = 200
"""Characters of a topic that go to the log."""
_NOWHERE = Route(())


def decide(engine: Engine, session: Session, flags: int, topic: str, topic_bytes: bytes) -> PublishRoute:
    """Find what becomes of messages on a topic: denied, routed, or led over a detour."""
    client_id, detours, generation = session.client_id, engine.detours, engine.router.generation
    delays, end, refusal = detours.delay_of(topic), topic, ReasonCode.NOT_AUTHORIZED
    if delays is not None:
        try:
            found = delays.read(topic)
            if found is not None:
                end = found[1]
                check_name(end, engine.settings.max_topic_levels)
            else:
                delays = None
        except InvalidTopic:
            end, refusal = topic, ReasonCode.TOPIC_NAME_INVALID
    asked = end
    allowed = engine.may_publish(session.identity, asked, flags >> 1, bool(flags & 1))  # `$` topics are denied
    if not allowed:
        log_denial(session, topic)
    elif detours.rewriter is not None:
        end = detours.rewriter.publish_topic(end, client_id, session.username)
    watches = detours.watching(end, client_id)
    route = engine.router.route(end, client_id) if allowed else _NOWHERE
    if end == topic and not watches and delays is None:
        return PublishRoute(generation, topic, topic_bytes, client_id, allowed, route)
    known = PublishRoute(generation, end, end.encode(), client_id, allowed, route)
    known.refusal = refusal
    known.durable = known.durable or delays is not None
    detour = Detour(topic, asked, known, delays, watches)
    outer = PublishRoute(generation, topic, topic_bytes, client_id, allowed, _NOWHERE, detour)
    outer.durable = known.durable and engine.journal is not None
    return outer


def log_denial(session: Session, topic: str) -> None:
    """Say that a client may not publish."""
    _logger.info("client %r: publish to %r denied", session.client_id, topic[:_SHOWN])


def end_of(known: PublishRoute) -> PublishRoute:
    """Give what messages come to after a detour, if they take one."""
    return known if known.detour is None else known.detour.known
