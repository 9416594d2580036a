"""MQTT reason codes (MQTT 5.0, section 2.4) and what 3.1 and 3.1.1 have for them."""

from enum import IntEnum


class ReasonCode(IntEnum):
    """A reason code of MQTT 5; where 3.1.1 has a code of its own, `connack_return_code` translates."""

    SUCCESS = 0x00
    GRANTED_QOS_1 = 0x01
    GRANTED_QOS_2 = 0x02
    DISCONNECT_WITH_WILL = 0x04
    NO_MATCHING_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION_EXISTED = 0x11
    CONTINUE_AUTHENTICATION = 0x18
    REAUTHENTICATE = 0x19
    UNSPECIFIED_ERROR = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    BANNED = 0x8A
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    PACKET_IDENTIFIER_IN_USE = 0x91
    PACKET_IDENTIFIER_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    PAYLOAD_FORMAT_INVALID = 0x99
    RETAIN_NOT_SUPPORTED = 0x9A
    QOS_NOT_SUPPORTED = 0x9B
    USE_ANOTHER_SERVER = 0x9C
    SERVER_MOVED = 0x9D
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    CONNECTION_RATE_EXCEEDED = 0x9F
    MAXIMUM_CONNECT_TIME = 0xA0
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2


# MQTT 3.1.1, table 3.1. What is not listed is answered "not authorized" where it is the client's doing.
_CONNACK_3 = {
    ReasonCode.SUCCESS: 0,
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION: 1,
    ReasonCode.CLIENT_IDENTIFIER_NOT_VALID: 2,
    ReasonCode.SERVER_UNAVAILABLE: 3,
    ReasonCode.SERVER_BUSY: 3,
    ReasonCode.QUOTA_EXCEEDED: 3,
    ReasonCode.CONNECTION_RATE_EXCEEDED: 3,
    ReasonCode.BAD_USER_NAME_OR_PASSWORD: 4,
}
_NOT_AUTHORIZED_3 = 5


def connack_return_code(reason: ReasonCode) -> int:
    """Translate a reason code into the return code of a 3.1 or 3.1.1 CONNACK."""
    return _CONNACK_3.get(reason, _NOT_AUTHORIZED_3)


REASON_STRINGS = {
    ReasonCode.UNSPECIFIED_ERROR: "the server had a fault",
    ReasonCode.MALFORMED_PACKET: "a packet could not be parsed",
    ReasonCode.PROTOCOL_ERROR: "a packet may not be sent like this or now",
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION: "this protocol version is not served",
    ReasonCode.CLIENT_IDENTIFIER_NOT_VALID: "this client identifier may not be used",
    ReasonCode.BAD_USER_NAME_OR_PASSWORD: "the user name or the password is wrong",
    ReasonCode.NOT_AUTHORIZED: "this is not allowed",
    ReasonCode.SERVER_UNAVAILABLE: "the server cannot serve another client now",
    ReasonCode.SERVER_BUSY: "the server is busy",
    ReasonCode.BANNED: "this client is banned",
    ReasonCode.SERVER_SHUTTING_DOWN: "the server shuts down",
    ReasonCode.BAD_AUTHENTICATION_METHOD: "this authentication method is not offered",
    ReasonCode.KEEP_ALIVE_TIMEOUT: "nothing came for one and a half keep-alive intervals",
    ReasonCode.SESSION_TAKEN_OVER: "another connection uses this client identifier",
    ReasonCode.TOPIC_FILTER_INVALID: "this is no topic filter that is served",
    ReasonCode.TOPIC_NAME_INVALID: "this is no topic that is served",
    ReasonCode.RECEIVE_MAXIMUM_EXCEEDED: "more messages wait than the Receive Maximum allows",
    ReasonCode.TOPIC_ALIAS_INVALID: "the topic alias is 0 or above the Topic Alias Maximum",
    ReasonCode.PACKET_TOO_LARGE: "a packet is larger than the Maximum Packet Size",
    ReasonCode.MESSAGE_RATE_TOO_HIGH: "more is sent than the rate allows",
    ReasonCode.QUOTA_EXCEEDED: "a limit of the server is reached",
    ReasonCode.ADMINISTRATIVE_ACTION: "an operator closed the connection",
    ReasonCode.RETAIN_NOT_SUPPORTED: "messages are not retained here",
    ReasonCode.QOS_NOT_SUPPORTED: "the QoS is above the Maximum QoS",
    ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED: "shared subscriptions are switched off",
    ReasonCode.CONNECTION_RATE_EXCEEDED: "too many connections are made at a time",
    ReasonCode.MAXIMUM_CONNECT_TIME: "the credential is valid no longer",
    ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED: "subscription identifiers are switched off",
    ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED: "wildcard subscriptions are switched off",
}
"""What an MQTT 5 peer is told beside the code; never more than the code says, so that a stranger learns nothing."""

# MQTT 5, table 3.10, for servers.
_DISCONNECT_REASONS = frozenset(
    {0x00, *range(0x80, 0x84), 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, *range(0x93, 0xA3)}
)


def disconnect_reason(reason: ReasonCode) -> ReasonCode:
    """Translate a reason into one that a server's DISCONNECT may have."""
    return reason if reason in _DISCONNECT_REASONS else ReasonCode.NOT_AUTHORIZED
