"""What the reader hands a client's packets to: the connection, or a test that writes them down."""

from collections.abc import Mapping
from typing import Protocol

from .packets import Packet
from .runs import Parts, Relay


class PacketSink(Protocol):
    """Receive what the reader finds; an answer of True stops the reader until `resume` is called."""

    @property
    def relays(self) -> Mapping[bytes, Relay]:
        """To whom QoS 0 packets on a topic go as they come, and to nobody else."""
        ...

    def relay_of(self, topic: bytes) -> Relay | None:
        """Give a topic's entry of `relays`, all of which hold until another method is called; None for none."""
        ...

    def relay_parts(self, parts: Parts) -> bool | None:
        """Take whole QoS 0 packets without RETAIN, sorted by their relays."""
        ...

    def publish_run(self, topic: bytes, data: bytes, start: int, body: int, end: int, count: int) -> bool | None:
        """Take `count` whole QoS 0 packets without RETAIN, all on one topic, that lie in data[start:end].

        All are of one length; the payload of each begins `body` bytes behind its start.
        """
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

    def run_limit(self, flags: int, topic: bytes) -> int:
        """Count the QoS 1 or 2 packets with these flags on this topic that may come to `publish_numbered` at once."""
        ...

    def publish_numbered(
        self, flags: int, topic: bytes, packet_ids: bytes, properties: bytes, data: bytes, id_at: int, body: int
    ) -> bool | None:
        """Take QoS 1 or 2 packets, without DUP and RETAIN, that are alike but for packet identifier and payload.

        `packet_ids` has two bytes for each; `data` are the packets, all of one length; the packet identifier of each
        is `id_at` bytes behind its start, the payload `body`. `properties` is empty before MQTT 5.
        """
        ...

    def acknowledgements(self, packet_type: int, packet_ids: bytes) -> bool | None:
        """Take several of one kind in a row, without reasons; `packet_ids` has two bytes for each."""
        ...

    def acknowledgement(self, packet_type: int, packet_id: bytes, reason: int = 0) -> bool | None:
        """Take a PUBACK, PUBREC, PUBREL or PUBCOMP."""
        ...

    def packet(self, packet: Packet) -> bool | None:
        """Take any other packet."""
        ...
