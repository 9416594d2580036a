"""Who is this client? One routine for all listeners, without a word about MQTT packets."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from .errors import Overloaded
from .logins import Logins, StoredLogin
from .passwords import Passwords
from .stored_secrets import MAX_SECRET_BYTES


class Outcome(Enum):
    """Name what came of an authentication."""

    ACCEPTED = auto()
    WRONG = auto()
    """Unknown name or wrong secret; which of the two is not told."""
    NOT_ALLOWED = auto()
    """Anonymous where that is not allowed, or known with the right secret but disabled or expired."""
    MALFORMED = auto()
    """The client broke the rules of its authentication method."""
    OVERLOADED = auto()
    """Too many checks are waiting."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Hold the outcome, and for an accepted client who it is."""

    outcome: Outcome
    log: str = ""
    """A sentence for the log, never a secret."""
    principal: str | None = None
    """None for an accepted anonymous client."""
    superuser: bool = False
    confined: bool = False
    valid_until: float | None = None
    """Seconds since the epoch."""
    username: str | None = None
    """The user name that was proved, where it may differ from the one presented."""
    answer: bytes | None = field(default=None, repr=False)
    """The server's last message of the authentication method, for an accepted client."""


_ANONYMOUS = Verdict(Outcome.ACCEPTED)
_ANONYMOUS_REFUSED = Verdict(Outcome.NOT_ALLOWED, "anonymous clients are not allowed")
_UNKNOWN = Verdict(Outcome.WRONG, "the login is unknown")
_WRONG = Verdict(Outcome.WRONG, "the password is wrong")
_NO_PASSWORD = Verdict(Outcome.WRONG, "no password was given")
_CHANGED = Verdict(Outcome.WRONG, "the login was changed while its password was being checked")
_OVERLOADED = Verdict(Outcome.OVERLOADED, "too many password checks are waiting")


class Authentication:
    """Decide on connecting clients by the logins in memory."""

    def __init__(
        self,
        logins: Logins,
        passwords: Passwords,
        clock: Callable[[], float],
        proved: Callable[[StoredLogin, bytes], None] = lambda stored, password: None,
    ) -> None:
        """Tell `proved` of each password that got its login in."""
        self._logins = logins
        self._passwords = passwords
        self._clock = clock
        self._proved = proved

    def authenticate(
        self, client_id: str, username: str | None, password: bytes | None, *, allow_anonymous: bool
    ) -> Verdict | Awaitable[Verdict]:
        """Decide at once where memory is enough, with an awaitable where a password has to be hashed.

        The login is that of the user name, else that of the client id; the latter also counts where a user name was
        presented that is no login, for MQTT 3.1.1 has no password without a user name [MQTT-3.1.2-22].
        """
        stored = self._find(client_id, username)
        if username is None:
            if stored is None and allow_anonymous:
                return _ANONYMOUS
            if password is None:
                # The same answer for every client id, or it would tell which ones are logins.
                return _NO_PASSWORD if allow_anonymous else _ANONYMOUS_REFUSED
        if password is None:
            return _NO_PASSWORD
        if len(password) > MAX_SECRET_BYTES:
            return _WRONG
        if stored is None or stored.secret is None:
            return self._refuse_unknown(password)
        right = self._passwords.check_now(stored.login.id, stored.secret, password)
        if right is None:
            return self._check(client_id, username, stored, password)
        return self._admit(stored, password) if right else _WRONG

    def authenticate_certified(self, username: str) -> Verdict:
        """Decide on a client whose user name a certificate proved, so that it needs no password."""
        stored = self._logins.find("username", username)
        if stored is None:
            return _UNKNOWN
        return replace(admit(stored, self._clock()), username=username)

    def is_superuser(self, client_id: str, username: str | None) -> bool:
        """Tell whether the login that counts for this client is exempt from rules."""
        stored = self._find(client_id, username)
        return stored is not None and stored.login.superuser

    def _find(self, client_id: str, username: str | None) -> StoredLogin | None:
        stored = None if username is None else self._logins.find("username", username)
        if stored is None and client_id:
            stored = self._logins.find("clientid", client_id)
        return stored

    async def _refuse_unknown(self, password: bytes) -> Verdict:
        try:
            await self._passwords.check_unknown(password)
        except Overloaded:
            return _OVERLOADED
        return _UNKNOWN

    async def _check(self, client_id: str, username: str | None, stored: StoredLogin, password: bytes) -> Verdict:
        secret = stored.secret
        if secret is None:
            return _UNKNOWN
        try:
            right = await self._passwords.check(stored.login.id, secret, password)
        except Overloaded:
            return _OVERLOADED
        if not right:
            return _WRONG
        # The check took its time: what counts is the login as it is now, under the secret that was checked.
        current = self._find(client_id, username)
        if current is None or current.login.id != stored.login.id or current.secret != secret:
            return _CHANGED
        return self._admit(current, password)

    def _admit(self, stored: StoredLogin, password: bytes) -> Verdict:
        verdict = admit(stored, self._clock())
        if verdict.outcome is Outcome.ACCEPTED:
            self._proved(stored, password)
        return verdict


def admit(stored: StoredLogin, now: float) -> Verdict:
    """Decide on a login that was proved, by whatever means; only its owner learns that it is disabled or expired."""
    login = stored.login
    if login.disabled:
        return Verdict(Outcome.NOT_ALLOWED, "the login is disabled")
    if login.expires_at is not None and login.expires_at <= now:
        return Verdict(Outcome.NOT_ALLOWED, "the login has expired")
    return Verdict(
        Outcome.ACCEPTED,
        principal=login.id,
        superuser=login.superuser,
        confined=login.confined,
        valid_until=login.expires_at,
    )
