"""Logins by SCRAM: exchanges against the logins in memory, which tell a stranger nothing about who has one."""

import secrets
from collections.abc import Awaitable, Callable, Collection
from logging import getLogger

from ..admission import Admission, Attempt, Outcome, Verdict, guessed
from ..database import Database, Statement
from ..errors import Overloaded
from ..logins import Logins, StoredLogin
from ..networks import network_of
from .login_limiter import LoginLimiter
from .passwords import Passwords
from .saslprep import Unprepared, prepare
from .scram import BadMessage, Challenged, ScramKeys, keys_of_nobody, parse_client_first
from .scram_cost import DEFAULT_ITERATIONS, MAX_ITERATIONS, check_iterations

__all__ = ["DEFAULT_ITERATIONS", "MAX_ITERATIONS", "ScramExchange", "ScramLogins", "check_iterations"]

_logger = getLogger(__name__)

_SECRET = "scram_secret"  # noqa: S105 (the setting's name)
_SECRET_BYTES = 32
_NONCE_BYTES = 24


class ScramLogins:
    """Know which keys count for a name, and whether SCRAM is offered at all."""

    def __init__(
        self, logins: Logins, admission: Admission, limiter: LoginLimiter, passwords: Passwords, iterations: int
    ) -> None:
        """Derive with so many iterations; 0 offers no SCRAM."""
        self.iterations = iterations
        self.limiter = limiter
        self._logins = logins
        self._admission = admission
        self._passwords = passwords
        self._secret = secrets.token_bytes(_SECRET_BYTES)
        self.offered = True
        """Whether the chain of authenticators lets anybody use SCRAM."""
        self.admits: Callable[[StoredLogin], bool] = lambda stored: True
        """Tell whether the chain lets a login be used."""
        self.decided: Callable[[bool | None], None] = lambda accepted: None
        """Is told of each login that was tried: right, wrong, or unknown (None)."""

    async def load(self, database: Database) -> None:
        """Read the database's secret, or give it one."""
        read = "SELECT value FROM setting WHERE key = ?"
        if not await database.read(read, [_SECRET]):
            # Not by the writer: this is no change that somebody made, and so none for the audit log.
            insert = "INSERT INTO setting (key, value) VALUES (?, ?)"
            await database.transact([Statement(insert, [(_SECRET, self._secret.hex())])])
        [(secret,)] = await database.read(read, [_SECRET])
        self._secret = bytes.fromhex(secret)
        self._warn_of_other_costs()

    def _warn_of_other_costs(self) -> None:
        """Log how many names show a stranger, by what their keys cost, that they exist."""
        count = 0
        for login in self._logins.of_type("username"):
            stored = self._logins.find("username", login.login)
            keys = None if stored is None or stored.secret is None else stored.secret.scram
            if keys is not None and keys.iterations != self.iterations:
                # A name that no exchange reaches, or none at all where SCRAM is off, shows nothing.
                count += self.salt("username", login.login) is not None
        if count:
            _logger.warning(
                "%d login(s) have SCRAM keys of another cost than scram_iterations %d, by which a stranger can tell"
                " that they exist; each gets new ones when it next logs in with its password, or when that is set",
                count,
                self.iterations,
            )

    def salt(self, login_type: str, name: str) -> bytes | None:
        """Return what the keys of a login are salted with; None where it cannot be used with SCRAM."""
        if not self.iterations or login_type != "username":
            return None
        try:
            # Clients send the prepared name, so that no other is ever found.
            reachable = prepare(name, "query") == name
        except Unprepared:
            return None
        return self._nobody(name).salt if reachable else None

    def begin(self, presented: Collection[str], client_id: str, peer_host: str) -> "ScramExchange | None":
        """Begin an exchange with a client that presented these user names otherwise; None where SCRAM is off."""
        return ScramExchange(self, presented, client_id, peer_host) if self.iterations and self.offered else None

    def keys(self, name: str) -> tuple[StoredLogin | None, ScramKeys]:
        """Return a name's login and keys; the login None and the keys nobody's where it cannot log in with SCRAM."""
        nobody = self._nobody(name)  # computed for everybody, so that the time it takes tells nothing
        stored = self._logins.find("username", name)
        if stored is None or stored.secret is None or stored.secret.scram is None or not self.admits(stored):
            return None, nobody
        return stored, stored.secret.scram

    def admit(self, proved: StoredLogin, attempt: Attempt) -> Verdict:
        """Decide on a login whose keys were the right ones when the exchange began."""
        current = self._logins.find("username", proved.login.login)
        if (
            current is None
            or current.login.id != proved.login.id
            or not _still_proved(current, proved)
            or not self.admits(current)
        ):
            return Verdict(Outcome.WRONG, "the login was changed during the exchange")
        return self._admission.banned(attempt) or self._admission.admit(current.login, attempt)

    def banned(self, attempt: Attempt) -> Verdict | None:
        """Refuse a client id or an address that is banned."""
        return self._admission.banned(attempt)

    async def wait_as_suspect(self, network: str) -> None:
        """Wait as long as for a password among others that were guessed; raise Overloaded.

        A proof costs the server nothing, so that without this it would be the fast way to guess.
        """
        await self._passwords.check_unknown(b"", network=network, suspect=lambda: True)

    def _nobody(self, name: str) -> ScramKeys:
        return keys_of_nobody(self._secret, name, self.iterations)


