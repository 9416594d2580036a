"""Who is kept out, by whom and until when: in memory in the order of time, and ready to be asked at each CONNECT.

A ban holds until its end and no longer: from that microsecond on its client gets in, no list shows it and it may be
made anew, though its row stays until the next sweep.
"""

import logging
from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Unpack, cast, get_args

from .audit_details import names
from .ban_index import EXPRESSION_TYPES, BanIndex, Target
from .database import Database, Statement
from .errors import AlreadyExists, Invalid, NotFound
from .names import check_text, shown
from .records import LAST_SECOND, NO_CHANGE, Ban, BanType, Change, to_microseconds, to_seconds
from .writer import Origin, Write, Writer

MAX_BANS = 100_000
MAX_EXPRESSIONS = 1_000
_MAX_BY = 1_000
_MAX_REASON = 10_000
_SWEPT_AT_ONCE = 1_000

_LOAD = "SELECT who_type, who, by, reason, at, until FROM ban ORDER BY at, who_type, who"
_PUT = "INSERT OR REPLACE INTO ban (who_type, who, by, reason, at, until) VALUES (?, ?, ?, ?, ?, ?)"
_DELETE = "DELETE FROM ban WHERE who_type = ? AND who = ?"
_DELETE_ALL = Statement("DELETE FROM ban", [()])

_WHAT: dict[BanType, str] = {
    "clientid": "client id",
    "username": "user name",
    "peerhost": "address",
    "clientid_re": "regular expression of client ids",
    "username_re": "regular expression of user names",
    "peerhost_net": "network",
}

_Key = tuple[BanType, str]

_logger = logging.getLogger(__name__)


