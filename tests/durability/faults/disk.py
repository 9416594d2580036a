"""The orders to a disk, from a test to the process whose disk it is: JSON lines over a socket, each with an answer."""

import asyncio
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from . import faulty_connection, faulty_vfs
from .file_faults import Faults
from .synced_copies import SyncedCopies

TIME_LIMIT = 60.0
"""Seconds in which the disk must have done what a test waits for."""
ENVIRONMENT = "FAULTY_DISK"
"""The variable that tells the process the socket, the layer and where copies of what was synced go."""
LAYERS = ("vfs", "connection")
LAYER = os.environ.get("FAULTY_DISK_LAYER") or (LAYERS[0] if faulty_vfs.available() else LAYERS[1])
"""The best layer that this Python allows, unless another one is to be looked at."""


class Disk:
    """Order a process's disk about and ask it what it did."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, synced: Path | None) -> None:
        self._reader = reader
        self._writer = writer
        self._synced = synced
        self._ordering = asyncio.Lock()

    @property
    def knows_files(self) -> bool:
        """Tell whether an order may concern one of the files alone."""
        return LAYER == "vfs"

    async def fail(self, **operations: str) -> None:
        """Let operations fail from now on (`write="ENOSPC"`), all others work; with none named the disk is whole."""
        await self._order("fail", operations)

    async def hold(self, *operations: str) -> None:
        """Let these operations wait from their beginning, all others go on; with none named all do.

        Those that had begun have ended when this returns.
        """
        await self._order("hold", operations)

    async def let(self, operation: str, count: int = 1) -> None:
        """Let some of the held operations through."""
        await self._order("let", [operation, count])

    async def delay(self, **seconds: float) -> None:
        """Let each operation of this kind take so much longer."""
        await self._order("delay", seconds)

    async def count(self, name: str) -> int:
        """Give how many operations have come so far: `sync begun`, `sync ended`, `write failed`, `read:main begun`."""
        return (await self._order("counts", None)).get(name, 0)

    async def reached(self, name: str, count: int) -> None:
        """Wait until that many have come so far."""
        async with asyncio.timeout(TIME_LIMIT):
            while await self.count(name) < count:  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.005)

    async def more(self, name: str, count: int = 1) -> None:
        """Wait until that many more have come."""
        await self.reached(name, await self.count(name) + count)

    def lose_power(self, data_dir: Path) -> None:
        """Leave of the files what had been synced; the process must have ended."""
        assert self._synced is not None
        for file in data_dir.glob("sessions.db*"):
            file.unlink()
        for file in self._synced.glob("sessions.db*"):
            (data_dir / file.name).write_bytes(file.read_bytes())

    def close(self) -> None:
        """Hang up; whatever waits goes on."""
        self._writer.transport.abort()

    async def _order(self, verb: str, argument: object) -> dict[str, int]:
        async with asyncio.timeout(TIME_LIMIT), self._ordering:
            self._writer.write(json.dumps([verb, argument]).encode() + b"\n")
            answer = await self._reader.readline()
        assert answer, "the process with the disk has ended"
        return json.loads(answer)


class Connector:
    """Own both ends of the socket until the process has its own."""

    def __init__(self, synced: Path | None = None, *, layer: str = LAYER, **failing: str) -> None:
        """`failing` are the orders that are in force from the first."""
        self._failing = failing
        self._near, self._far = socket.socketpair()
        self._layer = layer
        self._synced = synced

    @property
    def inherited(self) -> tuple[int]:
        """The files that the process must inherit."""
        return (self._far.fileno(),)

    @property
    def environment(self) -> dict[str, str]:
        """What the process must find in its environment."""
        directory = None if self._synced is None else str(self._synced)
        return {ENVIRONMENT: json.dumps([self._far.fileno(), self._layer, directory, self._failing])}

    async def disk(self) -> Disk:
        """Take the test's end, once the process was started."""
        self._far.close()
        reader, writer = await asyncio.open_connection(sock=self._near)
        return Disk(reader, writer, self._synced)


def attach() -> None:
    """Put the faults under SQLite as the environment says, and take orders from now on; to be called by the process."""
    number, layer, directory, failing = json.loads(os.environ.pop(ENVIRONMENT))
    faults = Faults()
    faults.fail(failing)
    synced = None if directory is None else SyncedCopies(Path(directory))
    if layer == "vfs":
        if faulty_vfs.install(faults, synced) is None:
            sys.exit("SQLite is out of reach of a file layer of our own")
    else:
        faulty_connection.install(faults, synced)
    end = socket.socket(fileno=number)
    end.set_inheritable(False)
    threading.Thread(target=_serve, args=(end, faults), name="disk", daemon=True).start()


def _serve(end: socket.socket, faults: Faults) -> None:
    with closing(end), end.makefile("rwb") as lines, _whole_at_the_end(faults):
        for line in lines:
            verb, argument = json.loads(line)
            _obey(faults, verb, argument)
            lines.write(json.dumps(faults.counts()).encode() + b"\n")
            lines.flush()


def _obey(faults: Faults, verb: str, argument: Any) -> None:
    match verb:
        case "fail":
            faults.fail(argument)
        case "hold":
            faults.hold(argument)
        case "let":
            faults.let(*argument)
        case "delay":
            faults.delay(argument)


@contextmanager
def _whole_at_the_end(faults: Faults) -> Iterator[None]:
    try:
        yield
    finally:
        faults.hold(())
        faults.fail({})
        faults.delay({})
