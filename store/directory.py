"""The truth about logins, rules and keys: loaded from SQLite at start, read from memory, written through one writer."""

import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from .access import ClientAccess
from .acl import Policy, Texts
from .api_keys import ApiKeys
from .authentication import Authentication, Verdict
from .database import Database
from .default_access import DefaultAccess
from .key_derivation import KeyDerivation
from .logins import Logins
from .operators import Operators
from .passwords import Passwords
from .records import RECEIVE, UNSET, ApiKey, Change, Login, Permission, Rule, SubjectType, Unset
from .rules import Rules
from .scram_login import DEFAULT_ITERATIONS, ScramExchange, ScramLogins, check_iterations
from .writer import Writer


class Origin(TypedDict, total=False):
    """Say who writes and by which way; both go into the audit log."""

    actor: str
    facade: str


class Directory:
    """Hold the control data of one broker; open it with `Directory.open`, and use it from one event loop only.

    Every write raises Invalid, NotFound or AlreadyExists where the model forbids it, DatabaseUnavailable where SQLite
    does, Overloaded where too much waits; then nothing has changed. When it returns, it is committed, in force, and
    those who registered with `on_change` have dealt with it.
    """

    def __init__(
        self, database: Database, *, clock: Callable[[], float], password_wait_limit: int, scram_iterations: int
    ) -> None:
        self._database = database
        self._clock = clock
        self._logins = Logins()
        self._rules = Rules()
        self._defaults = DefaultAccess()
        self._api_keys = ApiKeys()
        self._operators = Operators()
        self._writer = Writer(database, clock, self._committed)
        self._scram = ScramLogins(self._logins, clock, scram_iterations)
        self._passwords = Passwords(wait_limit=password_wait_limit, scram_iterations=scram_iterations)
        self._derivation = KeyDerivation(self._scram, self._logins, self._passwords, self._writer)
        self._authentication = Authentication(self._logins, self._passwords, clock, self._derivation.consider)
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
    ) -> "Directory":
        """Open or create the database (`:memory:` for none) and load everything.

        `scram_iterations` is what each password's SCRAM keys cost, to derive and for the client; 0 offers no SCRAM.
        Raises Invalid, DatabaseDamaged, DatabaseTooNew or DatabaseUnavailable; an existing file is then left as it is.
        """
        check_iterations(scram_iterations)
        database = await Database.open(path)
        directory = cls(
            database, clock=clock, password_wait_limit=password_wait_limit, scram_iterations=scram_iterations
        )
        try:
            await directory._load()
        except BaseException:
            await directory.close()
            raise
        return directory

    async def _load(self) -> None:
        for part in (self._logins, self._rules, self._defaults, self._api_keys, self._operators, self._scram):
            await part.load(self._database)
        self.is_new = not await self._database.read("SELECT 1 FROM audit_log LIMIT 1")

    async def close(self) -> None:
        """Finish the writes under way, stop the threads and close the database."""
        await self._derivation.close()
        await self._writer.close()
        self._passwords.close()
        await self._database.close()

    def on_change(self, callback: Callable[[Change], Awaitable[None]]) -> None:
        """Await `callback` after each write that changes somebody's access, before the write returns."""
        self._writer.on_change(callback)

    def _committed(self) -> None:
        self.generation += 1

    # Decisions

    def authenticate(
        self, client_id: str, username: str | None, password: bytes | None, *, allow_anonymous: bool = False
    ) -> Verdict | Awaitable[Verdict]:
        """Decide on a client, at once where no password has to be hashed."""
        return self._authentication.authenticate(client_id, username, password, allow_anonymous=allow_anonymous)

    def authenticate_certified(self, username: str) -> Verdict:
        """Decide on a client whose user name a certificate proved; it needs no password, but a login."""
        return self._authentication.authenticate_certified(username)

    def begin_scram(self, presented: Collection[str]) -> ScramExchange | None:
        """Begin a SCRAM-SHA-256 login; its user name must agree with all those `presented`. None where it is off."""
        return self._scram.begin(presented)

    def access(self, client_id: str, username: str | None) -> ClientAccess:
        """Return what a client may do as of this generation."""
        subjects: list[tuple[SubjectType, str]] = [("clientid", client_id)]
        if username is not None:
            subjects.append(("username", username))
        subjects.append(("all", ""))
        layers: list[tuple[Policy, Texts]] = []
        for subject_type, subject in subjects:
            if (policy := self._rules.policy(subject_type, subject)) is not None:
                layers.append((policy, policy.bind(client_id, username)))
        defaults: Mapping[int, bool] = self._defaults.allowed
        checks_delivery = not defaults[RECEIVE] or any(policy.hides for policy, _ in layers)
        return ClientAccess(self.generation, tuple(layers), defaults, checks_delivery)

    def is_superuser(self, client_id: str, username: str | None) -> bool:
        """Tell whether the login of an authenticated client is exempt from rules."""
        return self._authentication.is_superuser(client_id, username)

    # Logins

    def login(self, login_type: str, login: str) -> Login | None:
        """Return the login of this name."""
        return self._logins.get(login_type, login)

    def logins(self, login_type: str) -> Sequence[Login]:
        """Return all logins of a type, oldest first."""
        return self._logins.of_type(login_type)

    async def create_login(
        self, login_type: str, login: str, password: str, superuser: bool = False, **origin: Unpack[Origin]
    ) -> Login:
        """Create a login that may connect from now on."""
        self._logins.check_new(login_type, login)
        secret = await self._passwords.hash(password, self._scram.salt(login_type, login))
        return await self._writer.write(
            lambda at: self._logins.create(login_type, login, secret, superuser, at), **origin
        )

    async def update_login(
        self,
        login_type: str,
        login: str,
        *,
        password: str | None = None,
        superuser: bool | None = None,
        disabled: bool | None = None,
        expires_at: float | Unset | None = UNSET,
        **origin: Unpack[Origin],
    ) -> Login:
        """Change what is given; `expires_at` in seconds since the epoch, None for never. Closes live sessions."""
        self._logins.existing(login_type, login)
        salt = self._scram.salt(login_type, login)
        secret = None if password is None else await self._passwords.hash(password, salt)
        return await self._writer.write(
            lambda at: self._logins.update(
                login_type, login, secret=secret, superuser=superuser, disabled=disabled, expires_at=expires_at, at=at
            ),
            **origin,
        )

    async def delete_login(self, login_type: str, login: str, **origin: Unpack[Origin]) -> None:
        """Delete a login and close its live sessions."""
        await self._writer.write(lambda at: self._logins.delete(login_type, login), **origin)

    # Rules

    def rules(self, subject_type: str, subject: str = "") -> tuple[Rule, ...] | None:
        """Return a subject's rules in order; None where it has no record, empty where its record is."""
        return self._rules.of(subject_type, subject)

    def rule_subjects(self, subject_type: str) -> list[str]:
        """Return the subjects of a type that have a record, in alphabetical order."""
        return self._rules.subjects(subject_type)

    async def set_rules(self, subject_type: str, subject: str, rules: Iterable[Rule], **origin: Unpack[Origin]) -> None:
        """Set a subject's rules, whether it has a record or not; the subject of type `all` is empty."""
        fixed = tuple(rules)
        await self._writer.write(lambda at: self._rules.set(subject_type, subject, fixed), **origin)

    async def create_rules(
        self, subject_type: str, entries: Iterable[tuple[str, Iterable[Rule]]], **origin: Unpack[Origin]
    ) -> None:
        """Create records for all the subjects or, where one has a record, for none."""
        fixed = [(subject, tuple(rules)) for subject, rules in entries]
        await self._writer.write(lambda at: self._rules.create(subject_type, fixed), **origin)

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

    # API keys and operators

    def api_keys(self) -> Sequence[ApiKey]:
        """Return all API keys, oldest first."""
        return self._api_keys.all()

    def verify_api_key(self, api_key: str, secret: str) -> ApiKey | None:
        """Return the key if the secret is right and the key is enabled and in date."""
        return self._api_keys.verify(api_key, secret, self._clock())

    async def create_api_key(
        self,
        name: str,
        role: str = "administrator",
        *,
        expires_at: float | None = None,
        description: str = "",
        api_key: str | None = None,
        secret: str | None = None,
        **origin: Unpack[Origin],
    ) -> tuple[ApiKey, str]:
        """Create a key and return it with its secret, which cannot be had again."""
        return await self._writer.write(
            lambda at: self._api_keys.create(
                name, role, expires_at=expires_at, description=description, api_key=api_key, secret=secret, at=at
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

    async def create_dashboard_user(self, name: str, password: str, **origin: Unpack[Origin]) -> None:
        """Create a dashboard user with the role administrator."""
        self._operators.check_new_user(name, password)
        secret = await self._passwords.hash(password)
        await self._writer.write(lambda at: self._operators.create_user(name, secret, at), **origin)

    async def create_bunkerm_key(self, **origin: Unpack[Origin]) -> str:
        """Create a key to BunkerM's facade and return it; it cannot be had again."""
        return await self._writer.write(lambda at: self._operators.create_token("bunkerm_key", at), **origin)

    async def create_operator_token(self, **origin: Unpack[Origin]) -> str:
        """Create an operator token and return it; it cannot be had again."""
        return await self._writer.write(lambda at: self._operators.create_token("platform_token", at), **origin)

    def verify_bunkerm_key(self, key: str) -> bool:
        """Tell whether a key to BunkerM's facade is right."""
        return self._operators.verify("bunkerm_key", key)

    def verify_operator_token(self, token: str) -> bool:
        """Tell whether an operator token is right."""
        return self._operators.verify("platform_token", token)
