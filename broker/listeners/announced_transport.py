"""A transport whose peer is another than its socket's: the client that a proxy announced, or one without an address."""

import asyncio
from collections.abc import Iterable
from typing import Any

Data = bytes | bytearray | memoryview


class AnnouncedTransport(asyncio.Transport):
    """Pass everything on to a transport, except who the peer is."""

    def __init__(self, transport: asyncio.Transport, peer: tuple[str, int]) -> None:
        super().__init__()
        self._peer = peer
        self._real = transport
        # What is called often goes to the real transport without a detour.
        self.write = transport.write
        self.get_write_buffer_size = transport.get_write_buffer_size

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Give the announced address for `peername`, and for anything else what the real transport says."""
        return self._peer if name == "peername" else self._real.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Have another protocol called."""
        self._real.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol that is called."""
        return self._real.get_protocol()

    def is_closing(self) -> bool:
        """Tell whether either side began to close."""
        return self._real.is_closing()

    def close(self) -> None:
        """Flush and close."""
        self._real.close()

    def abort(self) -> None:
        """Close at once."""
        self._real.abort()

    def is_reading(self) -> bool:
        """Tell whether `data_received` may be called."""
        return self._real.is_reading()

    def pause_reading(self) -> None:
        """Stop `data_received` from being called."""
        self._real.pause_reading()

    def resume_reading(self) -> None:
        """Let `data_received` be called again."""
        self._real.resume_reading()

    def writelines(self, list_of_data: Iterable[Data]) -> None:
        """Send chunks together."""
        self._real.writelines(list_of_data)

    def can_write_eof(self) -> bool:
        """Tell whether the connection can be closed for writing alone."""
        return self._real.can_write_eof()

    def write_eof(self) -> None:
        """Close for writing alone."""
        self._real.write_eof()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks, in bytes, for `pause_writing` and `resume_writing`."""
        self._real.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the low and the high mark in bytes."""
        return self._real.get_write_buffer_limits()
