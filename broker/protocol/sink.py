"""What the reader hands a client's packets to: the connection, or a test that writes them down."""

from typing import Protocol

from .packets import Packet


class PacketSink(Protocol):
    """Receive what the reader finds; an answer of True stops the reader until `resume` is called."""

    def publish_run(self, topic: bytes, data: bytes, start: int, end: int, count: int) -> bool | None:
        """Take `count` whole QoS 0 packets without RETAIN, all on one topic, that lie in data[start:end]."""
        ...

    def publish(self, flags: int, topic: bytes, packet_id: bytes, payload: bytes) -> bool | None:
        """Take one PUBLISH; `flags` is the low half of its first byte, `packet_id` two bytes, or none for QoS 0."""
        ...

    def publish_run5(
        self, topic: bytes, properties: bytes, data: bytes, start: int, body: int, end: int, count: int
    ) -> bool | None:
        """Take `count` whole QoS 0 packets without RETAIN that lie in data[start:end] and are alike up to the payload.

        `properties` is their block without its length. All are of one length; the payload of each begins `body` bytes
        behind its start. The topic may be empty, where an alias stands for it.
        """
        ...

    def publish5(self, flags: int, topic: bytes, packet_id: bytes, properties: bytes, payload: bytes) -> bool | None:
        """Take one PUBLISH of MQTT 5, as `publish`; `properties` and an empty topic are as for `publish_run5`."""
        ...

    def acknowledgement(self, packet_type: int, packet_id: bytes, reason: int = 0) -> bool | None:
        """Take a PUBACK, PUBREC, PUBREL or PUBCOMP."""
        ...

    def packet(self, packet: Packet) -> bool | None:
        """Take any other packet."""
        ...
