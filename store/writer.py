"""The one way to change anything: validate, commit, apply to memory, tell those concerned."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Generic, TypedDict, TypeVar

from .database import Database, Statement
from .errors import Overloaded
from .names import check_text
from .records import NO_CHANGE, BanTest, Change

T = TypeVar("T")


class Origin(TypedDict, total=False):
    """Say who writes and by which way; both go into the audit log."""

    actor: str
    facade: str


_AUDIT = "INSERT INTO audit_log (at, actor, facade, action, target, detail) VALUES (?, ?, ?, ?, ?, ?)"
_MAX_PENDING = 1_000
_MAX_ORIGIN = 65_535
"""Characters; an operator may be named as a user."""


@dataclass(frozen=True, slots=True)
class Write(Generic[T]):
    """Describe one validated change; `apply` must not fail, for the commit is behind it."""

    action: str
    target: str
    statements: Sequence[Statement] = field(repr=False)
    apply: Callable[[], None]
    result: T = field(repr=False)
    change: Change = NO_CHANGE
    detail: Mapping[str, object] = field(default_factory=dict[str, object])
    """What the audit log keeps beside the target; never a secret."""
    derived: bool = False
    """Whether it only keeps what follows from what is there: nobody's access changes, and nobody did anything that
    belongs into the audit log."""

    def followed_by(self, *others: "Write[None]") -> "Write[T]":
        """Join writes into one transaction; action, target and result stay this one's."""
        writes: tuple[Write[Any], ...] = (self, *others)

        def apply() -> None:
            for write in writes:
                write.apply()

        return replace(
            self,
            statements=[statement for write in writes for statement in write.statements],
            apply=apply,
            change=merge(*(write.change for write in writes)),
            detail={key: value for write in writes for key, value in write.detail.items()},
        )


def merge(*changes: Change) -> Change:
    """Say in one what several changes mean for the sessions."""
    banned: BanTest | None = None
    for change in changes:
        banned = _either(banned, change.banned)
    return Change(
        end_principals=_union(change.end_principals for change in changes),
        close_principals=_union(change.close_principals for change in changes),
        close_anonymous=any(change.close_anonymous for change in changes),
        banned_client_ids=_union(change.banned_client_ids for change in changes),
        banned_usernames=_union(change.banned_usernames for change in changes),
        required_client_ids=_last(change.required_client_ids for change in changes),
        reserved_client_ids=_last(change.reserved_client_ids for change in changes),
        banned=banned,
        principals=_union(change.principals for change in changes),
        usernames=_union(change.usernames for change in changes),
        client_ids=_union(change.client_ids for change in changes),
        anonymous=any(change.anonymous for change in changes),
        everyone=any(change.everyone for change in changes),
        valid_until=_last(change.valid_until for change in changes),
    )


def _union(names: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset(chain.from_iterable(names))


def _last(mappings: Iterable[Mapping[str, T]]) -> dict[str, T]:
    return {key: value for mapping in mappings for key, value in mapping.items()}


def _either(one: BanTest | None, other: BanTest | None) -> BanTest | None:
    if one is None or other is None:
        return one or other
    return lambda client_id, username, peer: one(client_id, username, peer) or other(client_id, username, peer)


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

    def on_change(self, callback: Callable[[Change], Awaitable[None]]) -> Callable[[], None]:
        """Await `callback` after each write that changes somebody's access, before the write returns.

        Returns what ends that; a second call of it does nothing.
        """
        self._callbacks.append(callback)

        def unregister() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return unregister

    async def write(
        self, prepare: Callable[[int], Write[T]], actor: str = "", facade: str = "", *, in_thread: bool = False
    ) -> T:
        """Carry out what `prepare` returns; it gets the time in microseconds and validates under the lock.

        One that takes long runs `in_thread`. It may read all that only writes alter, for no other one comes to its
        turn meanwhile, and must alter nothing. Raises what `prepare` raises, Invalid, DatabaseUnavailable, or
        Overloaded; then neither file nor memory has changed.
        """
        check_text(actor, "name of who writes", _MAX_ORIGIN)
        check_text(facade, "name of the facade", _MAX_ORIGIN)
        if len(self._pending) >= _MAX_PENDING:
            raise Overloaded("Too many changes are waiting to be written.")
        task = asyncio.ensure_future(self._write(prepare, actor, facade, in_thread))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        return await asyncio.shield(task)

    async def _write(self, prepare: Callable[[int], Write[T]], actor: str, facade: str, in_thread: bool) -> T:
        async with self._lock:
            at = round(self._clock() * 1_000_000)
            write = await asyncio.to_thread(prepare, at) if in_thread else prepare(at)
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
