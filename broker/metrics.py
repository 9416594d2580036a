"""The engine's numbers under EMQX's names for them, added up when somebody looks."""

from .engine import Engine
from .protocol.packets import PacketType
from .protocol.reason_codes import ReasonCode
from .traffic import Traffic

_RECEIVED = {
    "connect": PacketType.CONNECT,
    "puback": PacketType.PUBACK,
    "pubrec": PacketType.PUBREC,
    "pubrel": PacketType.PUBREL,
    "pubcomp": PacketType.PUBCOMP,
    "subscribe": PacketType.SUBSCRIBE,
    "unsubscribe": PacketType.UNSUBSCRIBE,
    "pingreq": PacketType.PINGREQ,
    "disconnect": PacketType.DISCONNECT,
    "auth": PacketType.AUTH,
}
_SENT = {
    "connack": PacketType.CONNACK,
    "puback": PacketType.PUBACK,
    "pubrec": PacketType.PUBREC,
    "pubrel": PacketType.PUBREL,
    "pubcomp": PacketType.PUBCOMP,
    "suback": PacketType.SUBACK,
    "unsuback": PacketType.UNSUBACK,
    "pingresp": PacketType.PINGRESP,
    "disconnect": PacketType.DISCONNECT,
    "auth": PacketType.AUTH,
}
_MISSED = ("puback", "pubrec", "pubrel", "pubcomp")


def collect_metrics(engine: Engine, live: list[Traffic]) -> dict[str, int]:
    """Add up the counters since start under EMQX's metric names."""
    total = Traffic()
    total.add(engine.ended)
    total.add(engine.absent)
    for traffic in live:
        total.add(traffic)
    return name_metrics(engine, total)


def name_metrics(engine: Engine, total: Traffic) -> dict[str, int]:
    """Give the counters under EMQX's metric names, once the traffic has been added up."""
    matched_allow, matched_deny, unmatched = engine.access.decided
    return {
        **_packets(total, engine),
        **_messages(total, engine),
        **_sessions(engine),
        "client.connack": total.acks_sent[PacketType.CONNACK],
        "authorization.allow": engine.access.allowed,
        "authorization.deny": engine.access.denied,
        "authorization.superuser": engine.access.superuser,
        "authorization.matched.allow": matched_allow,
        "authorization.matched.deny": matched_deny,
        "authorization.nomatch": unmatched,
        "authorization.cache_miss": total.cache_miss,
        "authorization.cache_hit": max(0, sum(total.messages_received_qos) - total.cache_miss),
        "client.authorize": engine.access.allowed + engine.access.denied,
        "authentication.success": engine.counters.auth_success,
        "authentication.success.anonymous": engine.counters.auth_anonymous,
        "authentication.failure": engine.counters.auth_failure,
        "client.auth.anonymous": engine.counters.auth_anonymous,
    }


def _packets(total: Traffic, engine: Engine) -> dict[str, int]:
    found = {
        "bytes.received": total.bytes_received,
        "bytes.sent": total.bytes_sent,
        "packets.received": total.packets_received_total,
        "packets.sent": total.packets_sent_total,
        "packets.publish.received": sum(total.messages_received_qos),
        "packets.publish.sent": sum(total.messages_sent_qos),
        "packets.publish.auth_error": total.publish_dropped,
        "packets.connack.auth_error": engine.counters.auth_failure,
        "packets.connack.error": engine.counters.connects_refused,
        # Each of these ended its connection, for there were more QoS 2 messages than it may send at a time.
        "packets.publish.dropped": engine.counters.closed[ReasonCode.RECEIVE_MAXIMUM_EXCEEDED],
        "packets.subscribe.auth_error": engine.counters.subscribe_denied,
    }
    for name, kind in _RECEIVED.items():
        found[f"packets.{name}.received"] = total.acks_received[kind]
    for name, kind in _SENT.items():
        found[f"packets.{name}.sent"] = total.acks_sent[kind]
    for name in _MISSED:
        found[f"packets.{name}.missed"] = total.missed[_RECEIVED[name]]
    return found


