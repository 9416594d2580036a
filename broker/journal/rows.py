"""What the journal holds as rows of its tables; the columns stand in the store's schema in the same order."""

from math import inf

from ..delayed_message import DelayedMessage
from ..deliveries import Subscription
from ..message import Message
from ..message_run import MessageRun
from ..session import Session
from .contract import Row
from .records import Owed, Record


def session_row(session: Session, key: int, sent_until: int) -> Row:
    """Give a session as it is now, with what only the journal knows of it."""
    identity = session.identity
    will = session.will or session.delayed_will
    return (
        key,
        identity.client_id,
        identity.username,
        identity.principal,
        identity.certificate_name,
        identity.peer_host,
        session.peer_port,
        identity.listener,
        session.protocol_name,
        session.protocol_version,
        session.keep_alive,
        int(session.clean_start),
        int(session.claimed),
        int(identity.confined),
        int(identity.superuser),
        None if session.expiry_interval == inf else session.expiry_interval,
        session.created_at,
        session.connected_at,
        session.disconnected_at,
        session.max_inflight,
        sent_until,
        *(
            (None, None, None, None, None, None, None)
            if will is None
            else (
                will.topic,
                will.payload,
                will.qos,
                int(will.retain),
                will.properties,
                will.message_expiry,
                will.delay,
            )
        ),
        session.will_due,
        None if identity.rights is None else identity.rights.text,
    )


def subscription_row(key: tuple[int, str], subscription: Subscription) -> Row:
    """Give a subscription."""
    return (
        *key,
        subscription.qos,
        int(subscription.no_local),
        int(subscription.retain_as_published),
        subscription.retain_handling,
        subscription.identifier,
        subscription.asked,
    )


def message_row(record: Record) -> Row:
    """Give a message or a run; its content must be there."""
    content = record.content
    if content is None:
        raise AssertionError("a record without content is in the store already")
    if isinstance(content, MessageRun):
        data, id_at, body = content.stored
        retain = False
    else:
        data, id_at, body = content.payload, 0, 0
        retain = content.retain
    return (
        record.id,
        record.topic,
        content.sender,
        content.qos,
        int(retain),
        content.properties,
        content.expires_at,
        record.count,
        body,
        data,
        id_at,
        content.published_at,
    )


def content_of(row: Row) -> Message | MessageRun:
    """Make a message or a run of a row of messages."""
    _, topic, sender, qos, retain, properties, expires_at, count, body, data, id_at, published_at = row
    if count > 1 or body:
        return MessageRun(
            topic, topic.encode(), sender, qos, data, count, id_at, body, properties, expires_at, None, published_at
        )
    return Message(topic, data, qos, bool(retain), sender, None, properties, expires_at, b"", published_at)


def delivery_row(owed: Owed) -> Row:
    """Give what a session is owed of a record."""
    return (
        owed.session.key,
        owed.position,
        owed.record.id,
        owed.first,
        owed.count,
        owed.qos,
        int(owed.retain),
        owed.identifiers,
        owed.group.full_filter if owed.group is not None else "",
        pack_bits(owed.done),
        pack_bits(owed.received),
    )


def retained_row(message: Message) -> Row:
    """Give a retained message."""
    return (
        message.topic,
        message.payload,
        message.qos,
        message.sender,
        message.properties,
        message.expires_at,
        message.published_at,
    )


def delayed_row(delayed: DelayedMessage) -> Row:
    """Give a message that waits to be published."""
    message = delayed.message
    return (
        delayed.number,
        delayed.due,
        delayed.delay,
        message.topic,
        message.payload,
        message.qos,
        int(message.retain),
        message.sender,
        message.properties,
        message.expires_at,
        message.published_at,
    )


def delayed_of(row: Row) -> DelayedMessage:
    """Make it of its row again."""
    number, due, delay, topic, payload, qos, retain, sender, properties, expires_at, published_at = row
    message = Message(topic, payload, qos, bool(retain), sender, None, properties, expires_at, b"", published_at)
    return DelayedMessage(number, due, delay, message)


def pack_bits(bits: int) -> bytes:
    """Give a bit field in its shortest form, the lowest bits first."""
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def unpack_bits(packed: bytes) -> int:
    """Read a bit field."""
    return int.from_bytes(packed, "little")
