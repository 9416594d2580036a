"""Where rules come from and in which order they are asked, and how decisions are treated: EMQX's `authorization`.

The built-in database's rules are in tables of their own, as is what holds where no rule fits; all else is one value of
the stored configuration.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from logging import getLogger
from typing import Any, Literal, NamedTuple, Unpack, cast, get_args

from ..broker.routing.topics import InvalidTopic, check_filter
from .acl.decision_cache import MAX_DECISIONS, CacheLimits
from .acl.file_rules import MAX_SIZE, read_rules
from .acl.policy import Policy
from .acl.tallies import Tally
from .background_work import full_collection_put_off
from .configurations import Configurations
from .database import Database
from .default_access import DefaultAccess
from .errors import AlreadyExists, Invalid, NotFound
from .records import Change, Permission, Rule
from .rules import MAX_RULES
from .source_order import (
    NO_FILE,
    BuiltInSource,
    FilePolicy,
    FileSource,
    Source,
    SourceOrder,
    SourceType,
    arrange,
)
from .writer import Origin, Write, Writer

DenyAction = Literal["ignore", "disconnect"]

FIRST_FILE = """\
%% Who may read what the broker says about itself. The first rule that fits decides; where none does, the next
%% source is asked, and in the end `no_match` holds.
{allow, {username, "dashboard"}, subscribe, ["$SYS/#"]}.
{allow, {ipaddrs, ["127.0.0.1", "::1"]}, subscribe, ["$SYS/#"]}.
{deny, all, subscribe, ["$SYS/#"]}.
"""
"""The file source of a new server. EMQX's own goes on to allow everything to whoever comes from the same machine, and
everything else to everybody."""

MAX_CACHE = 1_048_576
MAX_EXCLUDES = 1_000
MAX_TTL = 10 * 366 * 86_400.0

_NAME = "authorization_sources"
_QUICK = 4_096
"""Bytes of rules that are read without leaving the event loop."""
_NOTHING_HERE = "%% There are no rules.\n"

_logger = getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Say what is kept of the decisions on each client."""

    enabled: bool = True
    max_size: int = MAX_DECISIONS
    ttl: float = 60.0
    """Seconds."""
    ttl_text: str = "1m"
    """The same as it was written."""
    excludes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _State:
    """Hold all that is stored here."""

    deny_action: DenyAction = "ignore"
    cache: CacheSettings = CacheSettings()
    sources: tuple[Source, ...] = (FileSource(_NOTHING_HERE), BuiltInSource())


class SourceReport(NamedTuple):
    """Say how a source does."""

    type: SourceType
    enabled: bool
    allow: int
    deny: int
    nomatch: int
    total: int
    rate: float
    """Decisions of the last second that is over."""
    rate_last5m: float
    rate_max: float
    rules: int
    """Rules of the file, one for each topic; or how many the built-in database has rules for."""


