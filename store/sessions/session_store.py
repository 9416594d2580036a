"""The journal's store: batches are written by one thread, messages and tables read by another."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from ..errors import DatabaseUnavailable
from .connections import DURABILITIES
from .opening import MIGRATIONS, open_sessions
from .reading import Reader, Row
from .tables import TABLES
from .writing import ERROR, Changes, Writer

Committed = Callable[[int], None]
Failed = Callable[[int, str, str], None]


class SessionStore:
    """Keep what persistent sessions are owed; belongs to one event loop and, by its directory's lock, one process."""

    def __init__(
        self, writer: Writer, reader: Reader, writing: Executor, reading: Executor, problem: str | None
    ) -> None:
        """Take parts that each work in a thread of their own; see `open`."""
        self.problem = problem
        """What became of a damaged file when the store was opened."""
        self._writer = writer
        self._reader = reader
        self._writing = writing
        self._reading = reading
        self._loop = asyncio.get_running_loop()
        self._committed: Committed | None = None
        self._failed: Failed | None = None
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        path: Path,
        durability: str,
        *,
        folder: Path = MIGRATIONS,
        clock: Callable[[], float] = time.time,
    ) -> "SessionStore":
        """Open or create the file as `open_sessions` does it; durability is `process` or `power`. Raises StoreError."""
        if durability not in DURABILITIES:
            raise ValueError(f"durability is one of {', '.join(DURABILITIES)}, not {durability}")
        loop = asyncio.get_running_loop()
        # Executors wait for what is under way when the interpreter ends, and end their threads then.
        writing = ThreadPoolExecutor(1, thread_name_prefix="wardenmq-journal-writer")
        reading = ThreadPoolExecutor(1, thread_name_prefix="wardenmq-journal-reader")

        def open_writer() -> tuple[Writer, str | None]:
            connection, problem = open_sessions(path, durability, folder)
            return Writer(path, durability, connection, clock), problem

        reader = Reader(path)
        try:
            writer, problem = await loop.run_in_executor(writing, open_writer)
            try:
                await loop.run_in_executor(reading, reader.open)
            except BaseException:
                await loop.run_in_executor(writing, writer.close)
                raise
        except BaseException:
            writing.shutdown(wait=False)
            reading.shutdown(wait=False)
            raise
        return cls(writer, reader, writing, reading, problem)

    def bind(self, committed: Committed, failed: Failed) -> None:
        """Have the end of each batch told in the event loop's thread.

        `committed` is given its number, `failed` also a kind, `full` or `error`, and a sentence. Nothing of a batch
        that failed was written, and it is forgotten.
        """
        self._committed = committed
        self._failed = failed

    def submit(self, number: int, changes: Changes) -> None:
        """Write a batch in one transaction; never blocks or raises. The mappings must not change until it has ended."""
        try:
            self._writing.submit(self._write, number, changes)
        except RuntimeError:
            self._tell(self._failed, number, ERROR, "The store is closed.")

    async def load(self, message_ids: Sequence[int]) -> list[Row]:
        """Return the rows of committed messages, by id, as far as they exist. Raises StoreError."""
        return await self._read(self._reader.load, message_ids)

    def load_now(self, message_ids: Sequence[int]) -> list[Row]:
        """Return them at once, blocking. Raises StoreError."""
        try:
            return self._reading.submit(self._reader.load, message_ids).result()
        except RuntimeError as error:
            raise _closed() from error

    async def scan(self, table: str) -> AsyncIterator[list[Row]]:
        """Yield all rows of a table in pieces, by key; of messages the size of the data, last. Raises StoreError.

        A piece has 5,000 rows, or fewer where they are long. What is committed meanwhile may be among them.
        """
        scanned = TABLES[table]
        last: Row | None = None
        while rows := await self._read(self._reader.next_piece, scanned, last):
            last = rows[-1]
            yield rows

    async def close(self) -> None:
        """Wait for the batch under way, fold the log into the file and close it; the threads end."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            # The reader first: SQLite removes the log with the last connection, if that one can write.
            await self._loop.run_in_executor(self._reading, self._reader.close)
        finally:
            self._reading.shutdown(wait=False)
            try:
                await self._loop.run_in_executor(self._writing, self._writer.close)
            finally:
                self._writing.shutdown(wait=False)

    def _read(self, read: Callable[..., list[Row]], *arguments: object) -> Awaitable[list[Row]]:
        try:
            return self._loop.run_in_executor(self._reading, read, *arguments)
        except RuntimeError as error:
            raise _closed() from error

    def _write(self, number: int, changes: Changes) -> None:
        try:
            self._writer.write(changes)
        except BaseException as error:  # whatever it is: a batch that nobody hears of would be waited for for ever
            self._tell(self._failed, number, *self._writer.fault(error))
        else:
            self._tell(self._committed, number)

    def _tell(self, callback: Callable[..., None] | None, *arguments: object) -> None:
        if callback is None:
            return
        with suppress(RuntimeError):  # the loop is closed, and with it whoever would have heard
            self._loop.call_soon_threadsafe(callback, *arguments)


def _closed() -> DatabaseUnavailable:
    return DatabaseUnavailable("The store of the sessions is closed.")
