"""SCRAM keys for passwords that were set before there were any, or at another cost."""

import asyncio
from logging import getLogger

from .errors import NotFound, StoreError
from .logins import Logins, StoredLogin
from .passwords import Passwords
from .records import Login
from .scram import prepare_password
from .scram_login import ScramLogins
from .stored_secrets import StoredSecret
from .writer import Writer

_MAX_DERIVING = 10
"""Logins whose keys are being derived or wait for it; the password of each is in memory for as long."""

_logger = getLogger(__name__)


class KeyDerivation:
    """Give the logins keys that have none, or some of another cost, once their password has been seen to be right.

    The login itself does not wait for it: after an upgrade every client of a big installation comes at once, and
    this costs several times what its check does.
    """

    def __init__(self, scram: ScramLogins, logins: Logins, passwords: Passwords, writer: Writer) -> None:
        self._scram = scram
        self._logins = logins
        self._passwords = passwords
        self._writer = writer
        self._deriving: dict[str, asyncio.Task[None]] = {}

    def consider(self, stored: StoredLogin, password: bytes) -> None:
        """Derive and keep the login's keys where it needs some; past a bound, at a later login."""
        login, secret = stored.login, stored.secret
        if secret is None or (secret.scram is not None and secret.scram.iterations == self._scram.iterations):
            return
        if login.id in self._deriving or len(self._deriving) >= _MAX_DERIVING:
            return
        salt = self._scram.salt(login.login_type, login.login)
        if salt is None or prepare_password(password) is None:
            return
        self._deriving[login.id] = task = asyncio.ensure_future(self._derive(login, secret, password, salt))
        task.add_done_callback(lambda done: self._deriving.pop(login.id, None))

    async def close(self) -> None:
        """Give up what is under way; a later login takes it up again."""
        for task in (tasks := list(self._deriving.values())):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _derive(self, login: Login, secret: StoredSecret, password: bytes, salt: bytes) -> None:
        try:
            keys = await self._passwords.derive_keys(password, salt)
            if keys is not None:
                await self._writer.write(lambda at: self._logins.keep_scram_keys(login, secret, keys))
        except NotFound:
            return
        except StoreError as error:
            _logger.warning("the SCRAM keys of login %r were not kept: %s", login.login, error.message)
