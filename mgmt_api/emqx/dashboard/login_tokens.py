"""Who is logged in: opaque tokens, kept in memory alone, so that a restart ends them all."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from ....store.credentials.stored_secrets import digest, generate_token
from ....store.dashboard_users import DashboardUser, DashboardUsers
from ...state import Part

MAX_TOKENS = 10_000
MAX_PER_USER = 100


class NoLogin(Enum):
    """Say why a token is none."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"


@dataclass(slots=True)
class _Login:
    user: DashboardUser
    used_at: float


class LoginTokens:
    """Own the tokens of dashboard users.

    A token ends with its life, a logout, and whatever changes the user's password or role or deletes the user, by
    whichever way. Past the bounds the one that was not used for longest goes.
    """

    def __init__(self, users: DashboardUsers, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the users and a clock that is never set back."""
        self._users = users
        self._clock = clock
        # Found by digest: without the token nobody can steer where in the table the search ends. Latest use last.
        self._logins: OrderedDict[bytes, _Login] = OrderedDict()

    def __len__(self) -> int:
        """Count the tokens, those that have ended and were not looked for since included."""
        return len(self._logins)

    def create(self, user: DashboardUser) -> str:
        """Give a user a new token."""
        own = [key for key, login in self._logins.items() if login.user.name == user.name]
        for key in own[: max(0, len(own) + 1 - MAX_PER_USER)]:
            del self._logins[key]
        if len(self._logins) >= MAX_TOKENS:
            self._logins.popitem(last=False)
        token = generate_token()
        self._logins[digest(token.encode())] = _Login(user, self._clock())
        return token

    def find(self, token: str, life: float) -> DashboardUser | NoLogin:
        """Return who has this token, which is good for another `life` seconds then."""
        key = digest(token.encode(errors="surrogatepass"))
        login = self._logins.get(key)
        if login is None:
            return NoLogin.UNKNOWN
        user = self._users.get(login.user.name)
        if user is None or (user.id, user.revision) != (login.user.id, login.user.revision):
            del self._logins[key]
            return NoLogin.UNKNOWN
        now = self._clock()
        if now >= login.used_at + life:
            return NoLogin.EXPIRED
        login.used_at = now
        self._logins.move_to_end(key)
        return user

    def end(self, token: str) -> None:
        """Log out."""
        self._logins.pop(digest(token.encode(errors="surrogatepass")), None)


TOKENS: Part[LoginTokens] = Part(lambda state: LoginTokens(state.directory.dashboard_users))
"""Who is logged in."""
