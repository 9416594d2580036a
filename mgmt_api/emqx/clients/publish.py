"""Publish over HTTP, as the sender `http_api`, without an ACL check."""

import asyncio
from base64 import b64decode
from binascii import Error as NotBase64
from time import time
from typing import TypeAlias

from ....broker.message import Message
from ....broker.protocol.properties import PropertyId, encode_property
from ....broker.protocol.reason_codes import ReasonCode
from ....broker.routing.topics import InvalidTopic
from ...encoding import SLICE
from ...message_ids import id_of, id_while_delayed
from ...routes import Answer, Call
from ...state import ApiState
from .models_publish import ErrorBody, MessageProperties, NotPublished, Published, PublishMessage

SENDER = "http_api"

Refusal: TypeAlias = NotPublished | ErrorBody
"""What a 400 holds: EMQX's reason code for an invalid message, the general shape for one of the wrong form."""

_DELAYED = "$delayed/"
"""Whoever delays a message is not told that nobody wants it, as nobody knows."""
_ACCEPTED = 202
_INVALID = 400
_UNAVAILABLE = 503
_NOT_KEPT: NotPublished = {
    "reason_code": int(ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR),
    "message": "failed_to_dispatch",
}
"""EMQX's words for a message that was not taken; here, for it could not be written for those who must not lose it."""


async def publish(call: Call[None, PublishMessage]) -> Published | Answer:
    """Publish one message."""
    message = _check(call.state, call.body)
    if not isinstance(message, Message):
        return Answer(message, _INVALID)
    kept = _must_be_kept(call.state, message)
    if kept and not call.state.broker.writable:
        return Answer(_NOT_KEPT, _UNAVAILABLE)
    result = _publish(call.state, message)
    if kept and not await call.state.broker.written():
        return Answer(_NOT_KEPT, _UNAVAILABLE)
    return Answer(result, _ACCEPTED) if "reason_code" in result else Answer(result, 200)


async def publish_bulk(call: Call[None, list[PublishMessage]]) -> Answer:
    """Publish several messages in order or, where one is invalid, none."""
    messages: list[Message] = []
    for asked in call.body:
        message = _check(call.state, asked)
        if not isinstance(message, Message):
            return Answer(message, _INVALID)
        messages.append(message)
        if len(messages) % SLICE == 0:
            await asyncio.sleep(0)
    kept = any(_must_be_kept(call.state, message) for message in messages)
    if kept and not call.state.broker.writable:
        return Answer([_NOT_KEPT] * len(messages), _UNAVAILABLE)
    results: list[Published | NotPublished] = []
    for message in messages:
        results.append(_publish(call.state, message))
        if len(results) % SLICE == 0:
            await asyncio.sleep(0)
    if kept and not await call.state.broker.written():
        return Answer([_NOT_KEPT] * len(messages), _UNAVAILABLE)
    return Answer(results, _ACCEPTED if any("reason_code" in result for result in results) else 200)


def _must_be_kept(state: ApiState, message: Message) -> bool:
    return state.broker.must_write(message.topic, message.qos, message.retain, SENDER)


def _publish(state: ApiState, message: Message) -> Published | NotPublished:
    """Publish, and name the message as the lists do that hold it then."""
    reached, delayed = state.broker.publish_message(message)
    if delayed is not None:
        return {"id": id_while_delayed(delayed)}
    if reached or message.topic.startswith(_DELAYED):
        return {"id": id_of(message)}
    return {"reason_code": int(ReasonCode.NO_MATCHING_SUBSCRIBERS), "message": "no_matching_subscribers"}


def _check(state: ApiState, message: PublishMessage) -> Message | NotPublished:
    """Make a message ready, or say with EMQX's codes why it cannot be published."""
    limits = state.broker.settings
    try:
        state.broker.check_topic(message.topic)
    except InvalidTopic:
        return {"reason_code": int(ReasonCode.TOPIC_NAME_INVALID), "message": "topic_name_invalid"}
    payload = message.payload.encode()
    if message.payload_encoding == "base64":
        try:
            payload = b64decode(payload, validate=True)
        except NotBase64:
            return {
                "reason_code": int(ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR),
                "message": "the payload is not valid base64",
            }
    properties = b"" if message.properties is None else _encode(message.properties)
    # Estimated without the header, as in EMQX.
    if len(payload) + len(message.topic.encode()) + len(properties) > limits.max_packet_size:
        return {"reason_code": int(ReasonCode.QUOTA_EXCEEDED), "message": "packet_too_large"}
    expiry = None if message.properties is None else message.properties.message_expiry_interval
    expires_at = None if expiry is None else time() + expiry
    return Message(
        message.topic, payload, message.qos, message.retain, SENDER, properties=properties, expires_at=expires_at
    )


def _encode(given: MessageProperties) -> bytes:
    """Encode what goes on to the subscribers; the expiry does not, for they get what is left of it."""
    chosen: dict[PropertyId, object] = {
        PropertyId.PAYLOAD_FORMAT_INDICATOR: given.payload_format_indicator,
        PropertyId.CONTENT_TYPE: given.content_type,
        PropertyId.RESPONSE_TOPIC: given.response_topic,
        PropertyId.CORRELATION_DATA: None if given.correlation_data is None else given.correlation_data.encode(),
        PropertyId.USER_PROPERTY: None if given.user_properties is None else [*given.user_properties.items()],
    }
    return b"".join(encode_property(identifier, value) for identifier, value in chosen.items() if value is not None)