def _messages(total: Traffic, engine: Engine) -> dict[str, int]:
    counters = engine.counters
    received = sum(total.messages_received_qos)
    sent = sum(total.messages_sent_qos)
    unwanted = total.no_subscribers + counters.no_subscribers
    dropped = total.dropped_queue_full + total.dropped_expired + total.dropped_too_large + total.dropped_qos0
    found = {
        "messages.received": received + counters.messages_published_by_api,
        "messages.sent": sent,
        "messages.publish": received - total.publish_dropped + counters.messages_published_internally,
        "messages.dropped": unwanted,
        "messages.dropped.no_subscribers": unwanted,
        "messages.delayed": engine.delayed.kept,
        "messages.delivered": sent,
        "messages.acked": total.acked,
        "delivery.dropped": dropped,
        "delivery.dropped.queue_full": total.dropped_queue_full,
        "delivery.dropped.expired": total.dropped_expired,
        "delivery.dropped.too_large": total.dropped_too_large,
        "delivery.dropped.qos0_msg": total.dropped_qos0,
    }
    for qos in range(3):
        found[f"messages.qos{qos}.received"] = total.messages_received_qos[qos] + counters.api_messages_qos[qos]
        found[f"messages.qos{qos}.sent"] = total.messages_sent_qos[qos]
    return found


def _sessions(engine: Engine) -> dict[str, int]:
    counters = engine.counters
    return {
        "client.connect": counters.connects,
        "client.connected": counters.connected,
        "client.disconnected": counters.disconnected,
        "client.authenticate": counters.auth_success + counters.auth_failure,
        "client.subscribe": counters.subscribed,
        "client.unsubscribe": counters.unsubscribed,
        "session.created": counters.sessions_created,
        "session.resumed": counters.sessions_resumed,
        "session.takenover": counters.sessions_takenover,
        "session.discarded": counters.sessions_discarded,
        "session.terminated": counters.sessions_terminated,
    }


def collect_limits(engine: Engine, live: list[Traffic]) -> dict[str, int]:
    """Add up how often each limit was met since start; what a limit refuses or drops is counted here alone."""
    total = Traffic()
    total.add(engine.ended)
    total.add(engine.absent)
    for traffic in live:
        total.add(traffic)
    counters, journal = engine.counters, engine.journal
    return {
        "connections_turned_away": counters.connections_refused,
        "connects_refused": counters.connects_refused,
        "clients_paused_for_rate": counters.paused_for_rate,
        "clients_disconnected_for_rate": counters.disconnected_for_rate,
        "publishers_held": engine.pace.episodes,
        "consumers_found_slow": engine.pace.given_up,
        "qos0_dropped_for_backlog": total.dropped_qos0,
        "queued_dropped": total.dropped_queue_full,
        "expired_dropped": total.dropped_expired,
        "too_large_dropped": total.dropped_too_large,
        "retained_refused": engine.retention.refused,
        "retained_expired": engine.retention.expired,
        "subscriptions_refused": counters.subscribe_denied,
        "wills_denied": engine.wills.denied,
        "events_dropped": engine.events.dropped,
        "undecided_dropped": counters.undecided_dropped,
        **({} if journal is None else {"journal_refused": journal.refused, "journal_lost": journal.lost}),
        **{f"closed.{reason.name.lower()}": count for reason, count in counters.closed.items()},
    }


def _count_own(engine: Engine) -> int:
    """Count the retained messages in which the broker speaks of itself; there are a few."""
    return sum(found is not None for found in engine.retained.match("$SYS/#"))


class Gauges:
    """Read the engine's present sizes under EMQX's stats names, each with its highest value so far."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._highest: dict[str, int] = {}

    def collect(self) -> dict[str, int]:
        """Read all sizes; called now and then by the broker too, so that peaks are seen."""
        engine = self._engine
        sessions = len(engine.registry)
        subscriptions = engine.router.subscription_count
        now = {
            "channels.count": sessions,
            "connections.count": sessions,
            "live_connections.count": engine.registry.connected_count,
            "sessions.count": sessions,
            "cluster_sessions.count": sessions,
            "topics.count": engine.router.filter_count,
            "suboptions.count": subscriptions,
            "subscribers.count": subscriptions,
            "subscriptions.count": subscriptions,
            "subscriptions.shared.count": engine.router.shared_subscription_count,
            "retained.count": len(engine.retained) - _count_own(engine),
            "delayed.count": len(engine.delayed),
        }
        highest = self._highest
        for name, value in now.items():
            key = name.removesuffix("count") + "max"
            highest[key] = max(value, highest.get(key, 0))
        return now | highest
