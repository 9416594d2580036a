"""The truth about logins, rules and keys: loaded from SQLite at start, read from memory, written through one writer."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict, Unpack

from .access_replacement import AccessConfiguration, AccessReplacement
from .acl.access import ClientAccess
from .acl.client_facts import ClientFacts
from .admission import Admission, Attempt, Verdict
from .api_keys import ApiKeys, NewApiKey
from .audit import Audit, check_bounds
from .authentication import Authentication
from .authenticators.chain import Authenticators
from .authenticators.token_rights import TokenRights
from .background_work import collection_paused
from .bans import Bans
from .configurations import Configurations
from .credentials.key_derivation import KeyDerivation
from .credentials.login_limiter import LoginLimiter
from .credentials.passwords import Passwords
from .credentials.scram_login import DEFAULT_ITERATIONS, ScramExchange, ScramLogins, check_iterations
from .credentials.stored_secrets import PLAIN, StoredSecret
from .dashboard_users import DashboardUsers
from .database import Database
from .default_access import DefaultAccess
from .errors import Invalid
from .groups import Groups
from .housekeeping import Housekeeping
from .integrations import Integrations
from .layers import Layers
from .login_batches import FEW, create_many, is_there
from .login_values import LoginChange, LoginChanges, LoginValues, NewLogin
from .logins import Logins, StoredLogin
from .memberships import Memberships
from .operators import Operators
from .records import UNSET, ApiKey, Change, Login, Operation, Permission, Rule, Unset
from .roles import Roles
from .rules import LONG, CompiledRules, Rules, check_rules, compile_rules
from .sources import Sources
from .tenants import DEFAULT_TENANT, Tenants
from .writer import Origin, Write, Writer

__all__ = ["Directory", "DirectoryOptions", "Origin"]


class FurtherOptions(TypedDict, total=False):
    """What `Directory.open` takes beside the two that embedded brokers set most; explained at `DirectoryOptions`."""

    max_login_failures: int
    enforce_on_delivery: bool
    audit_retention_days: float
    audit_max_entries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryOptions:
    """Set a directory's limits."""

    password_wait_limit: int = 10_000
    """Password checks that may wait at a time."""
    scram_iterations: int = DEFAULT_ITERATIONS
    """What each password's SCRAM keys cost, to derive and for the client; 0 offers no SCRAM."""
    max_login_failures: int = 20
    """Wrong passwords for one name before further ones wait behind everybody else's; ten times as many from one network
    (IPv4: an address, IPv6: a /48), whatever the names. 0: never."""
    enforce_on_delivery: bool = True
    """Whether a deny rule for subscribing also keeps messages from those who subscribed to more."""
    audit_retention_days: float = 90.0
    """0 for ever."""
    audit_max_entries: int = 1_000_000
    """0 for no bound."""


