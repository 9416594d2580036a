"""The two ways in which a peer's bytes can be wrong."""

from .reason_codes import ReasonCode


class MqttError(Exception):
    """Carry a reason code for the peer and a sentence for the log."""

    reason = ReasonCode.UNSPECIFIED_ERROR
    protocol_version: int | None = None
    """Set where a CONNECT fails whose protocol version had been read: the refusal must be written in that version."""

    def __init__(self, log: str, reason: ReasonCode | None = None) -> None:
        super().__init__(log)
        if reason is not None:
            self.reason = reason


class MalformedPacket(MqttError):
    """Say that bytes cannot be parsed by the rules of the specification."""

    reason = ReasonCode.MALFORMED_PACKET


class ProtocolError(MqttError):
    """Say that a packet parses, but may not be sent here or now."""

    reason = ReasonCode.PROTOCOL_ERROR
