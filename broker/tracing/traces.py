"""All traces of one broker: when each runs, what it is told meanwhile, and where its file is."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from logging import getLogger
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time

from ..engine import Engine
from .definition import Trace
from .log import MAX_FILE_BYTES, LogWriter, TraceLog, file_name
from .watching import Opening, Watching

_logger = getLogger(__name__)

MAX_TRACES = 30


class NameTaken(Exception):
    """There is a trace of this name."""


class ConditionTaken(Exception):
    """There is a trace of the same thing from the same time on."""


class TooMany(Exception):
    """There are as many traces as there may be."""


class Traces:
    """Own the traces; `keep_in` says where, else their files go when the broker does."""

    def __init__(self, engine: Engine, *, limit: int = MAX_FILE_BYTES) -> None:
        """`limit` is the number of bytes that one trace's file may have."""
        self._limit = limit
        self._directory: Path | None = None
        self._temporary: TemporaryDirectory[str] | None = None
        self._traces: dict[str, Trace] = {}
        self._running: dict[str, TraceLog] = {}
        self._going: set[str] = set()
        """Names whose files are being deleted."""
        self._writer = LogWriter()
        self._watching = Watching(engine, self._writer)

    def keep_in(self, directory: Path) -> None:
        """Keep the files here from now on; before there is a trace."""
        self._directory = directory

    def restore(self, traces: Iterable[Trace]) -> None:
        """Have traces back that were there before, and go on with those whose time it is."""
        self._traces.update((trace.name, trace) for trace in traces)
        self.tick()

    def __iter__(self) -> Iterator[Trace]:
        """Give all of them, the one that begins last first."""
        return iter(sorted(self._traces.values(), key=lambda trace: (-trace.start_at, trace.name)))

    def __len__(self) -> int:
        return len(self._traces)

    def get(self, name: str) -> Trace | None:
        """Return a trace."""
        return self._traces.get(name)

    def add(self, trace: Trace) -> None:
        """Enter a trace, which begins at once or when its time has come.

        Raises `NameTaken`, `ConditionTaken` or `TooMany`.
        """
        if trace.name in self._traces or trace.name in self._going:
            raise NameTaken
        if any(other.condition == trace.condition for other in self._traces.values()):
            raise ConditionTaken
        if len(self._traces) >= MAX_TRACES:
            raise TooMany
        self._traces[trace.name] = trace
        self.tick()

    def stop(self, name: str) -> bool:
        """End a trace before its time and keep its file; False if there is none."""
        trace = self._traces.get(name)
        if trace is None:
            return False
        self._traces[name] = replace(trace, stopped=True)
        self.tick()
        return True

    async def remove(self, *names: str) -> None:
        """Forget traces and delete their files; those that there are not are left out."""
        paths: list[Path] = []
        logs: list[TraceLog] = []
        going = {name for name in names if self._traces.pop(name, None) is not None}
        for name in going:
            log = self._running.pop(name, None)
            if log is not None:
                logs.append(log)
            path = self.path(name)
            if path is not None:
                paths.append(path)
        self._rewatch()
        self._going |= going
        try:
            await asyncio.to_thread(_delete, logs, paths)
        finally:
            self._going -= going
        if not self._running:
            await asyncio.to_thread(self._writer.stop)

    def tick(self) -> None:
        """Begin and end what it is time for."""
        if not self._traces:
            return
        now, before = time(), len(self._running)
        changed = False
        for name, log in list(self._running.items()):
            trace = self._traces[name]
            if log.full and not trace.stopped:
                trace = self._traces[name] = replace(trace, stopped=True)
            if trace.status(now) != "running":
                del self._running[name]
                self._end(log)
                changed = True
        for name, trace in self._traces.items():
            if name not in self._running and trace.status(now) == "running":
                changed = self._begin(trace) or changed
        if changed:
            self._rewatch()
        if before and not self._running:
            asyncio.get_running_loop().run_in_executor(None, self._writer.stop)

    def _begin(self, trace: Trace) -> bool:
        try:
            log = TraceLog(trace, self._present_directory() / file_name(trace.name), self._limit)
            log.open()
        except OSError as error:
            _logger.error("trace %r cannot begin: %s", trace.name, error.strerror)
            self._traces[trace.name] = replace(trace, stopped=True)
            return False
        self._writer.start()
        self._running[trace.name] = log
        return True

    def _end(self, log: TraceLog) -> None:
        """Have what is still to be written of a trace written, then close its file."""
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, self._close, log)

    def _close(self, log: TraceLog) -> None:
        self._writer.settle()
        log.close()

    def _rewatch(self) -> None:
        self._watching.watch(self._running.values())

    # -- connections

    @property
    def taps_connections(self) -> bool:
        """Tell whether new connections are to be handed to `opening`."""
        return self._watching.taps_connections

    @property
    def tapped(self) -> int:
        """Connections whose packets are shown to traces."""
        return self._watching.tapped

    def opening(self, connection: Opening) -> None:
        """See whether a connection that has just been made is one to trace."""
        self._watching.opening(connection)

    # -- files

    def path(self, name: str) -> Path | None:
        """Say where a trace's file is, or would be; None where there are no files yet."""
        if self._directory is not None:
            return self._directory / file_name(name)
        return None if self._temporary is None else Path(self._temporary.name) / file_name(name)

    async def settle(self) -> None:
        """Wait until the files have all that happened before, but not for ever."""
        if not self._writer.settled:
            await asyncio.to_thread(self._writer.settle)

    def _present_directory(self) -> Path:
        if self._directory is not None:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            return self._directory
        if self._temporary is None:
            self._temporary = TemporaryDirectory(prefix="wardenmq-trace-")
        return Path(self._temporary.name)

    async def close(self) -> None:
        """Write what is to be written and end; traces that run go on after `restore`."""
        logs = list(self._running.values())
        self._running.clear()
        self._rewatch()
        await asyncio.to_thread(self._writer.stop)
        for log in logs:
            log.close()
        if self._temporary is not None:
            with suppress(OSError):
                self._temporary.cleanup()
            self._temporary = None


def _delete(logs: Iterable[TraceLog], paths: Iterable[Path]) -> None:
    for log in logs:
        log.close(remove=True)
    for path in paths:
        with suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
