"""MQTT over WebSocket (MQTT 5.0 section 6): one TCP or TLS connection, its handshake and its frames.

`WebSocketProtocol` owns the real transport and drives the sans-I/O state machine of the `websockets` package. After the
opening handshake it makes the inner protocol, the same one that a TCP listener would make, and hands it a
`WebSocketTransport`. From there on the inner protocol sees a plain stream of bytes:

- frames are passed on as they come, so a packet may span frames and a frame may hold many [MQTT-6.0.0-2];
- a peer's close frame is its end of stream, and takes effect only after the bytes before it were taken in, so that a
  DISCONNECT that shares a segment with the close frame still prevents the will;
- closing flushes, sends close frame 1000 and waits a bounded time for the peer's.

What a peer can ask for without sending a byte of MQTT is bounded here, for no rate of its client's counts it: frames
without payload come at a bounded rate, and while the peer reads nothing only its latest ping is remembered.

No extension is offered, so there is no compressed input to bound. Import this module only where a WebSocket listener
is configured: it alone loads `websockets`.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import cast

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import SEND_EOF, State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from ..rates import TokenBucket
from .websocket_transport import Data, WebSocketTransport

ProtocolFactory = Callable[[], asyncio.Protocol]

PATHS = ("/mqtt", "/")
SUBPROTOCOLS = (Subprotocol("mqtt"), Subprotocol("mqttv3.1"))
"""Preferred first [MQTT-6.0.0-4]; the second is what MQTT 3.1 clients offer."""

MAX_HANDSHAKE_BYTES = 16_384
HANDSHAKE_TIMEOUT = 10.0
"""Seconds from accept to a complete request."""
CLOSE_TIMEOUT = 2.0
"""Seconds that a peer has to answer a close frame or to close its side."""
MAX_SENT_FRAME = 65_535
"""Payload bytes in one frame sent: clients bound messages too, some at 1 MiB, and this keeps the header short."""
MIN_FRAME_BOUND = 1_048_576
EMPTY_FRAMES = 20.0
"""Frames per second that bring nothing for MQTT (pings, pongs, empty messages), ten times as many at once."""
_DATA = (Opcode.BINARY, Opcode.CONT)
_SLICE = 8_192
"""Bytes after which it is looked whether the peer overdoes it; some 1,300 of the smallest frames."""


class _WithoutFrames(logging.LoggerAdapter[logging.Logger]):
    """Keep `websockets` from logging frames at level DEBUG: they hold passwords and payloads."""

    def isEnabledFor(self, level: int) -> bool:
        return level >= logging.WARNING and super().isEnabledFor(level)


_log = _WithoutFrames(logging.getLogger(__name__), {})


class _Wire(ServerProtocol):
    """Bound each frame, not a message of them, which may be one for as long as the connection lasts [MQTT-6.0.0-2].

    A ping is not answered here: the driver knows whether the peer reads.
    """

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PING:
            self.events.append(frame)
            return
        ServerProtocol.recv_frame(self, frame)
        if self.cur_size is not None:
            self.cur_size = 0


def frame_bound(max_packet_size: int) -> int:
    """Give the largest frame, in bytes, that is worth taking in: it may hold several packets [MQTT-6.0.0-2]."""
    return max(MIN_FRAME_BOUND, 2 * max_packet_size)


class WebSocketProtocol(asyncio.Protocol):
    """Drive one WebSocket connection and pass its bytes between the real transport and the inner protocol.

    `factory` makes the inner protocol once the connection is open; `lost` is called at its end, opened or not.
    `max_frame_size` bounds one frame in bytes, which is kept until it is complete. `origins` are the web pages that may
    open it, None for any; `same_origin` lets in those of this host alone where `origins` are not given.
    """

    def __init__(
        self,
        factory: ProtocolFactory,
        loop: asyncio.AbstractEventLoop,
        *,
        max_frame_size: int,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
        close_timeout: float = CLOSE_TIMEOUT,
        origins: Collection[str] | None = None,
        same_origin: bool = False,
        lost: Callable[[], None] | None = None,
        paths: Collection[str] = PATHS,
    ) -> None:
        self._factory = factory
        self._paths = paths
        self._origins = origins
        self._same_origin = same_origin
        self._lost = lost
        self._loop = loop
        self._handshake_timeout = handshake_timeout
        self._close_timeout = close_timeout
        self._wire = _Wire(subprotocols=SUBPROTOCOLS, max_size=max_frame_size, logger=_log)
        self._transport: asyncio.Transport | None = None
        self._inner: asyncio.Protocol | None = None
        self._timer: asyncio.TimerHandle | None = None
        """Bounds the handshake first, the closing later."""
        self._request = bytearray()
        """What came of the opening request so far."""
        self._held: list[Data] = []
        """Payloads not passed on yet, because the inner protocol paused."""
        self._paused = False
        self._unread = False
        """Whether the peer reads too slowly for what it is sent."""
        self._ping: bytes | None = None
        """The latest ping that came meanwhile, the only one that has to be answered (RFC 6455, 5.5.3)."""
        self._in_message = False
        """Whether the message that goes on has brought any bytes yet."""
        self._empty_frames = TokenBucket(EMPTY_FRAMES, EMPTY_FRAMES * 10)
        self._closing = False
        """Whether the inner protocol closed: it gets no more bytes."""
        self._ending = False
        """Whether the close frames are exchanged, or the connection failed: the TCP connection is to end."""

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the handshake's time limit."""
        self._transport = cast(asyncio.Transport, transport)
        self._timer = self._loop.call_later(self._handshake_timeout, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Take in a part of the opening request, or frames."""
        if self._ending:  # read on only so that closing does not reset the connection under our last bytes
            return
        if self._wire.state is State.CONNECTING:
            self._take_request(data)
        else:
            self._take_frames(data)

    def eof_received(self) -> bool:
        """Pass the end of the stream on; the transport then closes itself."""
        self._wire.receive_eof()
        if self._inner is not None and not self._closing and not self._ending:
            self._inner.eof_received()
        return False

    def pause_writing(self) -> None:
        """Pass on that the peer reads too slowly."""
        self._unread = True
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that there is room again."""
        self._unread = False
        ping, self._ping = self._ping, None
        if ping is not None:
            self._answer_ping(ping)
            self._flush()
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the inner protocol, if there is one, and let go of it."""
        self._stop_timer()
        self._held.clear()
        self._ending = True
        self._transport = None
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.connection_lost(exc)
        if self._lost is not None:
            self._lost()

    # What the transport facade calls.

    @property
    def inner(self) -> asyncio.Protocol | None:
        """The protocol that was made for this connection, while it is open."""
        return self._inner

    @property
    def is_closing(self) -> bool:
        """Whether either side began to close."""
        return self._wire.state is not State.OPEN or self._transport is None or self._transport.is_closing()

    @property
    def is_paused(self) -> bool:
        """Whether the inner protocol paused reading."""
        return self._paused

    def send(self, data: Data) -> None:
        """Send bytes in binary frames [MQTT-6.0.0-1]; dropped once either side began to close."""
        if not data or self.is_closing:
            return
        if len(data) <= MAX_SENT_FRAME:
            self._wire.send_binary(bytes(data))
        else:
            view = memoryview(data)
            for start in range(0, len(view), MAX_SENT_FRAME):
                self._wire.send_binary(bytes(view[start : start + MAX_SENT_FRAME]))
        self._flush()

    def close(self) -> None:
        """Send what is buffered, then close frame 1000, and end the connection when the peer answers or time is up."""
        if self._closing or self._transport is None:
            return
        self._closing = True
        self._held.clear()
        if self._ending:
            self._end()
            return
        self._transport.resume_reading()  # or the peer's close frame would never be seen
        if self._wire.state is State.OPEN:
            self._wire.send_close(CloseCode.NORMAL_CLOSURE)
        self._flush()
        self._bound_closing()

    def abort(self) -> None:
        """End the connection at once, without a close frame."""
        self._closing = True
        self._held.clear()
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Stop passing bytes to the inner protocol."""
        if self._closing or self._transport is None:
            return
        self._paused = True
        self._transport.pause_reading()

    def resume(self) -> None:
        """Pass bytes on again, beginning with those that had already come."""
        if not self._paused or self._transport is None:
            return
        self._paused = False
        self._loop.call_soon(self._pass_on)  # never from within the caller, who may be in the middle of something
        self._transport.resume_reading()

    # The opening handshake.

    def _take_request(self, data: bytes) -> None:
        self._request += data
        head, blank_line, rest = self._request.partition(b"\r\n\r\n")
        if len(head) > MAX_HANDSHAKE_BYTES:
            self._refuse(431, "The request is too large.\n")
        elif not blank_line:
            if not self._request.startswith(b"GET "[: len(self._request)]):
                self._refuse(400, "This is a WebSocket listener for MQTT.\n")
        else:
            # The state machine would read frames that follow at once before the answer is sent: they come after it.
            self._request = bytearray()
            self._wire.receive_data(bytes(head + blank_line))
            self._answer()
            if rest and not self._ending:
                self._take_frames(bytes(rest))

    def _answer(self) -> None:
        requests = [event for event in self._wire.events_received() if isinstance(event, Request)]
        if not requests:
            # It is no HTTP request; the state machine only ends the stream, so answer ahead of that.
            self._write(self._wire.reject(400, "The request is malformed.\n").serialize())
            self._flush()
            return
        (request,) = requests
        if request.path.partition("?")[0] not in self._paths:
            self._refuse(404, f"MQTT is at {next(iter(self._paths))}.\n")
            return
        if not self._origin_allowed(request):
            self._refuse(403, "Web pages of this origin may not connect.\n")
            return
        self._wire.send_response(self._wire.accept(request))  # refuses where no sub-protocol fits [MQTT-6.0.0-3]
        self._flush()
        if self._wire.state is State.OPEN and self._transport is not None:
            self._stop_timer()
            self._inner = self._factory()
            self._inner.connection_made(WebSocketTransport(self, self._transport))

    def _origin_allowed(self, request: Request) -> bool:
        """Tell whether the web page that asks may; whoever is no browser sends no origin.

        A script needs a user's credentials in its CONNECT like anybody else, so that pages of any origin may connect
        unless the operator says otherwise. Only where the browser itself proves who its user is, by a certificate,
        could any page that the user looks at act in his name: there it must come from this host.
        """
        given = request.headers.get_all("Origin")
        if not given:
            return True
        if self._origins is not None:
            return len(given) == 1 and given[0].lower() in self._origins
        hosts = request.headers.get_all("Host")
        return not self._same_origin or (
            len(given) == len(hosts) == 1 and given[0].lower() == f"https://{hosts[0].lower()}"
        )

    def _refuse(self, status: int, text: str) -> None:
        self._request = bytearray()
        self._wire.send_response(self._wire.reject(status, text))
        self._flush()

    # Frames.

    def _take_frames(self, data: bytes) -> None:
        for start in range(0, len(data), _SLICE):
            self._wire.receive_data(data[start : start + _SLICE])
            for event in self._wire.events_received():
                if not isinstance(event, Frame):
                    continue
                if event.data and event.opcode in _DATA:
                    self._in_message = True
                    if not self._closing:
                        self._held.append(event.data)
                elif not self._take_odd_frame(event):
                    break
            self._flush()
            if self._ending:
                break
        self._pass_on()

    def _take_odd_frame(self, frame: Frame) -> bool:
        """Take a frame that has nothing for the inner protocol; False where the connection has to fail."""
        if frame.opcode is Opcode.TEXT:  # [MQTT-6.0.0-1]
            self._wire.fail(CloseCode.UNSUPPORTED_DATA, "MQTT needs binary frames")
            return False
        if self._brings_nothing(frame) and not self._empty_frames.allow(1, self._loop.time()):
            self._wire.fail(CloseCode.POLICY_VIOLATION, "too many frames without data")
            return False
        if frame.opcode is Opcode.PING:
            self._answer_ping(bytes(frame.data))
        return True

    def _brings_nothing(self, frame: Frame) -> bool:
        if frame.opcode not in _DATA:
            return frame.opcode is not Opcode.CLOSE
        self._in_message = frame.opcode is Opcode.CONT and self._in_message
        # An empty frame at the end of a message that had bytes is how libraries end one whose length they did not know.
        return not (self._in_message and frame.fin)

    def _answer_ping(self, data: bytes) -> None:
        if self._unread:
            self._ping = data
        elif self._wire.state is State.OPEN:
            self._wire.send_pong(data)

    def _pass_on(self) -> None:
        if self._paused and not self._closing:
            return
        if self._held and self._inner is not None:
            data = b"".join(self._held)
            self._held.clear()
            if data:
                self._inner.data_received(data)
        if self._ending and (self._closing or not self._paused):
            self._end()

    # The way out.

    def _flush(self) -> None:
        for data in self._wire.data_to_send():
            if data == SEND_EOF:
                self._ending = True
            else:
                self._write(data)
        if self._ending and self._inner is None:
            self._end()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _end(self) -> None:
        """End our side of the TCP connection; the peer's end, or the time limit, then closes it.

        Closing at once would reset the connection if input is unread, and the peer might lose our last bytes.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._bound_closing()
        if transport.can_write_eof():
            transport.write_eof()
            transport.resume_reading()
        else:  # TLS
            transport.close()

    def _bound_closing(self) -> None:
        self._stop_timer()
        if self._transport is not None:
            self._timer = self._loop.call_later(self._close_timeout, self._transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
