"""What a password is kept as beside what it was when it was set: a hash of today's kind, and SCRAM keys."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from logging import getLogger

from ..errors import NotFound, StoreError
from ..logins import Logins, StoredLogin
from ..records import Login
from ..writer import Writer
from .passwords import Passwords
from .scram import prepare_password
from .scram_login import ScramLogins
from .stored_secrets import StoredSecret
from .verification import is_whole

_MAX_DERIVING = 10
"""Logins whose password is being hashed or waits for it; each is in memory for as long."""

_logger = getLogger(__name__)


class KeyDerivation:
    """Hash a password anew that was imported or is of another cost, once it has been seen to be right.

    Likewise give the logins SCRAM keys that have none, or some of another cost. The login itself does not wait for
    it: after an upgrade or an import every client of a big installation comes at once, and this costs several times
    what its check does.
    """

    def __init__(
        self,
        scram: ScramLogins,
        logins: Logins,
        passwords: Passwords,
        writer: Writer,
        stays: Callable[[StoredLogin], bool] = lambda stored: False,
    ) -> None:
        """Ask `stays` whether a login's hash is to be left as it is though it is not of today's kind."""
        self._stays = stays
        self._scram = scram
        self._logins = logins
        self._passwords = passwords
        self._writer = writer
        self._deriving: dict[str, asyncio.Task[None]] = {}

    def consider(self, stored: StoredLogin, password: bytes) -> None:
        """Derive and keep what the login needs; past a bound, at a later login."""
        login, secret = stored.login, stored.secret
        if secret is None or not (secret.outdated or self._needs_keys(secret)):
            return
        outdated = secret.outdated and not self._stays(stored)
        if not outdated and not self._needs_keys(secret):
            return
        if login.id in self._deriving or len(self._deriving) >= _MAX_DERIVING:
            return
        if not is_whole(secret, password):
            # Another password was as right as this one; to choose between them is nobody's business here.
            return
        salt = self._salt(login, secret, password)
        if salt is None and not outdated:
            return
        self._deriving[login.id] = task = asyncio.ensure_future(
            self._derive(login, secret, password, salt, outdated=outdated)
        )
        task.add_done_callback(lambda done: self._deriving.pop(login.id, None))

    async def close(self) -> None:
        """Give up what is under way; a later login takes it up again."""
        for task in (tasks := list(self._deriving.values())):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _needs_keys(self, secret: StoredSecret) -> bool:
        return secret.scram is None or secret.scram.iterations != self._scram.iterations

    def _salt(self, login: Login, secret: StoredSecret, password: bytes) -> bytes | None:
        """Return what new SCRAM keys are to be salted with, None where there are to be none."""
        if not self._needs_keys(secret):
            return None
        salt = self._scram.salt(login.login_type, login.login)
        return None if salt is None or prepare_password(password) is None else salt

    async def _derive(
        self, login: Login, secret: StoredSecret, password: bytes, salt: bytes | None, *, outdated: bool
    ) -> None:
        try:
            kept = await self._renewed(secret, password, salt, outdated=outdated)
            if kept is None:
                return
            # Before the new hash counts: others may be under way with the same password and the old one.
            self._passwords.remember(login.id, kept, password)
            await self._writer.write(lambda at: self._logins.keep_secret(login, secret, kept))
        except NotFound:
            return
        except StoreError as error:
            _logger.warning("the password of login %r was not hashed anew: %s", login.login, error.message)

    async def _renewed(
        self, secret: StoredSecret, password: bytes, salt: bytes | None, *, outdated: bool
    ) -> StoredSecret | None:
        """Return what the password is to be kept as, None where that is what is there."""
        if outdated:
            renewed = await self._passwords.renew(password, salt)
            return replace(renewed, scram=renewed.scram or secret.scram)
        keys = None if salt is None else await self._passwords.derive_keys(password, salt)
        return None if keys is None else replace(secret, scram=keys)
