"""A session as EMQX shows a client."""

from ....broker.deliveries import Subscription
from ....broker.session import Session
from ...timestamps import format_time
from .models import Client, SubscriptionRow

_EXPIRY_NEVER = 0xFFFF_FFFF
"""MQTT 5's "does not expire", the longest interval that the field can hold."""


def client_row(session: Session, node: str, max_subscriptions: int) -> Client:
    """Describe a session; keys of features that this broker has no counterpart for hold their neutral value."""
    traffic = session.traffic
    received, sent = traffic.messages_received_qos, traffic.messages_sent_qos
    row: Client = {
        "clientid": session.client_id,
        "username": session.username,
        "node": node,
        "connected": session.connected,
        "is_expired": session.expired,
        "ip_address": session.peer_host,
        "port": session.peer_port,
        "peerport": session.peer_port,
        "listener": session.listener,
        "proto_name": session.protocol_name,
        "proto_ver": session.protocol_version,
        "keepalive": session.keep_alive,
        "clean_start": session.clean_start,
        "expiry_interval": int(min(session.expiry_interval, _EXPIRY_NEVER)),
        "is_bridge": False,
        "is_persistent": session.persistent,
        "enable_authn": True,
        "mountpoint": None,
        "durable": False,
        "client_attrs": {},
        "created_at": format_time(session.created_at),
        "connected_at": format_time(session.connected_at),
        "subscriptions_cnt": len(session.subscriptions),
        "subscriptions_max": max_subscriptions or "infinity",
        "inflight_cnt": session.in_flight_count,
        "inflight_max": session.max_inflight,
        "awaiting_rel_cnt": session.awaiting_rel_count,
        "awaiting_rel_max": session.max_awaiting_rel,
        "mqueue_len": session.queue_length,
        "mqueue_max": session.max_queue,
        "mqueue_dropped": traffic.dropped_queue_full + traffic.dropped_expired,
        "recv_oct": traffic.bytes_received,
        "recv_cnt": traffic.reads,
        "recv_pkt": traffic.packets_received_total,
        "recv_msg": sum(received),
        "recv_msg.qos0": received[0],
        "recv_msg.qos1": received[1],
        "recv_msg.qos2": received[2],
        "recv_msg.dropped": traffic.publish_dropped,
        "recv_msg.dropped.await_pubrel_timeout": 0,
        "send_oct": traffic.bytes_sent,
        "send_cnt": traffic.writes,
        "send_pkt": traffic.packets_sent_total,
        "send_msg": sum(sent),
        "send_msg.qos0": sent[0],
        "send_msg.qos1": sent[1],
        "send_msg.qos2": sent[2],
        "send_msg.dropped": traffic.dropped_queue_full
        + traffic.dropped_expired
        + traffic.dropped_too_large
        + traffic.dropped_qos0,
        "send_msg.dropped.expired": traffic.dropped_expired,
        "send_msg.dropped.queue_full": traffic.dropped_queue_full,
        "send_msg.dropped.too_large": traffic.dropped_too_large,
        "mailbox_len": 0,
        "heap_size": 0,
        "reductions": 0,
    }
    if session.disconnected_at is not None and not session.connected:
        row["disconnected_at"] = format_time(session.disconnected_at)
    return row


def subscription_row(client_id: str, topic_filter: str, subscription: Subscription, node: str) -> SubscriptionRow:
    """Describe one subscription; a shared one in full, as the client sent it."""
    return {
        "node": node,
        "clientid": client_id,
        "topic": topic_filter,
        "qos": subscription.qos,
        "nl": int(subscription.no_local),
        "rap": int(subscription.retain_as_published),
        "rh": subscription.retain_handling,
        "durable": False,
    }