class Bans:
    """Own the bans in memory and write them."""

    def __init__(self, writer: Writer, clock: Callable[[], float]) -> None:
        self._writer = writer
        self._clock = clock
        self._by_key: dict[_Key, tuple[Target, Ban]] = {}
        self._in_order: list[Ban] = []
        self._index = BanIndex(clock)

    async def load(self, database: Database) -> None:
        """Read all bans."""
        for who_type, who, by, reason, at, until in await database.read(_LOAD):
            try:
                target = Target.parse(who_type, who)
            except Invalid as error:
                # Such as an expression that the engine no longer takes: no reason to keep everybody out.
                _logger.error("The ban of %s %r does not hold: %s", who_type, shown(who), error.message)
                continue
            self._put(target, Ban(who_type, target.who, by, reason, at / 1_000_000, to_seconds(until)))

    def find(self, client_id: str, peer_host: str) -> Ban | None:
        """Return a ban that keeps out who has this client id or comes from this address, None where there is none."""
        return self._index.find(client_id, peer_host)

    def find_username(self, username: str) -> Ban | None:
        """Return a ban that keeps out who has this user name, None where there is none."""
        return self._index.find_username(username)

    def all(self) -> Sequence[Ban]:
        """Return the bans that hold, oldest first."""
        now = self._clock()
        return [ban for ban in self._in_order if ban.until is None or now < ban.until]

    def get(self, who_type: str, who: str) -> Ban | None:
        """Return the ban of exactly this, if it holds; `who` in any spelling. Raises Invalid for an unknown type."""
        target = self._read(who_type, who)
        return None if target is None else self._holding(target, self._clock())

    async def create(
        self,
        who_type: str,
        who: str,
        *,
        by: str = "",
        reason: str = "",
        at: float | None = None,
        until: float | None = None,
        **origin: Unpack[Origin],
    ) -> Ban:
        """Ban somebody, until `until` or for ever, and close the live sessions that this concerns.

        `at` says when it was decided (None: now) and has no effect. Raises AlreadyExists while there is such a ban.
        """
        return await self._writer.write(lambda now: self._create(who_type, who, by, reason, at, until, now), **origin)

    async def put(self, bans: Sequence[Ban], **origin: Unpack[Origin]) -> int:
        """Have these bans in place of those of the same targets, in one transaction; return how many were not there.

        Those that have ended are left out. Raises Invalid, and has then written none.
        """
        return await self._writer.write(lambda now: self._put_many(bans, now), **origin)

    def stored(self) -> Sequence[Ban]:
        """Return all bans, those that have ended until the next sweep, too."""
        return [*self._in_order]

    async def delete(self, who_type: str, who: str, **origin: Unpack[Origin]) -> None:
        """Let somebody in again; raise NotFound where there is no such ban."""
        await self._writer.write(lambda now: self._delete(who_type, who, now), **origin)

    async def delete_all(self, **origin: Unpack[Origin]) -> None:
        """Let everybody in again."""
        await self._writer.write(lambda now: self._delete_all(), **origin)

    async def sweep(self) -> int:
        """Delete the bans that have ended and return how many; other writes get their turn in between."""
        now = self._clock()
        ended = iter([ban for ban in self._in_order if ban.until is not None and ban.until <= now])
        swept = 0
        while slice_ := list(islice(ended, _SWEPT_AT_ONCE)):
            swept += await self._writer.write(partial(self._sweep, slice_))
        return swept

    def _create(
        self, who_type: str, who: str, by: str, reason: str, at: float | None, until: float | None, now: int
    ) -> Write[Ban]:
        target = Target.parse(_check_type(who_type), who)
        check_text(by, "name of who bans", _MAX_BY)
        check_text(reason, "reason", _MAX_REASON)
        begins = now if at is None else _check_time(at, "time of the ban")
        ends = None if until is None else _check_time(until, "end of the ban")
        if ends is not None and ends <= now:
            raise Invalid("The end of the ban must not be in the past.")
        if self._holding(target, now / 1_000_000) is not None:
            raise AlreadyExists(f"The {_WHAT[target.who_type]} '{shown(target.who)}' is banned already.")
        self._check_room(target)
        ban = Ban(target.who_type, target.who, by, reason, begins / 1_000_000, to_seconds(ends))
        return Write(
            action="ban.create",
            target=f"{ban.who_type}:{ban.who}",
            statements=[Statement(_PUT, [(ban.who_type, ban.who, by, reason, begins, ends)])],
            apply=lambda: self._put(target, ban),
            result=ban,
            change=_change(target),
            detail={"by": by, "reason": reason, "until": ban.until},
        )

    def _put_many(self, bans: Sequence[Ban], now: int) -> Write[int]:
        coming: dict[_Key, tuple[Target, Ban]] = {}
        rows: dict[_Key, tuple[object, ...]] = {}
        expressions = 0
        for given in bans:
            target = Target.parse(_check_type(given.who_type), given.who)
            check_text(given.by, "name of who bans", _MAX_BY)
            check_text(given.reason, "reason", _MAX_REASON)
            begins = _check_time(given.at, "time of the ban")
            ends = None if given.until is None else _check_time(given.until, "end of the ban")
            ban = replace(given, who=target.who, at=begins / 1_000_000, until=to_seconds(ends))
            key = _key(ban)
            if (ends is not None and ends <= now) or self._by_key.get(key, (None, None))[1] == ban:
                continue
            rows[key] = (*key, ban.by, ban.reason, begins, ends)
            if key not in coming and key not in self._by_key and target.who_type in EXPRESSION_TYPES:
                expressions += 1
            coming[key] = (target, ban)
        if len(self._by_key.keys() | coming.keys()) > MAX_BANS:
            raise Invalid(f"There must not be more than {MAX_BANS} bans.")
        if self._index.expressions + expressions > MAX_EXPRESSIONS:
            raise Invalid(f"There must not be more than {MAX_EXPRESSIONS} bans by regular expression.")
        index = BanIndex(self._clock)
        for target, ban in coming.values():
            index.put(target, ban)

        def is_meant(client_id: str, username: str | None, peer_host: str) -> bool:
            if index.find(client_id, peer_host) is not None:
                return True
            return username is not None and index.find_username(username) is not None

        def apply() -> None:
            for target, ban in coming.values():
                self._put(target, ban)

        return Write(
            action="ban.put",
            target=f"{len(coming)} bans",
            statements=[Statement(_PUT, [*rows.values()])],
            apply=apply,
            result=len(coming),
            change=Change(banned=is_meant) if coming else NO_CHANGE,
            detail={"bans": names(f"{kind}:{who}" for kind, who in coming)},
        )

    def _delete(self, who_type: str, who: str, now: int) -> Write[None]:
        target = self._read(who_type, who)
        ban = None if target is None else self._holding(target, now / 1_000_000)
        if ban is None:
            raise NotFound(f"There is no ban of the {_WHAT[_check_type(who_type)]} '{shown(who)}'.")
        return Write(
            action="ban.delete",
            target=f"{ban.who_type}:{ban.who}",
            statements=[Statement(_DELETE, [(ban.who_type, ban.who)])],
            apply=lambda: self._remove([ban]),
            result=None,
        )

    def _delete_all(self) -> Write[None]:
        def apply() -> None:
            self._by_key.clear()
            self._in_order.clear()
            self._index = BanIndex(self._clock)

        detail = {"bans": len(self._by_key)}
        return Write("ban.delete_all", "*", [_DELETE_ALL], apply, None, NO_CHANGE, detail)

    def _sweep(self, ended: Collection[Ban], now: int) -> Write[int]:
        # What was deleted or made anew since is not what ended.
        still = [ban for ban in ended if self._by_key.get(_key(ban), (None, None))[1] is ban]
        return Write(
            action="ban.sweep",
            target="*",
            statements=[Statement(_DELETE, [(ban.who_type, ban.who) for ban in still])],
            apply=lambda: self._remove(still),
            result=len(still),
            derived=True,
        )

    def _read(self, who_type: str, who: str) -> Target | None:
        """Read what somebody asks for; None for what can never have been banned."""
        checked = _check_type(who_type)
        try:
            return Target.parse(checked, who)
        except Invalid:
            return None

    def _holding(self, target: Target, now: float) -> Ban | None:
        _, ban = self._by_key.get((target.who_type, target.who), (None, None))
        return None if ban is None or (ban.until is not None and ban.until <= now) else ban

    def _check_room(self, target: Target) -> None:
        if (target.who_type, target.who) in self._by_key:
            return  # an ended one makes way
        if len(self._by_key) >= MAX_BANS:
            raise Invalid(f"There must not be more than {MAX_BANS} bans.")
        if target.who_type in EXPRESSION_TYPES and self._index.expressions >= MAX_EXPRESSIONS:
            raise Invalid(f"There must not be more than {MAX_EXPRESSIONS} bans by regular expression.")

    def _put(self, target: Target, ban: Ban) -> None:
        _, old = self._by_key.get(_key(ban), (None, None))
        if old is not None:
            self._remove([old])
        self._by_key[_key(ban)] = (target, ban)
        self._index.put(target, ban)
        if not self._in_order or _age(self._in_order[-1]) < _age(ban):
            self._in_order.append(ban)  # as nearly all are; at the start all
        else:
            insort(self._in_order, ban, key=_age)

    def _remove(self, bans: Collection[Ban]) -> None:
        for ban in bans:
            target, _ = self._by_key.pop(_key(ban))
            self._index.remove(target)
        if len(bans) == 1:
            (ban,) = bans
            del self._in_order[bisect_left(self._in_order, _age(ban), key=_age)]
        else:
            gone = set(map(id, bans))
            self._in_order = [ban for ban in self._in_order if id(ban) not in gone]


def _key(ban: Ban) -> _Key:
    return (ban.who_type, ban.who)


def _age(ban: Ban) -> tuple[float, BanType, str]:
    return (ban.at, ban.who_type, ban.who)


def _change(target: Target) -> Change:
    match target.who_type:
        case "clientid":
            return Change(banned_client_ids=frozenset({target.who}))
        case "username":
            return Change(banned_usernames=frozenset({target.who}))
        case _:
            return Change(banned=target.test())


def _check_type(who_type: str) -> BanType:
    if who_type not in get_args(BanType):
        raise Invalid(f"The type of a ban must be one of {', '.join(get_args(BanType))}.")
    return cast("BanType", who_type)


def _check_time(seconds: float, what: str) -> int:
    if not 0 <= seconds <= LAST_SECOND:
        raise Invalid(f"The {what} must be between the years 1970 and 9999.")
    return cast("int", to_microseconds(seconds))
