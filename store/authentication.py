"""Who is this client? One routine for all listeners, without a word about MQTT packets."""

from collections.abc import Awaitable, Callable

from .admission import ANONYMOUS_REFUSED, UNKNOWN, Admission, Attempt, Outcome, Verdict, guessed
from .authenticators.chain import Authenticators, Entry
from .authenticators.counts import Counts
from .authenticators.token_authenticator import Refused
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
    """Decide on connecting clients by the chain of authenticators, and by the logins in memory."""

    def __init__(
        self,
        logins: Logins,
        passwords: Passwords,
        limiter: LoginLimiter,
        admission: Admission,
        proved: Callable[[StoredLogin, bytes], None],
        chain: Authenticators,
    ) -> None:
        """Tell `proved` of each password that got its login in."""
        self._logins = logins
        self._passwords = passwords
        self._limiter = limiter
        self._admission = admission
        self._proved = proved
        self._chain = chain

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
        counts = self._chain.only_database
        if counts is None:
            if stored is None or self._chain.is_plain(stored.login):
                return self._by_chain(attempt, stored, password, allow_anonymous=allow_anonymous)
        elif attempt.username is not None or stored is not None or not allow_anonymous:
            counts.ask()
        if attempt.username is None:
            if stored is None and allow_anonymous:
                return self._admission.anonymous(attempt)
            if password is None:
                _ignore(counts)
                # The same answer for every client id, or it would tell which ones are logins.
                return _NO_PASSWORD if allow_anonymous else ANONYMOUS_REFUSED
        if password is None:
            _ignore(counts)
            return _NO_PASSWORD
        if stored is None:
            _ignore(counts)
            return self._check_nobody(attempt, password)
        return self._compare(attempt, stored, password, counts)

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
        if stored is not None and (self._chain.only_database is not None or self._chain.admits(stored.login)):
            return stored
        stored = self._logins.find("clientid", attempt.client_id) if attempt.client_id else None
        return stored if stored is not None and self._chain.admits(stored.login) else None

    def _is_own(self, name: str) -> bool:
        """Tell whether a user name is one that only its own login may use, whatever authenticators there are."""
        stored = self._logins.find("username", name)
        return stored is not None and not self._chain.is_plain(stored.login)

    def _by_chain(
        self, attempt: Attempt, stored: StoredLogin | None, password: bytes | None, *, allow_anonymous: bool
    ) -> Verdict | Awaitable[Verdict]:
        """Ask one authenticator after the other until one has an opinion."""
        anonymous = attempt.username is None and stored is None and allow_anonymous
        if anonymous and (password is None or not self._chain.takes_passwords_as_tokens):
            return self._admission.anonymous(attempt)
        for entry in self._chain.enabled:
            entry.counts.ask()
            if entry.tokens is not None:
                verdict = self._by_token(entry, attempt, password)
                if verdict is not None and (verdict.outcome is Outcome.ACCEPTED or not anonymous):
                    return verdict
            elif stored is None or password is None:
                entry.counts.ignored += 1
            else:
                return self._compare(attempt, stored, password, entry.counts)
        if anonymous:
            return self._admission.anonymous(attempt)
        if password is None:
            return _NO_PASSWORD if attempt.username is not None or allow_anonymous else ANONYMOUS_REFUSED
        return self._check_nobody(attempt, password)

    def _by_token(self, entry: Entry, attempt: Attempt, password: bytes | None) -> Verdict | None:
        counts, tokens = entry.counts, entry.tokens
        answer = None if tokens is None else tokens.decide(attempt.client_id, attempt.username, password)
        if answer is None:
            counts.ignored += 1
            return None
        if isinstance(answer, Refused):
            counts.failed += 1
            return Verdict(Outcome.WRONG, answer.log)
        counts.success += 1
        return self._admission.admit_bearer(answer, attempt, self._is_own)

    def _compare(
        self, attempt: Attempt, stored: StoredLogin, password: bytes, counts: Counts | None
    ) -> Verdict | Awaitable[Verdict]:
        """Decide on the password of a login that is there."""
        if len(password) > MAX_SECRET_BYTES:
            if counts is not None:
                counts.failed += 1
            return _WRONG
        if stored.secret is None:
            if counts is not None:
                counts.failed += 1
            return self._check(attempt, None, password, None)
        if self._passwords.check_now(stored.login.id, stored.secret, password):
            # A token cannot be guessed, and what was verified before was no guess: neither counts as a try.
            if counts is not None:
                counts.success += 1
            return self._admit(stored, attempt, password)
        return self._check(attempt, stored, password, counts)

    def _check_nobody(self, attempt: Attempt, password: bytes) -> Verdict | Awaitable[Verdict]:
        """Refuse who has no login, after the time that a check takes."""
        return _WRONG if len(password) > MAX_SECRET_BYTES else self._check(attempt, None, password, None)

    async def _check(
        self, attempt: Attempt, stored: StoredLogin | None, password: bytes, counts: Counts | None
    ) -> Verdict:
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
        if counts is not None:
            counts.success += right
            counts.failed += not right
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


def _ignore(counts: Counts | None) -> None:
    if counts is not None:
        counts.ignored += 1