class ScramExchange:
    """Be one client's exchange: two messages in, a challenge and a verdict out."""

    def __init__(self, logins: ScramLogins, presented: Collection[str], client_id: str, peer_host: str) -> None:
        self._logins = logins
        self._presented = presented
        self._client_id = client_id
        self._peer_host = peer_host
        self._network = network_of(peer_host)
        self._respond: Callable[[bytes | None], bytes | Verdict | Awaitable[Verdict]] = self._invite

    def respond(self, data: bytes | None) -> bytes | Verdict | Awaitable[Verdict]:
        """Answer the client's next message with a challenge or with the verdict that ends the exchange.

        The verdict is to be awaited where the client, its address or its name has been guessing.
        """
        step, self._respond = self._respond, _ended
        try:
            return step(data)
        except BadMessage as error:
            return Verdict(Outcome.MALFORMED, f"the SCRAM exchange failed: {error.message}")

    def _invite(self, data: bytes | None) -> bytes | Verdict:
        if data is None:
            # The client has the first word here and may be asked for it [MQTT-4.12.0-2].
            self._respond = self._challenge
            return b""
        return self._challenge(data)

    def _challenge(self, data: bytes | None) -> bytes | Verdict:
        first = parse_client_first(data or b"")
        if banned := self._logins.banned(Attempt(self._client_id, first.name, self._peer_host)):
            return banned
        if not all(_same(name, first.name) for name in self._presented):
            return Verdict(Outcome.WRONG, "the SCRAM user name is not the one presented")
        stored, keys = self._logins.keys(first.name)
        challenged = Challenged(first, secrets.token_urlsafe(_NONCE_BYTES), keys)
        self._respond = lambda answer: self._decide(challenged, stored, answer)
        return challenged.challenge.encode()

    def _decide(
        self, challenged: Challenged, stored: StoredLogin | None, data: bytes | None
    ) -> Verdict | Awaitable[Verdict]:
        answer = challenged.check(data or b"")
        attempt = Attempt(self._client_id, challenged.name, self._peer_host)
        if self._logins.limiter.suspect(self._network, guessed(attempt)):
            return self._decide_later(attempt, stored, answer)
        return self._conclude(attempt, stored, answer)

    async def _decide_later(self, attempt: Attempt, stored: StoredLogin | None, answer: bytes | None) -> Verdict:
        try:
            await self._logins.wait_as_suspect(self._network)
        except Overloaded:
            return Verdict(Outcome.OVERLOADED, "too many password checks are waiting")
        return self._conclude(attempt, stored, answer)

    def _conclude(self, attempt: Attempt, stored: StoredLogin | None, answer: bytes | None) -> Verdict:
        self._logins.decided(None if stored is None else answer is not None)
        if stored is None or answer is None:
            self._logins.limiter.failed(self._network, guessed(attempt))
        if stored is None:
            return Verdict(Outcome.WRONG, "the login is unknown or has no SCRAM keys")
        if answer is None:
            return Verdict(Outcome.WRONG, "the SCRAM proof is wrong")
        self._logins.limiter.succeeded(self._network, guessed(attempt)[:1])
        verdict = self._logins.admit(stored, attempt)
        if verdict.outcome is not Outcome.ACCEPTED:
            return verdict
        return verdict._replace(username=stored.login.login, answer=answer)


def _still_proved(current: StoredLogin, proved: StoredLogin) -> bool:
    """Tell whether the password is the one that was proved, though it may have been hashed or keyed anew meanwhile."""
    now, then = current.secret, proved.secret
    if now is None or then is None:
        return False
    return now == then or (now.scram is not None and now.scram == then.scram)


def _same(presented: str, proved: str) -> bool:
    try:
        return presented == proved or prepare(presented, "query") == proved
    except Unprepared:
        return False


def _ended(data: bytes | None) -> Verdict:
    return Verdict(Outcome.MALFORMED, "the SCRAM exchange is over")
