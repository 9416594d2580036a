"""The authenticators in their order: set up, changed and stored by the operator, in force at once for new connections.

What they are asked with, and what comes of their answers, is the business of `store.authentication`.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from logging import getLogger
from typing import NamedTuple, Unpack

from ..audit_details import names
from ..configurations import Configurations
from ..credentials.new_hashes import is_hashed_here, is_kept_as
from ..credentials.password_formats import EmqxAlgorithm
from ..credentials.passwords import Passwords
from ..credentials.scram_login import DEFAULT_ITERATIONS, ScramLogins
from ..credentials.stored_secrets import PLAIN, StoredSecret
from ..database import Database
from ..errors import AlreadyExists, Invalid, NotFound
from ..login_statements import in_bulk
from ..logins import Logins, StoredLogin
from ..names import shown
from ..principals import delete_principal
from ..records import Change, Login
from ..tenants import DEFAULT_TENANT, Tenants
from ..writer import Origin, Write, Writer
from .counts import Counts, CountsShown
from .key_source import KeyFetcher, KeySource, Status
from .settings import (
    DATABASE_ID,
    FIRST_CHAIN,
    SCRAM_ID,
    DatabaseSettings,
    JwtSettings,
    ScramSettings,
    Settings,
    from_fields,
    to_fields,
)
from .token_authenticator import TokenAuthenticator

NAME = "authenticators"
"""Under which the chain is stored."""

_logger = getLogger(__name__)


class AuthenticatorReport(NamedTuple):
    """Say how an authenticator is doing."""

    id: str
    enabled: bool
    status: Status
    problem: str
    """Why it is not connected; empty where it is."""
    counts: CountsShown
    users_count: int | None
    """None where it has no users of its own."""


class Entry:
    """Hold one authenticator of the chain."""

    __slots__ = ("counts", "settings", "tokens")

    def __init__(self, settings: Settings, counts: Counts, tokens: TokenAuthenticator | None = None) -> None:
        self.settings = settings
        self.counts = counts
        self.tokens = tokens
        """None where it does not decide on tokens."""

    def start(self) -> None:
        """Keep its keys up to date from now on, where it has any that may change and is switched on."""
        if self.tokens is not None and self.settings.enable:
            self.tokens.source.start()

    async def close(self) -> None:
        """Stop what goes on by itself."""
        if self.tokens is not None:
            await self.tokens.source.close()


class Authenticators:
    """Own the chain; each change comes as one write to the store."""

    def __init__(
        self,
        writer: Writer,
        configurations: Configurations,
        logins: Logins,
        tenants: Tenants,
        passwords: Passwords,
        scram: ScramLogins,
        clock: Callable[[], float],
    ) -> None:
        self._writer = writer
        self._configurations = configurations
        self._logins = logins
        self._tenants = tenants
        self._passwords = passwords
        self._scram = scram
        self._own_iterations = scram.iterations
        self._clock = clock
        self._fetcher: KeyFetcher | None = None
        scram.admits = self._admits_scram
        scram.decided = self._count_scram
        self._entries: tuple[Entry, ...] = ()
        self.enabled: tuple[Entry, ...] = ()
        """What is asked about passwords and tokens, in order."""
        self.only_database: Counts | None = None
        """The counters of the only authenticator, where that is the built-in database by user name; else None."""
        self._database: DatabaseSettings | None = None
        self._put([self._entry(settings) for settings in FIRST_CHAIN])

    async def load(self, database: Database) -> None:
        """Set up what is stored; one that cannot do its work is there all the same, and lets nobody in."""
        stored = self._configurations.get(NAME)
        if stored is None:
            return
        entries: list[Entry] = []
        for fields in stored:
            try:
                entry = self._entry(from_fields(fields))
            except (Invalid, ValueError, TypeError, AttributeError):
                _logger.error("an authenticator that is stored cannot be used, and is left out")
                continue
            if entry.tokens is not None and not entry.tokens.source.is_remote:
                await entry.tokens.source.try_to_load()
                entry.start()
            entries.append(entry)
        self._put(entries)

    def use_fetcher(self, fetcher: KeyFetcher) -> None:
        """Get keys that are published over HTTP, from now on."""
        self._fetcher = fetcher
        for entry in self._entries:
            entry.start()

    async def close(self) -> None:
        """Stop what goes on by itself."""
        for entry in self._entries:
            await entry.close()

    # Reading

    def all(self) -> list[Settings]:
        """Return the settings of all authenticators in order."""
        return [self._effective(entry.settings) for entry in self._entries]

    def get(self, authenticator: str) -> Settings | None:
        """Return an authenticator's settings."""
        entry = self._find(authenticator)
        return None if entry is None else self._effective(entry.settings)

    def report(self) -> list[AuthenticatorReport]:
        """Say how all of them are doing."""
        return [self._report(entry) for entry in self._entries]

    def report_of(self, authenticator: str) -> AuthenticatorReport | None:
        """Say how one of them is doing."""
        entry = self._find(authenticator)
        return None if entry is None else self._report(entry)

    @property
    def takes_passwords_as_tokens(self) -> bool:
        """Whether a password may be a token."""
        return any(entry.tokens is not None and entry.tokens.takes == "password" for entry in self.enabled)

    def is_plain(self, login: Login) -> bool:
        """Tell whether a login is one of the built-in database's; organizations' logins stand beside the chain."""
        return login.kind == "mqtt_client" and login.tenant == self._tenants.required(DEFAULT_TENANT).id

    def admits(self, login: Login) -> bool:
        """Tell whether the chain, or its owner, lets a login be proved by its password."""
        if self.only_database is not None:
            return True
        database = self._database
        by_type = database is not None and (login.login_type == "clientid" or database.user_id_type == "username")
        return by_type or not self.is_plain(login)

    def keeps_form(self, stored: StoredLogin) -> bool:
        """Tell whether a login's hash is of the kind that the operator asked for, and so is not to be made anew."""
        algorithm = None if self._database is None else self._database.algorithm
        secret = stored.secret
        if algorithm is None or secret is None or not is_hashed_here(algorithm):
            return False
        return is_kept_as(secret, algorithm) and self.is_plain(stored.login)

    async def hash_password(self, password: str) -> StoredSecret:
        """Hash a password that is set through the built-in database; raise Invalid or Overloaded."""
        settings = self.get(DATABASE_ID)
        algorithm = settings.algorithm if isinstance(settings, DatabaseSettings) else None
        return await self._passwords.hash_as(password, algorithm)

    async def hash_imported(
        self, plain: Sequence[StoredSecret], algorithm: EmqxAlgorithm | None
    ) -> Sequence[StoredSecret]:
        """Hash imported passwords as an operator asked for; where that is as usual, they are left for it."""
        if algorithm is None or not is_hashed_here(algorithm) or any(secret.algo != PLAIN for secret in plain):
            return plain
        return await self._passwords.hash_many_as(plain, algorithm)

    # Writing

    async def create(self, settings: Settings, **origin: Unpack[Origin]) -> Settings:
        """Add an authenticator at the end; raise AlreadyExists, or Invalid where its keys cannot be had."""
        self._check_new(settings.id)
        entry = await self._open(settings)

        def prepare(at: int) -> Write[None]:
            self._check_new(settings.id)
            return self._write("authenticator.create", settings.id, [*self._entries, entry])

        await self._writer.write(prepare, **origin)
        entry.start()
        return self._effective(settings)

    async def update(self, authenticator: str, settings: Settings, **origin: Unpack[Origin]) -> None:
        """Set an authenticator up anew in its place; its counters begin at 0. Raises NotFound or Invalid."""
        self._existing(authenticator)
        if settings.id != authenticator:
            raise Invalid("An authenticator keeps its mechanism and backend.")
        entry = await self._open(settings)

        def prepare(at: int) -> Write[Entry]:
            old = self._existing(authenticator)
            entries = [entry if known is old else known for known in self._entries]
            return replace(self._write("authenticator.update", authenticator, entries), result=old)  # pyright: ignore[reportReturnType]

        old = await self._writer.write(prepare, **origin)
        await old.close()
        entry.start()

    async def delete(self, authenticator: str, **origin: Unpack[Origin]) -> None:
        """Take an authenticator out, the built-in database with its logins, whose sessions end; none is no error."""
        old = self._find(authenticator)
        if old is None:
            return

        def prepare(at: int) -> Write[None]:
            entries = [entry for entry in self._entries if entry.settings.id != authenticator]
            write = self._write("authenticator.delete", authenticator, entries)
            return write.followed_by(self._removal()) if authenticator == DATABASE_ID else write

        await self._writer.write(prepare, in_thread=authenticator == DATABASE_ID, **origin)
        await old.close()

    async def move(self, authenticator: str, position: str, **origin: Unpack[Origin]) -> None:
        """Move one to the `front`, the `rear`, `before:ID` or `after:ID`; raise Invalid or NotFound."""
        where, colon, reference = position.partition(":")
        if position not in ("front", "rear") and not (where in ("before", "after") and colon and reference):
            raise Invalid("The position must be front, rear, before:ID or after:ID.")

        def prepare(at: int) -> Write[None]:
            moved = self._existing(authenticator)
            others = [entry for entry in self._entries if entry is not moved]
            index = {"front": 0, "rear": len(others)}.get(position)
            if index is None:
                beside = self._existing(reference)
                if beside is moved:
                    raise Invalid("An authenticator cannot be moved to before or after itself.")
                index = others.index(beside) + (where == "after")
            entries = [*others[:index], moved, *others[index:]]
            return self._write("authenticator.move", authenticator, entries, {"position": position[:200]})

        await self._writer.write(prepare, **origin)

    async def reorder(self, order: Sequence[str], **origin: Unpack[Origin]) -> None:
        """Put all authenticators into this order; raise Invalid unless each is named once."""

        def prepare(at: int) -> Write[None]:
            known = {entry.settings.id: entry for entry in self._entries}
            if len(order) != len(known) or set(order) != set(known):
                raise Invalid("The order must name each authenticator once, and no others.")
            return self._write("authenticator.order", "all", [known[each] for each in order])

        await self._writer.write(prepare, **origin)

    async def replace(self, chain: Sequence[Settings], **origin: Unpack[Origin]) -> None:
        """Put a whole chain in the place of the present one; no logins go by it. Raises Invalid."""
        if len({settings.id for settings in chain}) != len(chain):
            raise Invalid("There can be one authenticator of a kind only.")
        known = {entry.settings.id: entry for entry in self._entries}
        entries: list[Entry] = []
        for settings in chain:
            old = known.get(settings.id)
            entries.append(old if old is not None and old.settings == settings else await self._open(settings))
        await self._writer.write(lambda at: self._write("authenticator.replace", "all", entries), **origin)
        for entry in known.values():
            if entry not in entries:
                await entry.close()
        for entry in entries:
            entry.start()

    def _write(
        self, action: str, target: str, entries: Iterable[Entry], detail: Mapping[str, object] | None = None
    ) -> Write[None]:
        after = tuple(entries)
        fields = [to_fields(entry.settings, masked=False) for entry in after]
        stored = self._configurations.putting(NAME, fields)

        def apply() -> None:
            stored.apply()
            self._put(after)

        order = {"chain": [entry.settings.id for entry in after if entry.settings.enable]}
        return replace(stored, action=action, target=shown(target), apply=apply, detail={**order, **(detail or {})})

    def _removal(self) -> Write[None]:
        """Prepare the end of all the built-in database's logins."""
        both = (*self._logins.of_type("username"), *self._logins.of_type("clientid"))
        plain = [login for login in both if self.is_plain(login)]
        ended = self._logins.with_children([login.id for login in plain])
        return Write(
            action="login.delete_all",
            target="built_in_database",
            statements=in_bulk([delete_principal(login.id) for login in plain]),
            apply=self._logins.change_many(ended, ()),
            result=None,
            change=Change(end_principals=ended),
            detail={"logins": len(plain), "removed": names(f"{each.login_type}:{each.login}" for each in plain)},
        )

    # Setting up

    def _entry(self, settings: Settings) -> Entry:
        counts = Counts(self._clock)
        if not isinstance(settings, JwtSettings):
            return Entry(settings, counts)
        source = KeySource(settings.keys, lambda: self._fetcher)
        return Entry(settings, counts, TokenAuthenticator(settings, source, self._clock))

    async def _open(self, settings: Settings) -> Entry:
        """Set an authenticator up; raise Invalid where its keys cannot be had, unless they come over the network."""
        entry = self._entry(settings)
        if entry.tokens is not None and not entry.tokens.source.is_remote:
            await entry.tokens.source.load()
        return entry

    def _put(self, entries: Collection[Entry]) -> None:
        """Put a chain in force."""
        self._entries = tuple(entries)
        self.enabled = tuple(
            [each for each in entries if each.settings.enable and not isinstance(each.settings, ScramSettings)]
        )
        databases = [each.settings for each in self.enabled if isinstance(each.settings, DatabaseSettings)]
        self._database = databases[0] if databases else None
        alone = len(self.enabled) == 1 and self._database is not None and self._database.user_id_type == "username"
        self.only_database = self.enabled[0].counts if alone else None
        scram = self._scram_settings
        self._scram.offered = scram is None or scram.enable
        self._set_iterations()

    @property
    def _scram_settings(self) -> ScramSettings | None:
        entry = self._find(SCRAM_ID)
        return entry.settings if entry is not None and isinstance(entry.settings, ScramSettings) else None

    def _set_iterations(self) -> None:
        scram, iterations = self._scram_settings, self._own_iterations
        if scram is not None:
            iterations = scram.iterations or iterations or DEFAULT_ITERATIONS
        if iterations != self._scram.iterations:
            self._scram.iterations = iterations
            self._passwords.set_scram_iterations(iterations)

    def _effective(self, settings: Settings) -> Settings:
        if isinstance(settings, ScramSettings) and settings.iterations is None:
            return replace(settings, iterations=self._own_iterations or DEFAULT_ITERATIONS)
        return settings

    def _admits_scram(self, stored: StoredLogin) -> bool:
        return self._scram_settings is not None or self.admits(stored.login)

    def _count_scram(self, accepted: bool | None) -> None:
        entry = self._find(SCRAM_ID) or self._find(DATABASE_ID)
        if entry is None:
            return
        counts = entry.counts
        counts.ask()
        counts.success += accepted is True
        counts.failed += accepted is False
        counts.ignored += accepted is None

    def _report(self, entry: Entry) -> AuthenticatorReport:
        settings, users, status, problem = entry.settings, None, "connected", ""
        if isinstance(settings, DatabaseSettings):
            users = self._logins.count(settings.user_id_type)
        elif isinstance(settings, ScramSettings):
            users = self._logins.count("username")
        elif entry.tokens is not None:
            status, problem = entry.tokens.source.status, entry.tokens.source.problem
        return AuthenticatorReport(settings.id, settings.enable, status, problem, entry.counts.show(), users)

    def _find(self, authenticator: str) -> Entry | None:
        return next((entry for entry in self._entries if entry.settings.id == authenticator), None)

    def _existing(self, authenticator: str) -> Entry:
        entry = self._find(authenticator)
        if entry is None:
            raise NotFound(f"Authenticator '{shown(authenticator)}' does not exist")
        return entry

    def _check_new(self, authenticator: str) -> None:
        if self._find(authenticator) is not None:
            raise AlreadyExists(f"Authenticator '{authenticator}' already exists")
