"""The one way to change anything: validate, commit, apply to memory, tell those concerned."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from .database import Database, Statement
from .errors import Overloaded
from .records import NO_CHANGE, Change

T = TypeVar("T")

_AUDIT = "INSERT INTO audit_log (at, actor, facade, action, target, detail) VALUES (?, ?, ?, ?, ?, ?)"
_MAX_PENDING = 1_000


@dataclass(frozen=True, slots=True)
class Write(Generic[T]):
    """Describe one validated change; `apply` must not fail, for the commit is behind it."""

    action: str
    target: str
    statements: Sequence[Statement]
    apply: Callable[[], None]
    result: T
    change: Change = NO_CHANGE
    detail: Mapping[str, object] = field(default_factory=dict[str, object])
    """What the audit log keeps beside the target; never a secret."""
    derived: bool = False
    """Whether it only keeps what follows from what is there: nobody's access changes, and nobody did anything that
    belongs into the audit log."""


class Writer:
    """Carry out one write at a time.

    A write runs to its end even if whoever asked for it is cancelled: were it cut between the commit and the change
    in memory, the two would disagree until the next start.
    """

    def __init__(self, database: Database, clock: Callable[[], float], committed: Callable[[], None]) -> None:
        """Take the database, the time in seconds since the epoch, and what to call once access has changed."""
        self._database = database
        self._clock = clock
        self._committed = committed
        self._lock = asyncio.Lock()
        self._pending: set[asyncio.Task[Any]] = set()
        self._callbacks: list[Callable[[Change], Awaitable[None]]] = []

    def on_change(self, callback: Callable[[Change], Awaitable[None]]) -> None:
        """Await `callback` after each write that changes somebody's access, before the write returns."""
        self._callbacks.append(callback)

    async def write(self, prepare: Callable[[int], Write[T]], actor: str = "", facade: str = "") -> T:
        """Carry out what `prepare` returns; it gets the time in microseconds and validates under the lock.

        Raises what `prepare` raises, DatabaseUnavailable, or Overloaded; then neither file nor memory has changed.
        """
        if len(self._pending) >= _MAX_PENDING:
            raise Overloaded("Too many changes are waiting to be written.")
        task = asyncio.ensure_future(self._write(prepare, actor, facade))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        return await asyncio.shield(task)

    async def _write(self, prepare: Callable[[int], Write[T]], actor: str, facade: str) -> T:
        async with self._lock:
            at = round(self._clock() * 1_000_000)
            write = prepare(at)
            statements = [*write.statements]
            if not write.derived:
                detail = json.dumps(write.detail, ensure_ascii=False)
                statements.append(Statement(_AUDIT, [(at, actor, facade, write.action, write.target, detail)]))
            await self._database.transact(statements)
            write.apply()
            if not write.derived:
                self._committed()
        # Outside the lock, so that a callback may itself write. All are told before the first failure is reported:
        # one that fails must not leave the sessions of another open.
        if write.change != NO_CHANGE:
            told = await asyncio.gather(
                *(callback(write.change) for callback in self._callbacks), return_exceptions=True
            )
            for outcome in told:
                if isinstance(outcome, BaseException):
                    raise outcome
        return write.result

    async def close(self) -> None:
        """Wait until the writes under way have ended."""
        while self._pending:
            await asyncio.wait(self._pending)
