"""The files of traces, and the thread that writes them: bounded in size, what is too much is dropped and said so.

The event loop hands on what happened as it is; to make text of it and to write it is the thread's work.
"""

import os
from collections import deque
from hashlib import blake2b
from logging import getLogger
from pathlib import Path
from threading import Condition, Lock, Thread
from typing import BinaryIO

from .definition import Trace
from .lines import Happening, render

_logger = getLogger(__name__)

MAX_FILE_BYTES = 128 * 1024 * 1024
"""Of one trace's file; then the trace is stopped."""
MAX_WAITING = 20_000
"""Events that wait to be written."""
MAX_WAITING_BYTES = 16 * 1024 * 1024
_AT_ONCE = 500
"""Events that are written before anybody who looks at the file is let in."""
_PATIENCE = 10.0
"""Seconds that somebody waits at most for the file to have all that had happened."""
_NAMED = 64
_OPEN = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


def file_name(name: str) -> str:
    """Give the name of a trace's file; names that differ in case alone have different ones."""
    digest = blake2b(name.encode(), digest_size=6).hexdigest()
    return f"trace_{name[:_NAMED]}_{digest}.log"


class TraceLog:
    """Own one trace's file; written by the thread, read by anybody."""

    def __init__(self, trace: Trace, path: Path, limit: int) -> None:
        self.trace = trace
        self.path = path
        self.full = False
        """Whether the file is as large as it may be, or cannot be written: nothing is written any more."""
        self.dropped = 0
        """Events that could not be kept until they were written."""
        self._said = 0
        """How many of them the file tells of."""
        self._limit = limit
        self._lock = Lock()
        self._file: BinaryIO | None = None
        self._size = 0
        self._closed = False

    def open(self) -> None:
        """Make the file if there is none; raises `OSError`."""
        with self._lock:
            self._opened()

    def write(self, event: Happening) -> None:
        """Append an event; called by the thread."""
        with self._lock:
            if self._closed or self.full:
                return
            try:
                self._append(event)
                dropped = self.dropped - self._said
                if dropped:
                    self._said += dropped
                    self._append(Happening(event.at, "TRACE", "events_dropped", details={"count": dropped}))
            except OSError as error:
                self._fail(error)

    def flush(self) -> None:
        """Show others what was written."""
        with self._lock:
            if self._file is None:
                return
            try:
                self._file.flush()
            except OSError as error:
                self._fail(error)

    def close(self, *, remove: bool = False) -> None:
        """Write nothing any more; with `remove` the file is deleted."""
        with self._lock:
            self._closed = True
            file, self._file = self._file, None
            try:
                if file is not None:
                    file.close()
            except OSError as error:
                _logger.error("the file of trace %r is not complete: %s", self.trace.name, error.strerror)
            if remove:
                self.path.unlink(missing_ok=True)

    def _fail(self, error: OSError) -> None:
        self.full = True
        _logger.error("trace %r is stopped, its file cannot be written: %s", self.trace.name, error.strerror)

    def _append(self, event: Happening) -> None:
        file = self._opened()
        for line in render(event, self.trace.formatter, self.trace.payload_encode):
            data = line.encode("utf-8", "backslashreplace")
            if self._size + len(data) > self._limit:
                self.full = True
                _logger.warning("trace %r is stopped, its file has %s bytes", self.trace.name, self._size)
                return
            file.write(data)
            self._size += len(data)

    def _opened(self) -> BinaryIO:
        if self._file is None:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            self._file = os.fdopen(os.open(self.path, _OPEN, 0o600), "ab")
            self._size = os.fstat(self._file.fileno()).st_size
        return self._file


class LogWriter:
    """Write what happens in a thread of its own, which lives while there is something to write for."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._waiting: deque[tuple[tuple[TraceLog, ...], Happening]] = deque()
        self._waiting_bytes = 0
        self._thread: Thread | None = None
        self._stopping = False
        self._put = 0
        self._done = 0

    def start(self) -> None:
        """Begin; a second call does nothing."""
        with self._changed:
            self._stopping = False
            self._changed.notify_all()
            if self._thread is None:
                self._thread = Thread(target=self._run, name="wardenmq-traces", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Write what waits and end, unless it is to begin again meanwhile; waits for that."""
        with self._changed:
            thread, self._stopping = self._thread, True
            if thread is None:
                return
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._thread is not thread or not self._stopping, _PATIENCE)

    def put(self, logs: tuple[TraceLog, ...], event: Happening) -> None:
        """Have an event written soon; dropped and counted where too much waits already."""
        with self._changed:
            size = event.size
            if len(self._waiting) >= MAX_WAITING or self._waiting_bytes + size > MAX_WAITING_BYTES:
                for log in logs:
                    log.dropped += 1
                return
            self._waiting.append((logs, event))
            self._waiting_bytes += size
            self._put += 1
            self._changed.notify_all()

    @property
    def settled(self) -> bool:
        """Tell whether all that was put is written."""
        return self._done == self._put

    def settle(self) -> None:
        """Wait until all that was put is written, but not for ever."""
        with self._changed:
            wanted = self._put
            self._changed.wait_for(lambda: self._done >= wanted or self._thread is None, _PATIENCE)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or self._stopping)
                if not self._waiting:
                    self._thread = None
                    self._changed.notify_all()
                    return
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _AT_ONCE))]
                self._waiting_bytes -= sum([event.size for _, event in batch])
            touched: set[TraceLog] = set()
            for logs, event in batch:
                for log in logs:
                    log.write(event)
                    touched.add(log)
            for log in touched:
                log.flush()
            with self._changed:
                self._done += len(batch)
                self._changed.notify_all()