class Sources:
    """Own the order of the sources, what the file says and the settings of authorization."""

    def __init__(
        self,
        writer: Writer,
        configurations: Configurations,
        defaults: DefaultAccess,
        clock: Callable[[], float],
        count_built_in: Callable[[], int],
    ) -> None:
        """Take what writes; `count_built_in` says how much there is in the built-in database."""
        self._writer = writer
        self._configurations = configurations
        self._defaults = defaults
        self._clock = clock
        self._count_built_in = count_built_in
        self._tallies: dict[SourceType, Tally] = {each: Tally(clock) for each in get_args(SourceType)}
        self._unmatched = Tally(clock)
        self._allowed = self._denied = 0
        """By sources that are no more."""
        self._state = _State()
        self._order = arrange(self._state.sources, NO_FILE, self._tallies, self._unmatched)
        self._limits = self._limits_of(self._state.cache)

    async def load(self, database: Database) -> None:
        """Take what is stored; the configurations must have been loaded."""
        stored = self._configurations.get(_NAME)
        if stored is None:
            return
        try:
            state = _from_json(stored)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            _logger.error("the stored sources of rules are not known to this release, so all is denied: %r", error)
            state = _State(sources=(FileSource("{deny, all}.\n"),))
        file = NO_FILE
        for source in state.sources:
            if isinstance(source, FileSource):
                file = await self._compiled_again(source)
        self._state = state
        self._order = arrange(state.sources, file, self._tallies, self._unmatched)
        self._limits = self._limits_of(state.cache)

    async def _compiled_again(self, source: FileSource) -> FilePolicy:
        try:
            return await compile_file(source.rules)
        except Invalid as error:
            # It was valid when it was written. Were it left out, what it denies would be allowed by others.
            _logger.error("the rules of the file source cannot be used, so it denies everything: %s", error.message)
            denied = Policy.of_rules([Rule("#", "deny", "all"), Rule("$SYS/#", "deny", "all")])
            return FilePolicy(0, denied, denied)

    # -- what holds

    @property
    def all(self) -> tuple[Source, ...]:
        """The sources in the order in which they are asked."""
        return self._state.sources

    @property
    def order(self) -> SourceOrder:
        """How the layers of a client are put together; replaced, never altered."""
        return self._order

    @property
    def limits(self) -> CacheLimits:
        """What is kept of decisions; replaced, never altered."""
        return self._limits

    @property
    def cache(self) -> CacheSettings:
        """The same as it was set."""
        return self._state.cache

    @property
    def deny_action(self) -> DenyAction:
        """What a client meets that does what it may not."""
        return self._state.deny_action

    @property
    def no_match(self) -> Permission:
        """What holds for publish and subscribe where no rule fits."""
        return self._defaults.no_match

    def get(self, source_type: str) -> Source | None:
        """Return the source of a type, None where there is none."""
        return next((source for source in self._state.sources if source.type == source_type), None)

    def report(self) -> list[SourceReport]:
        """Say how the sources do, in their order."""
        return [self._report(source) for source in self._state.sources]

    @property
    def decided(self) -> tuple[int, int, int]:
        """How often a source allowed something, how often one denied it, and how often none had an answer."""
        tallies, unmatched = self._tallies.values(), self._unmatched
        return (
            self._allowed + sum(tally.allow for tally in tallies),
            self._denied + sum(tally.deny for tally in tallies),
            unmatched.allow + unmatched.deny,
        )

    def _report(self, source: Source) -> SourceReport:
        tally = self._tallies[source.type]
        rate = tally.rate
        return SourceReport(
            source.type,
            source.enabled,
            tally.allow,
            tally.deny,
            tally.nomatch,
            rate.total,
            rate.now,
            rate.last_5_minutes,
            rate.fastest,
            self._order.file.rules if source.type == "file" else self._count_built_in(),
        )

    # -- writes

    async def create(self, source: Source, **origin: Unpack[Origin]) -> None:
        """Put a source before all others; raise AlreadyExists where there is one of its type."""
        file = await _compiled(source)

        def prepare() -> Write[None]:
            if self.get(source.type) is not None:
                raise AlreadyExists(f"There is a source of the type '{source.type}' already.")
            return self._write("create", source.type, (source, *self._state.sources), file)

        await self._writer.write(lambda at: prepare(), **origin)

    async def update(self, source: Source, **origin: Unpack[Origin]) -> None:
        """Put a source in the place of that of its type; raise NotFound where there is none."""
        file = await _compiled(source)

        def prepare() -> Write[None]:
            self._existing(source.type)
            sources = [source if each.type == source.type else each for each in self._state.sources]
            return self._write("update", source.type, sources, file)

        await self._writer.write(lambda at: prepare(), **origin)

    async def delete(self, source_type: str, **origin: Unpack[Origin]) -> None:
        """Take a source out; what is in the built-in database stays there, and counts no more."""

        def prepare() -> Write[None]:
            gone = self._existing(source_type)
            sources = [source for source in self._state.sources if source is not gone]
            return self._write("delete", gone.type, sources, NO_FILE if gone.type == "file" else None)

        await self._writer.write(lambda at: prepare(), **origin)

    async def move(self, source_type: str, position: str, **origin: Unpack[Origin]) -> None:
        """Put a source at the `front`, the `rear`, or `before:` or `after:` another type."""

        def prepare() -> Write[None]:
            moved = self._existing(source_type)
            others = [source for source in self._state.sources if source is not moved]
            others.insert(_place(others, position), moved)
            return self._write("move", moved.type, others, None, position=position)

        await self._writer.write(lambda at: prepare(), **origin)

    async def reorder(self, types: Sequence[str], **origin: Unpack[Origin]) -> None:
        """Put all sources in a new order; raise Invalid unless each is named once."""

        def prepare() -> Write[None]:
            known = {source.type: source for source in self._state.sources}
            if len(types) != len(known) or set(types) != set(known):
                raise Invalid("The order must name each source once and no other.")
            return self._write("reorder", ", ".join(types), [known[cast("SourceType", each)] for each in types], None)

        await self._writer.write(lambda at: prepare(), **origin)

    async def configure(
        self,
        no_match: str,
        deny_action: str,
        cache: CacheSettings,
        sources: Sequence[Source] | None = None,
        **origin: Unpack[Origin],
    ) -> None:
        """Set what holds where no rule fits, what a denied client meets, and what is kept of decisions.

        All sources are replaced where some are given.
        """
        _check_settings(deny_action, cache)
        file: FilePolicy | None = None
        if sources is not None:
            if len({source.type for source in sources}) != len(sources):
                raise Invalid("There can be one source of each type.")
            file = NO_FILE
            for source in sources:
                file = await _compiled(source) or file

        def prepare() -> Write[None]:
            state = replace(self._state, deny_action=cast("DenyAction", deny_action), cache=cache)
            order = self._order
            if sources is not None and file is not None:
                state = replace(state, sources=tuple(sources))
                order = arrange(state.sources, file, self._tallies, self._unmatched)
            defaults = self._defaults.set_no_match(no_match)
            anew = cache != self._state.cache
            write = self._put(state, order, self._limits_of(cache) if anew else self._limits).followed_by(defaults)
            return replace(
                write,
                action="authorization.settings",
                target="authorization",
                change=Change(everyone=anew or order is not self._order or defaults.change.everyone),
                detail={"no_match": no_match, "deny_action": deny_action, "cache": asdict(cache)}
                | _names(state.sources),
            )

        await self._writer.write(lambda at: prepare(), **origin)

    def _existing(self, source_type: str) -> Source:
        source = self.get(source_type)
        if source is None:
            raise NotFound(f"Not found: {source_type[:200]}")
        return source

    def _write(
        self, what: str, target: str, sources: Sequence[Source], file: FilePolicy | None, **detail: object
    ) -> Write[None]:
        """Prepare other sources; `file` is None where the file's rules stay the same."""
        state = replace(self._state, sources=tuple(sources))
        order = arrange(state.sources, self._order.file if file is None else file, self._tallies, self._unmatched)
        return replace(
            self._put(state, order, self._limits),
            action=f"authorization.source.{what}",
            target=target,
            change=Change(everyone=True),
            detail={**detail, **_names(sources)},
        )

    def _put(self, state: _State, order: SourceOrder, limits: CacheLimits) -> Write[None]:
        write = self._configurations.putting(_NAME, _to_json(state))
        kept = {source.type for source in state.sources}
        gone: list[SourceType] = [each for each in get_args(SourceType) if each not in kept]

        def apply() -> None:
            write.apply()
            self._state, self._order, self._limits = state, order, limits
            for each in gone:
                self._allowed += self._tallies[each].allow
                self._denied += self._tallies[each].deny
                self._tallies[each] = Tally(self._clock)

        return replace(write, apply=apply)

    def _limits_of(self, cache: CacheSettings) -> CacheLimits:
        return CacheLimits(
            enabled=cache.enabled,
            max_decisions=cache.max_size,
            ttl=cache.ttl,
            excludes=cache.excludes,
            clock=self._clock,
        )


