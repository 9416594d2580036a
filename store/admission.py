"""May a client connect whose login was proved, or who has none? The same answer for all ways to prove it."""

from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import NamedTuple

from .authenticators.token_authenticator import Bearer
from .authenticators.token_rights import TokenRights
from .bans import Bans
from .integrations import Integrations
from .logins import Logins
from .names import is_one_level
from .records import Ban, Login
from .tenants import Tenants


class Outcome(Enum):
    """Name what came of an authentication."""

    ACCEPTED = auto()
    WRONG = auto()
    """Unknown name or wrong secret; which of the two is not told."""
    NOT_ALLOWED = auto()
    """Anonymous where that is not allowed, or known with the right secret but switched off, expired or without role."""
    CLIENT_ID = auto()
    """The client id is another login's, or not the one that this login must have."""
    BANNED = auto()
    MALFORMED = auto()
    """The client broke the rules of its authentication method."""
    OVERLOADED = auto()
    """Too many checks are waiting."""


class Verdict(NamedTuple):
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
    answer: bytes | None = None
    """The server's last message of the authentication method, for an accepted client; not shown."""
    rights: TokenRights | None = None
    """What its token allows, for a client that was admitted by one."""

    def __repr__(self) -> str:
        return f"Verdict({self.outcome}, {self.log!r}, principal={self.principal!r}, username={self.username!r})"


class Attempt(NamedTuple):
    """Describe a client that wants to connect."""

    client_id: str
    """As it sent it; empty where it leaves the choice to the server."""
    username: str | None
    peer_host: str = ""
    """Its address; empty where it has none."""


def guessed(attempt: Attempt) -> tuple[str, ...]:
    """Name whose password may be being tried, for the limiter; user names and client ids are told apart.

    Both count whichever of them is a login, or there is none: what is counted for whom would tell.
    """
    names = () if attempt.username is None else (f"u:{attempt.username}",)
    # An empty client id, which many may have, is no login's.
    return (*names, f"c:{attempt.client_id}") if attempt.client_id else names