class Directory:
    """Hold the control data of one broker; open it with `Directory.open`, and use it from one event loop only.

    Every write raises Invalid, NotFound or AlreadyExists where the model forbids it, DatabaseUnavailable where SQLite
    does, Overloaded where too much waits; then nothing has changed. When it returns, it is committed, in force, and
    those who registered with `on_change` have dealt with it.
    """

    def __init__(self, database: Database, clock: Callable[[], float], options: DirectoryOptions) -> None:
        self._database = database
        self._clock = clock
        self._writer = writer = Writer(database, clock, self._committed)
        self._logins = logins = Logins()
        self._rules = Rules()
        self._defaults = DefaultAccess()
        self._api_keys = ApiKeys()
        self._operators = Operators()
        self._memberships = memberships = Memberships()
        self.tenants = Tenants(writer, logins)
        self.integrations = Integrations(writer, self.tenants, logins)
        self.roles = Roles(writer, logins, memberships)
        self.groups = Groups(writer, logins, self.roles, memberships)
        self.bans = Bans(writer, clock)
        self.audit = Audit(database, clock)
        self.configurations = Configurations(writer)
        self.sources = Sources(writer, self.configurations, self._defaults, clock, self._rules.count)
        logins.on_forget(memberships.forget_principals)
        self._replacement = AccessReplacement(
            self.tenants, logins, self.roles, self.groups, memberships, self._defaults
        )
        self._layers = Layers(
            logins,
            self._rules,
            self.roles,
            self.groups,
            self.integrations,
            self._defaults,
            self.sources,
            enforce_on_delivery=options.enforce_on_delivery,
        )
        self._passwords = Passwords(wait_limit=options.password_wait_limit, scram_iterations=options.scram_iterations)
        limiter = LoginLimiter(clock, options.max_login_failures)
        self.dashboard_users = DashboardUsers(writer, self._passwords, LoginLimiter(clock, options.max_login_failures))
        self._admission = admission = Admission(logins, self.tenants, self.integrations, self.bans, clock)
        self._scram = ScramLogins(logins, admission, limiter, self._passwords, options.scram_iterations)
        self.authenticators = Authenticators(
            writer, self.configurations, logins, self.tenants, self._passwords, self._scram, clock
        )
        self._derivation = KeyDerivation(self._scram, logins, self._passwords, writer, self.authenticators.keeps_form)
        self._authentication = Authentication(
            logins, self._passwords, limiter, admission, self._derivation.consider, self.authenticators
        )
        self._housekeeping = Housekeeping(
            self.bans, self.audit, retention_days=options.audit_retention_days, max_entries=options.audit_max_entries
        )
        self.generation = 0
        """Goes up with every write that somebody made; an access of an older one is to be computed again."""
        self.is_new = False
        """Whether nothing had ever been written when the directory was opened."""

    @classmethod
    async def open(
        cls,
        path: Path | str,
        *,
        clock: Callable[[], float] = time.time,
        password_wait_limit: int = 10_000,
        scram_iterations: int = DEFAULT_ITERATIONS,
        housekeeping: bool = True,
        **options: Unpack[FurtherOptions],
    ) -> "Directory":
        """Open or create the database (`:memory:` for none) and load everything.

        Without `housekeeping` nothing is swept out: for whoever only looks in, and may not know what is to be kept.
        The other options are those of `DirectoryOptions`. Raises Invalid, DatabaseDamaged, DatabaseTooNew or
        DatabaseUnavailable; an existing file is then left as it is.
        """
        check_iterations(scram_iterations)
        chosen = DirectoryOptions(password_wait_limit=password_wait_limit, scram_iterations=scram_iterations, **options)
        check_bounds(chosen.audit_retention_days, chosen.audit_max_entries)
        database = await Database.open(path)
        directory: Directory | None = None
        try:
            directory = cls(database, clock, chosen)
            await directory._load()
        except BaseException:
            await (database if directory is None else directory).close()
            raise
        if housekeeping:
            directory._housekeeping.start()
        return directory

    async def _load(self) -> None:
        parts = (
            self.tenants,
            self._logins,
            self._rules,
            self._defaults,
            self._memberships,
            self.roles,
            self.groups,
            self.integrations,
            self.bans,
            self.configurations,
            self.sources,
            self._api_keys,
            self._operators,
            self.dashboard_users,
            self.authenticators,
            self._scram,
        )
        with collection_paused():
            for part in parts:
                await part.load(self._database)
        self.is_new = not await self._database.read("SELECT 1 FROM audit_log LIMIT 1")

    async def close(self) -> None:
        """Finish the writes under way, stop the threads and close the database."""
        await self._housekeeping.close()
        await self.authenticators.close()
        await self._derivation.close()
        await self._writer.close()
        self._passwords.close()
        await self._database.close()

    def on_change(self, callback: Callable[[Change], Awaitable[None]]) -> Callable[[], None]:
        """Await `callback` after each write that changes somebody's access, before the write returns.

        Returns what ends that.
        """
        return self._writer.on_change(callback)

    def _committed(self) -> None:
        self.generation += 1

    # Decisions

    def authenticate(
        self,
        client_id: str,
        username: str | None,
        password: bytes | None,
        *,
        peer_host: str = "",
        allow_anonymous: bool = False,
    ) -> Verdict | Awaitable[Verdict]:
        """Decide on a client, at once where no password has to be hashed."""
        attempt = Attempt(client_id, username, peer_host)
        return self._authentication.authenticate(attempt, password, allow_anonymous=allow_anonymous)

    def admit_unchecked(self, client_id: str, username: str | None, *, peer_host: str = "") -> Verdict | None:
        """Decide on a client that need not prove anything; None where it comes as a login, and so must."""
        return self._admission.unchecked(Attempt(client_id, username, peer_host))

    def authenticate_certified(self, username: str, *, client_id: str = "", peer_host: str = "") -> Verdict:
        """Decide on a client whose user name a certificate proved; it needs no password, but a login."""
        return self._authentication.authenticate_certified(Attempt(client_id, username, peer_host))

    def begin_scram(
        self, presented: Collection[str], *, client_id: str = "", peer_host: str = ""
    ) -> ScramExchange | None:
        """Begin a SCRAM-SHA-256 login; its user name must agree with all those `presented`. None where it is off."""
        return self._scram.begin(presented, client_id, peer_host)

    def access(
        self,
        client_id: str,
        username: str | None,
        principal: str | None = None,
        *,
        peer_host: str = "",
        listener: str = "",
        previous: ClientAccess | None = None,
        rights: TokenRights | None = None,
    ) -> ClientAccess:
        """Return what a client may do as of this generation; `previous` is what it was given before."""
        facts = ClientFacts(client_id, username, peer_host, listener)
        return self._layers.build(self.generation, facts, principal, previous, rights)

    def principal_of(self, client_id: str, username: str | None) -> str | None:
        """Return the id of the login that counts for an authenticated client; None for an anonymous one."""
        stored = self._authentication.find(Attempt(client_id, username))
        return None if stored is None else stored.login.id

    def is_superuser(self, client_id: str, username: str | None) -> bool:
        """Tell whether the login of an authenticated client is exempt from rules."""
        stored = self._authentication.find(Attempt(client_id, username))
        return stored is not None and stored.login.superuser

    def refusals(
        self, client_id: str, username: str | None, principal: str | None, *, peer_host: str = ""
    ) -> list[Verdict]:
        """Say for the operator what keeps a client out whose login, if it has one, is proved; empty for nothing."""
        login = None if principal is None else self.login_by_id(principal)
        return [*self._admission.refusals(login, Attempt(client_id, username, peer_host))]

    async def note(self, action: str, target: str, **origin: Unpack[Origin]) -> None:
        """Put into the audit log what was done without changing anything."""
        await self._writer.write(lambda at: Write(action, target, [], lambda: None, None), **origin)

    # Logins

    def login(self, login_type: str, login: str) -> Login | None:
        """Return the login of this name."""
        return self._logins.get(login_type, login)

    def login_by_id(self, principal: str) -> Login | None:
        """Return the login of this id."""
        stored = self._logins.by_id(principal)
        return None if stored is None else stored.login

    def logins(self, login_type: str) -> Sequence[Login]:
        """Return all logins of a type, oldest first."""
        return self._logins.of_type(login_type)

    def stored_logins(self) -> Sequence[StoredLogin]:
        """Return all logins with what is kept of their passwords, for a backup."""
        return self._logins.stored()

    def is_plain(self, login: Login) -> bool:
        """Tell whether a login is the operator's own and no facade's with a model of its own."""
        return self.authenticators.is_plain(login)

    async def create_login(
        self,
        login_type: str,
        login: str,
        password: str | None,
        superuser: bool = False,
        *,
        tenant: str = DEFAULT_TENANT,
        secret: StoredSecret | None = None,
        roles: Mapping[str, int] | None = None,
        groups: Mapping[str, int] | None = None,
        actor: str = "",
        facade: str = "",
        **values: Unpack[LoginValues],
    ) -> Login:
        """Create a login that may connect from now on, with a password, with a `secret` made of one, or with neither.

        `roles` and `groups` name what it gets, each with a priority; `values` are fields of `NewLogin`.
        """
        self._logins.check_new(login_type, login)
        if password is not None:
            secret = await self._passwords.hash(password, self._scram.salt(login_type, login))
        elif secret is not None:
            secret = await self._passwords.hash_plain(secret, self._scram.salt(login_type, login))

        def prepare(at: int) -> Write[Login]:
            new = NewLogin(
                login_type=login_type,
                login=login,
                secret=secret,
                tenant=self.tenants.required(tenant).id,
                superuser=superuser,
                **values,
            )
            write = self._logins.create(new, at)
            principal = write.result.id
            if groups and login_type != "username":
                raise Invalid("Only user names can be in groups.")
            return write.followed_by(
                self.roles.grants(principal, roles or {}), self.groups.joins(principal, groups or {})
            )

        return await self._writer.write(prepare, actor=actor, facade=facade)

    async def update_login(
        self,
        login_type: str,
        login: str,
        *,
        password: str | None = None,
        secret: StoredSecret | None = None,
        actor: str = "",
        facade: str = "",
        **values: Unpack[LoginChanges],
    ) -> Login:
        """Change what is given; `values` are fields of `LoginChange`.

        Live sessions are closed where the login would not be let in as it was: another password, client id or
        superuser flag, switched off, expired.
        """
        old = self._logins.existing(login_type, login).login
        if old.kind == "haltian_key" and password is not None:
            raise Invalid("The password of an API key is a signed token; it can be renewed, not set.")
        salt = self._scram.salt(login_type, login)
        if password is not None:
            secret = await self._passwords.hash(password, salt)
        elif secret is not None:
            secret = await self._passwords.hash_plain(secret, salt)
        change = LoginChange(secret=secret, **values)
        return await self._writer.write(
            lambda at: self._logins.update(login_type, login, change, at), actor=actor, facade=facade
        )

    async def delete_login(self, login_type: str, login: str, **origin: Unpack[Origin]) -> None:
        """Delete a login; its sessions end, live and stored ones."""
        await self._writer.write(lambda at: self._logins.delete(login_type, login), **origin)

    async def import_logins(
        self, news: Iterable[NewLogin], *, overwrite: bool = False, **origin: Unpack[Origin]
    ) -> tuple[list[Login], int]:
        """Write logins of the tenant `default` in one transaction; return those written and how many were left alone.

        Those that exist are left alone, with `overwrite` only those that are no plain logins or would stay the same.
        Passwords that come as they are get hashed first, which takes its time; their SCRAM keys come when they are
        first used.
        """
        tenant = self.tenants.required(DEFAULT_TENANT).id
        ready = await self._hashed(news)

        def prepare(at: int) -> Write[tuple[list[Login], int]]:
            ours = (replace(new, tenant=tenant) for new in ready)
            return create_many(self._logins, ours, overwrite=overwrite, at=at)

        return await self._writer.write(prepare, in_thread=len(ready) > FEW, **origin)

    def has_login(self, new: NewLogin) -> bool:
        """Tell whether an import that overwrites would leave a login as it is."""
        ours = replace(new, tenant=self.tenants.required(DEFAULT_TENANT).id)
        return is_there(self._logins, ours, round(self._clock() * 1_000_000))

    async def replace_access(self, new: AccessConfiguration, **origin: Unpack[Origin]) -> int:
        """Replace users, roles, groups and defaults, see `AccessReplacement`; return how many users were left alone."""
        ready = replace(new, users=await self._hashed(new.users))
        return await self._writer.write(lambda at: self._replacement.prepare(ready, at), in_thread=True, **origin)

    async def _hashed(self, news: Iterable[NewLogin]) -> list[NewLogin]:
        """Hash the passwords that come as they are."""
        ready = [*news]
        for position, new in enumerate(ready):
            if new.secret is not None and new.secret.algo == PLAIN:
                ready[position] = replace(new, secret=await self._passwords.hash_plain(new.secret))
        return ready

    # Rules

    def rules(self, subject_type: str, subject: str = "") -> tuple[Rule, ...] | None:
        """Return a subject's rules in order; None where it has no record, empty where its record is."""
        return self._rules.of(subject_type, subject)

    def rule_subjects(self, subject_type: str) -> list[str]:
        """Return the subjects of a type that have a record, in alphabetical order."""
        return self._rules.subjects(subject_type)

    async def set_rules(self, subject_type: str, subject: str, rules: Iterable[Rule], **origin: Unpack[Origin]) -> None:
        """Set a subject's rules, whether it has a record or not; the subject of type `all` is empty."""
        compiled = await compile_rules(rules)
        await self._writer.write(
            lambda at: self._rules.set(subject_type, subject, compiled), in_thread=len(compiled.rules) > LONG, **origin
        )

    async def add_rule(
        self, subject_type: str, subject: str, rule: Rule, *, first: bool = False, **origin: Unpack[Origin]
    ) -> tuple[Rule, ...]:
        """Add a rule behind those that a subject has, or before them, and return them all.

        However many there are, only the new one is written and compiled.
        """
        (checked,) = await check_rules((rule,))
        return await self._writer.write(
            lambda at: self._rules.add(subject_type, subject, checked, first=first), **origin
        )

    async def create_rules(
        self, subject_type: str, entries: Iterable[tuple[str, Iterable[Rule]]], **origin: Unpack[Origin]
    ) -> None:
        """Create records for all the subjects or, where one has a record, for none."""
        compiled = [(subject, await compile_rules(rules)) for subject, rules in entries]
        count = sum(len(lists.rules) for _, lists in compiled)
        await self._writer.write(
            lambda at: self._rules.create(subject_type, compiled), in_thread=count > LONG, **origin
        )

    async def put_rules(
        self, subject_type: str, entries: Iterable[tuple[str, Iterable[Rule]]], **origin: Unpack[Origin]
    ) -> None:
        """Set the rules of several subjects, whether they have a record or not."""
        compiled: list[tuple[str, CompiledRules]] = []
        for number, (subject, rules) in enumerate(entries, 1):
            compiled.append((subject, await compile_rules(rules)))
            if number % FEW == 0:
                await asyncio.sleep(0)
        many = len(compiled) > FEW or sum(len(lists.rules) for _, lists in compiled) > LONG
        await self._writer.write(lambda at: self._rules.put(subject_type, compiled), in_thread=many, **origin)

    def stored_rules(self, subject_type: str) -> Sequence[tuple[str, tuple[Rule, ...]]]:
        """Return the records of a type, for a backup."""
        return self._rules.stored(subject_type)

    async def delete_rules(self, subject_type: str, subject: str = "", **origin: Unpack[Origin]) -> None:
        """Delete a subject's record."""
        await self._writer.write(lambda at: self._rules.delete(subject_type, subject), **origin)

    async def delete_all_rules(self, **origin: Unpack[Origin]) -> None:
        """Delete the records of all client ids, all user names and of all."""
        await self._writer.write(lambda at: self._rules.delete_all(), **origin)

    @property
    def no_match(self) -> Permission:
        """What holds for publish and subscribe where no rule fits."""
        return self._defaults.no_match

    async def set_no_match(self, permission: str, **origin: Unpack[Origin]) -> None:
        """Set what holds where no rule fits."""
        await self._writer.write(lambda at: self._defaults.set_no_match(permission), **origin)

    @property
    def default_access(self) -> Mapping[Operation, bool]:
        """What holds for each operation where no rule fits."""
        return self._defaults.by_operation

    async def set_default_access(self, allowed: Mapping[str, bool], **origin: Unpack[Origin]) -> None:
        """Set what holds for some operations where no rule fits."""
        await self._writer.write(lambda at: self._defaults.set(allowed), **origin)

    # API keys and operators

    def api_keys(self) -> Sequence[ApiKey]:
        """Return all API keys, oldest first."""
        return self._api_keys.all()

    def verify_api_key(self, api_key: str, secret: str) -> ApiKey | None:
        """Return the key if the secret is right and the key is enabled and in date."""
        return self._api_keys.verify(api_key, secret, self._clock())

    def has_ended(self, key: ApiKey) -> bool:
        """Tell whether the time of a key is over."""
        return key.expires_at is not None and key.expires_at <= self._clock()

    async def create_api_key(
        self,
        name: str,
        role: str = "administrator",
        *,
        expires_at: float | None = None,
        description: str = "",
        api_key: str | None = None,
        secret: str | None = None,
        enabled: bool = True,
        **origin: Unpack[Origin],
    ) -> tuple[ApiKey, str]:
        """Create a key and return it with its secret, which cannot be had again."""
        return await self._writer.write(
            lambda at: self._api_keys.create(
                name,
                role,
                expires_at=expires_at,
                description=description,
                api_key=api_key,
                secret=secret,
                enabled=enabled,
                at=at,
            ),
            **origin,
        )

    async def update_api_key(
        self,
        name: str,
        *,
        role: str | None = None,
        enabled: bool | None = None,
        expires_at: float | Unset | None = UNSET,
        description: str | None = None,
        **origin: Unpack[Origin],
    ) -> ApiKey:
        """Change what is given; the two halves of the key stay."""
        return await self._writer.write(
            lambda at: self._api_keys.update(
                name, role=role, enabled=enabled, expires_at=expires_at, description=description, at=at
            ),
            **origin,
        )

    async def delete_api_key(self, name: str, **origin: Unpack[Origin]) -> None:
        """Delete a key; it is refused from now on."""
        await self._writer.write(lambda at: self._api_keys.delete(name), **origin)

    async def put_api_key(self, new: NewApiKey, **origin: Unpack[Origin]) -> None:
        """Have this key and no other under its public half and its name; nothing is written where that is so."""
        if not self._api_keys.holds(new):
            await self._writer.write(lambda at: self._api_keys.put(new, at), **origin)

    def stored_api_keys(self) -> Sequence[tuple[ApiKey, StoredSecret]]:
        """Return all API keys with what is kept of their secrets, for a backup."""
        return self._api_keys.stored()

    async def create_dashboard_user(self, name: str, password: str, **origin: Unpack[Origin]) -> None:
        """Create a dashboard user with the role administrator."""
        await self.dashboard_users.create(name, password, **origin)

    async def create_bunkerm_key(self, **origin: Unpack[Origin]) -> str:
        """Create a key to BunkerM's facade and return it; it cannot be had again."""
        return await self._writer.write(lambda at: self._operators.create_token("bunkerm_key", at), **origin)

    async def set_bunkerm_key(self, key: str, **origin: Unpack[Origin]) -> None:
        """Have this key to BunkerM's facade and no other; nothing is written where that is so."""
        if not self.verify_bunkerm_key(key):
            await self._writer.write(lambda at: self._operators.set_token("bunkerm_key", key, at), **origin)

    async def create_operator_token(self, **origin: Unpack[Origin]) -> str:
        """Create an operator token and return it; it cannot be had again."""
        return await self._writer.write(lambda at: self._operators.create_token("platform_token", at), **origin)

    def verify_bunkerm_key(self, key: str) -> bool:
        """Tell whether a key to BunkerM's facade is right."""
        return self._operators.verify("bunkerm_key", key)

    def verify_operator_token(self, token: str) -> bool:
        """Tell whether an operator token is right."""
        return self._operators.verify("platform_token", token)
