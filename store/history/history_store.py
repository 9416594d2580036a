"""The database of what has been, in a thread of its own: its work waits for nobody, and nobody waits for it."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ..errors import DatabaseUnavailable
from .opening import MIGRATIONS, open_history

T = TypeVar("T")


class HistoryStore:
    """Own the file; belongs to one event loop and, by its directory's lock, to one process."""

    def __init__(self, connection: sqlite3.Connection, executor: ThreadPoolExecutor, problem: str | None) -> None:
        """Take a connection that only `executor`, which has one thread, works with; see `open`."""
        self.problem = problem
        """What became of a damaged file when the store was opened."""
        self._connection = connection
        self._executor = executor
        self._closed = False

    @classmethod
    async def open(cls, path: Path | None, *, folder: Path = MIGRATIONS) -> "HistoryStore":
        """Open or create the file as `open_history` does it, None for one in memory. Raises StoreError."""
        executor = ThreadPoolExecutor(1, thread_name_prefix="wardenmq-history")
        loop = asyncio.get_running_loop()
        try:
            connection, problem = await loop.run_in_executor(executor, open_history, path, folder)
        except BaseException:
            executor.shutdown(wait=False)
            raise
        return cls(connection, executor, problem)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something in a transaction: all of it, or nothing. Raises DatabaseUnavailable."""

        def transact(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return result

        return await self.read(transact)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something that changes nothing, in the store's thread. Raises DatabaseUnavailable."""
        if self._closed:
            raise DatabaseUnavailable("The store of the history is closed.")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work, self._connection)
        except sqlite3.Error as error:
            raise DatabaseUnavailable(f"The history cannot be read or written: {error}.") from error

    async def close(self) -> None:
        """Wait for what is under way, fold the log into the file and close it; the thread ends."""
        if self._closed:
            return
        self._closed = True
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._connection.close)
        finally:
            self._executor.shutdown(wait=False)
