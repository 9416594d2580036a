"""Who is this client? One routine for all listeners, without a word about MQTT packets."""

from collections.abc import Awaitable, Callable

from .admission import ANONYMOUS_REFUSED, UNKNOWN, Admission, Attempt, Outcome, Verdict, guessed
from .credentials.login_limiter import LoginLimiter
from .credentials.passwords import Passwords
from .credentials.stored_secrets import MAX_SECRET_BYTES
from .errors import Overloaded
from .logins import Logins, StoredLogin
from .networks import network_of

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
        limiter: LoginLimiter,
        admission: Admission,
        proved: Callable[[StoredLogin, bytes], None],
    ) -> None:
        """Tell `proved` of each password that got its login in."""
        self._logins = logins
        self._passwords = passwords
        self._limiter = limiter
        self._admission = admission
        self._proved = proved

    def authenticate(
        self, attempt: Attempt, password: bytes | None, *, allow_anonymous: bool
    ) -> Verdict | Awaitable[Verdict]:
        """Decide at once where memory is enough, with an awaitable where a password has to be hashed.

        The login is that of the user name, else that of the client id; the latter also counts where a user name was
        presented that is no login, for MQTT 3.1.1 has no password without a user name [MQTT-3.1.2-22].
        """
        if banned := self._admission.banned(attempt):
            return banned
        stored = self.find(attempt)
        if attempt.username is None:
            if stored is None and allow_anonymous:
                return self._admission.anonymous(attempt)
            if password is None:
                # The same answer for every client id, or it would tell which ones are logins.
                return _NO_PASSWORD if allow_anonymous else ANONYMOUS_REFUSED
        if password is None:
            return _NO_PASSWORD
        if len(password) > MAX_SECRET_BYTES:
            return _WRONG
        if stored is None or stored.secret is None:
            return self._check(attempt, None, password)
        if self._passwords.check_now(stored.login.id, stored.secret, password):
            # A token cannot be guessed, and what was verified before was no guess: neither counts as a try.
            return self._admit(stored, attempt, password)
        return self._check(attempt, stored, password)

    def authenticate_certified(self, attempt: Attempt) -> Verdict:
        """Decide on a client whose user name a certificate proved, so that it needs no password."""
        if banned := self._admission.banned(attempt):
            return banned
        stored = None if attempt.username is None else self._logins.find("username", attempt.username)
        if stored is None:
            return UNKNOWN
        return self._admission.admit(stored.login, attempt)._replace(username=attempt.username)

    def find(self, attempt: Attempt) -> StoredLogin | None:
        """Return the login that counts for a client."""
        stored = None if attempt.username is None else self._logins.find("username", attempt.username)
        if stored is None and attempt.client_id:
            stored = self._logins.find("clientid", attempt.client_id)
        return stored

    async def _check(self, attempt: Attempt, stored: StoredLogin | None, password: bytes) -> Verdict:
        """Take the time of a check, and charge a failure, alike for whoever there is or is not."""
        network, names = network_of(attempt.peer_host), guessed(attempt)

        def suspect() -> bool:
            return self._limiter.suspect(network, names)

        secret = None if stored is None else stored.secret
        try:
            if stored is None or secret is None or not secret.slow:
                await self._passwords.check_unknown(password, network=network, suspect=suspect)
                right = False
            else:
                right = await self._passwords.check(stored.login.id, secret, password, network=network, suspect=suspect)
        except Overloaded:
            return _OVERLOADED
        if stored is None or not right:
            self._limiter.failed(network, names)
            return UNKNOWN if secret is None else _WRONG
        self._limiter.succeeded(network, names[:1] if stored.login.login_type == "username" else names)
        # The check took its time: what counts is the login as it is now, under the secret that was checked.
        current = self.find(attempt)
        if current is None or current.secret is None or current.login.id != stored.login.id:
            return _CHANGED
        # Another client's login may have had the same password hashed anew meanwhile; then that hash has been proved.
        if current.secret != secret and not self._passwords.check_now(current.login.id, current.secret, password):
            return _CHANGED
        return self._admission.banned(attempt) or self._admit(current, attempt, password)

    def _admit(self, stored: StoredLogin, attempt: Attempt, password: bytes) -> Verdict:
        verdict = self._admission.admit(stored.login, attempt)
        if verdict.outcome is Outcome.ACCEPTED:
            self._proved(stored, password)
        return verdict
