"""A sink that writes down what the reader finds, with runs taken apart, so that any two readings can be compared."""

from wardenmq.broker.protocol.decode import decode_topic_name
from wardenmq.broker.protocol.errors import MqttError
from wardenmq.broker.protocol.packets import Packet
from wardenmq.broker.protocol.reader import PacketReader

CONNECT = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a"


class Recorder:
    """Keep every message, acknowledgement and packet in order; stop where told to."""

    def __init__(self, stop_every: int = 0) -> None:
        self.found: list[object] = []
        self.runs: list[int] = []
        self.failure: tuple[type[MqttError], int] | None = None
        self._stop_every = stop_every
        self._calls = 0

    def publish_run(self, topic: bytes, data: bytes, start: int, end: int, count: int) -> bool | None:
        name = decode_topic_name(topic)
        length, rest = divmod(end - start, count)
        assert rest == 0
        for at in range(start, end, length):
            packet = data[at : at + length]
            body = packet.index(topic, 2) + len(topic) if topic else 4
            self.found.append(("publish", 0, name, b"", packet[body:]))
        self.runs.append(count)
        return self._stop()

    def publish(self, flags: int, topic: bytes, packet_id: bytes, payload: bytes) -> bool | None:
        self.found.append(("publish", flags, decode_topic_name(topic), packet_id, payload))
        return self._stop()

    def acknowledgement(self, packet_type: int, packet_id: bytes) -> bool | None:
        self.found.append(("acknowledgement", packet_type, packet_id))
        return self._stop()

    def packet(self, packet: Packet) -> bool | None:
        self.found.append(packet)
        return self._stop()

    def _stop(self) -> bool:
        self._calls += 1
        return bool(self._stop_every) and self._calls % self._stop_every == 0


def read(chunks: list[bytes], *, coalesce: bool = True, limit: int = 1_048_576, stop_every: int = 0) -> Recorder:
    """Feed chunks to a reader; keep what it found and how it failed."""
    sink = Recorder(stop_every)
    reader = PacketReader(sink, limit, coalesce=coalesce)
    try:
        for chunk in chunks:
            reader.receive_data(chunk)
            while reader.stopped:
                reader.resume()
    except MqttError as error:
        sink.failure = (type(error), error.reason)
    return sink
