"""The transport that an MQTT connection over WebSocket sees in place of a socket's."""

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol

Data = bytes | bytearray | memoryview


class FrameSender(Protocol):
    """The WebSocket connection behind the transport."""

    @property
    def inner(self) -> asyncio.BaseProtocol | None:
        """The inner protocol; None once the connection is lost."""
        ...

    @property
    def is_closing(self) -> bool:
        """Tell whether either side began to close."""
        ...

    @property
    def is_paused(self) -> bool:
        """Tell whether the inner protocol wants no bytes."""
        ...

    def send(self, data: Data) -> None:
        """Send bytes in frames."""
        ...

    def pause(self) -> None:
        """Keep what comes."""
        ...

    def resume(self) -> None:
        """Hand on what was kept, and what comes."""
        ...

    def close(self) -> None:
        """Begin the closing handshake."""
        ...

    def abort(self) -> None:
        """Close at once."""
        ...


class WebSocketTransport(asyncio.Transport):
    """Look like a TCP transport to the inner protocol of an open WebSocket connection."""

    def __init__(self, owner: FrameSender, transport: asyncio.Transport) -> None:
        super().__init__()
        self._owner = owner
        self._real = transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Ask the real transport: `peername`, `sockname`, `ssl_object`, ..."""
        return self._real.get_extra_info(name, default)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the inner protocol; raises RuntimeError once the connection is lost."""
        inner = self._owner.inner
        if inner is None:
            raise RuntimeError("the connection is lost")
        return inner

    def write(self, data: Data) -> None:
        """Send bytes, in one frame unless they are many."""
        self._owner.send(data)

    def writelines(self, list_of_data: Iterable[Data]) -> None:
        """Send chunks together, in one frame unless they are many."""
        self._owner.send(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """Tell that a WebSocket cannot be closed for writing alone."""
        return False

    def close(self) -> None:
        """Flush and close; `connection_lost` comes when the peer answers, at the latest when the time is up."""
        self._owner.close()

    def abort(self) -> None:
        """Close at once, without a close frame."""
        self._owner.abort()

    def is_closing(self) -> bool:
        """Tell whether either side began to close."""
        return self._owner.is_closing

    def pause_reading(self) -> None:
        """Stop `data_received` from being called, bytes that had already come included."""
        self._owner.pause()

    def resume_reading(self) -> None:
        """Let `data_received` be called again."""
        self._owner.resume()

    def is_reading(self) -> bool:
        """Tell whether `data_received` may be called."""
        return not (self._owner.is_paused or self._owner.is_closing)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks, in bytes, for `pause_writing` and `resume_writing`."""
        self._real.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the low and the high mark in bytes."""
        return self._real.get_write_buffer_limits()

    def get_write_buffer_size(self) -> int:
        """Count the bytes that wait for the socket, frame headers included."""
        return self._real.get_write_buffer_size()