async def compile_file(text: str) -> FilePolicy:
    """Read and compile the rules of a file, long ones in a thread; raise Invalid."""
    if len(text) > MAX_SIZE:
        raise Invalid(f"The rules must not be longer than {MAX_SIZE} bytes.")
    return _compile(text) if len(text) <= _QUICK else await asyncio.to_thread(_compile, text)


def _compile(text: str) -> FilePolicy:
    with full_collection_put_off():
        rules = read_rules(text)
        if not rules:
            return NO_FILE
        policy = Policy.of_rules(rules)
        return FilePolicy(len(rules), policy, policy.without_allows())


async def _compiled(source: Source) -> FilePolicy | None:
    """Check a source; return the compiled rules of a file."""
    if isinstance(source, FileSource):
        return await compile_file(source.rules)
    if source.max_rules is not None and not 1 <= source.max_rules <= MAX_RULES:
        raise Invalid(f"The greatest number of rules must be between 1 and {MAX_RULES}.")
    return None


def _place(others: Sequence[Source], position: str) -> int:
    if position == "front":
        return 0
    if position == "rear":
        return len(others)
    where, _, relative = position.partition(":")
    place = next((number for number, source in enumerate(others) if source.type == relative), None)
    if where not in ("before", "after") or place is None:
        raise Invalid("The position must be front, rear, or before: or after: another source's type.")
    return place + (where == "after")


def _names(sources: Sequence[Source]) -> dict[str, object]:
    return {"sources": [source.type if source.enabled else f"{source.type} (off)" for source in sources]}


def _check_settings(deny_action: str, cache: CacheSettings) -> None:
    if deny_action not in get_args(DenyAction):
        raise Invalid("deny_action must be 'ignore' or 'disconnect'.")
    if not 1 <= cache.max_size <= MAX_CACHE:
        raise Invalid(f"The size of the cache must be between 1 and {MAX_CACHE}.")
    if not 0 <= cache.ttl <= MAX_TTL:
        raise Invalid("The time to live of the cache must be between 0 and ten years.")
    if len(cache.excludes) > MAX_EXCLUDES:
        raise Invalid(f"There must not be more than {MAX_EXCLUDES} topics that are not cached.")
    for topic_filter in cache.excludes:
        try:
            check_filter(topic_filter)
        except InvalidTopic as error:
            raise Invalid(f"The topic '{topic_filter[:200]}' is not valid: {error}.") from None


def _to_json(state: _State) -> dict[str, object]:
    return {
        "deny_action": state.deny_action,
        "cache": asdict(state.cache),
        "sources": [asdict(source) for source in state.sources],
    }


def _from_json(stored: Mapping[str, Any]) -> _State:
    cache: dict[str, Any] = {**stored["cache"], "excludes": tuple(stored["cache"]["excludes"])}
    kinds: dict[str, type[Source]] = {"file": FileSource, "built_in_database": BuiltInSource}
    return _State(
        stored["deny_action"],
        CacheSettings(**cache),
        tuple(kinds[source["type"]](**source) for source in stored["sources"]),
    )