class Admission:
    """Decide by the state in memory; a stranger learns nothing by it, for all but bans asks for a proof first."""

    def __init__(
        self, logins: Logins, tenants: Tenants, integrations: Integrations, bans: Bans, clock: Callable[[], float]
    ) -> None:
        self._logins = logins
        self._tenants = tenants
        self._integrations = integrations
        self._bans = bans
        self._clock = clock

    def banned(self, attempt: Attempt) -> Verdict | None:
        """Refuse a client id or an address that is banned, before anything is proved."""
        return _banned(self._bans.find(attempt.client_id, attempt.peer_host))

    def anonymous(self, attempt: Attempt) -> Verdict:
        """Decide on a client that has no login."""
        if self._logins.owner_of(attempt.client_id) is not None:
            # In the words for a wrong password: nothing was proved, so nothing is to be learnt.
            return Verdict(Outcome.WRONG, _RESERVED.log)
        return Verdict(Outcome.ACCEPTED)

    def unchecked(self, attempt: Attempt) -> Verdict | None:
        """Decide on a client that need not prove anything; None where it comes under a login's name or client id.

        A ban holds, and nobody has what is a login's by saying so.
        """
        banned = self.banned(attempt)
        if banned is None and attempt.username is not None:
            banned = _banned(self._bans.find_username(attempt.username))
            if banned is None and self._logins.find("username", attempt.username) is not None:
                return None
        if banned is None and self._logins.owner_of(attempt.client_id) is not None:
            return None
        return banned or Verdict(Outcome.ACCEPTED)

    def admit(self, login: Login, attempt: Attempt) -> Verdict:
        """Decide on a client whose login was proved, by whatever means."""
        refusal = next(self._refusals(login, attempt), None)
        if refusal is not None:
            return refusal
        return Verdict(
            Outcome.ACCEPTED,
            principal=login.id,
            superuser=login.superuser,
            confined=login.confined,
            valid_until=login.valid_until,
        )

    def admit_bearer(self, bearer: Bearer, attempt: Attempt, is_own: Callable[[str], bool]) -> Verdict:
        """Decide on a client whose token is genuine; `is_own` tells which user names only their logins may use.

        What keeps a login out keeps out who comes under its name with a token, too.
        """
        name = bearer.username
        attempt = attempt._replace(username=name)
        if name is not None and (banned := _banned(self._bans.find_username(name))):
            return banned
        if name is not None and is_own(name):
            return Verdict(Outcome.WRONG, "the user name is that of a login of an organization")
        if self._logins.owner_of(attempt.client_id) is not None:
            return Verdict(Outcome.WRONG, _RESERVED.log)
        ends = [bearer.valid_until]
        stored = None if name is None else self._logins.find("username", name)
        if stored is not None:
            refusal = next(self._refusals(stored.login, attempt), None)
            if refusal is not None:
                return refusal
            ends.append(stored.login.expires_at)
        return Verdict(
            Outcome.ACCEPTED,
            superuser=bearer.superuser,
            valid_until=min((end for end in ends if end is not None), default=None),
            username=name,
            rights=bearer.rights,
        )

    def refusals(self, login: Login | None, attempt: Attempt) -> Iterator[Verdict]:
        """Give all that keeps a client out, though it proves its login; nobody but the operator may be told."""
        if banned := self.banned(attempt):
            yield banned
        if login is not None:
            yield from self._refusals(login, attempt)
        elif attempt.username is not None:
            if banned := _banned(self._bans.find_username(attempt.username)):
                yield banned
            yield UNKNOWN
        elif (verdict := self.anonymous(attempt)).outcome is not Outcome.ACCEPTED:
            yield verdict

    def _refusals(self, login: Login, attempt: Attempt) -> Iterator[Verdict]:
        """Give all that keeps a login out; the first one is what a client gets to know of."""
        own = login.login if login.login_type == "username" else None
        if own is not None and (banned := _banned(self._bans.find_username(own))):
            yield banned
        presented = attempt.username
        if presented is not None and presented != own and (banned := _banned(self._bans.find_username(presented))):
            yield banned
        if not self._tenants.is_enabled(login.tenant):
            yield Verdict(Outcome.NOT_ALLOWED, "the login's organization is switched off")
        if login.disabled_at is not None:
            yield Verdict(Outcome.NOT_ALLOWED, "the login is disabled")
        if login.paused_at is not None:
            yield Verdict(Outcome.NOT_ALLOWED, "the login is paused")
        until = login.valid_until
        if until is not None and until <= self._clock():
            yield Verdict(Outcome.NOT_ALLOWED, "the login has expired")
        if login.kind == "haltian_key" and not self._integrations.readable(login.id):
            yield Verdict(Outcome.NOT_ALLOWED, "the key lacks its role or an active integration")
        client_id = attempt.client_id
        if login.clientid_mode == "required" and client_id != login.clientid:
            yield Verdict(Outcome.CLIENT_ID, "the login must connect with another client id")
        if login.clientid_mode == "per_connection" and not self._is_free_level(client_id):
            yield Verdict(Outcome.CLIENT_ID, "the client id cannot be a level of this login's topics")
        if self._logins.owner_of(client_id) not in (None, login.id):
            yield _RESERVED

    def _is_free_level(self, client_id: str) -> bool:
        """Tell whether a client id can stand for a device of a shared login; a login of its own it must not be."""
        # The server's own choice for an empty one can.
        return is_one_level(client_id) and self._logins.find("username", client_id) is None


UNKNOWN = Verdict(Outcome.WRONG, "the login is unknown")
ANONYMOUS_REFUSED = Verdict(Outcome.NOT_ALLOWED, "anonymous clients are not allowed")
_RESERVED = Verdict(Outcome.CLIENT_ID, "the client id is reserved for another login")


def _banned(ban: Ban | None) -> Verdict | None:
    if ban is None:
        return None
    return Verdict(Outcome.BANNED, f"banned by {ban.who_type} {ban.who[:200]!r}")
