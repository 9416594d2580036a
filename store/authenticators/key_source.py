"""Where the keys of a token authenticator come from: its settings, a file, or an address that is asked now and then."""

import asyncio
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from logging import getLogger
from typing import Literal, Protocol
from urllib.parse import unquote, urlsplit

from ..errors import Invalid, StoreError
from .settings import KeySet, PublicKey, SharedSecret
from .tokens import Key

Status = Literal["connected", "connecting", "disconnected"]

FETCH_SECONDS = 10.0
MAX_FILE_BYTES = 512 * 1024
_MIN_PAUSE = 5.0
"""Seconds between two looks because a token names a key that is not there."""

_logger = getLogger(__name__)


class KeyFetcher(Protocol):
    """Get a document over HTTP. Raises OSError, TimeoutError or ValueError, with a sentence."""

    async def __call__(
        self, url: str, headers: Mapping[str, str], *, limit: int, verify_peer: bool, ca_file: str
    ) -> bytes: ...


class KeySource:
    """Hold the keys as they were got last; what fails later leaves them as they are."""

    def __init__(
        self,
        given: SharedSecret | PublicKey | KeySet,
        fetcher: Callable[[], KeyFetcher | None] = lambda: None,
    ) -> None:
        """Take what says where the keys are; `fetcher` gives what reaches those that are published over HTTP."""
        self._given = given
        self._fetcher = fetcher
        self._task: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self.keys: Sequence[Key] = ()
        self.status: Status = "connecting"
        self.problem = ""
        """Why it is not connected."""

    @property
    def is_remote(self) -> bool:
        """Whether the keys come over the network."""
        return isinstance(self._given, KeySet) and self._given.endpoint.startswith(("http://", "https://"))

    async def load(self) -> None:
        """Get the keys; raise Invalid where that fails."""
        self.keys = await self._get()
        self.status, self.problem = "connected", ""

    async def try_to_load(self) -> None:
        """Get the keys; where that fails, keep those that there are and say so."""
        try:
            await self.load()
        except StoreError as error:
            if self.status != "disconnected":
                _logger.warning("the keys of the jwt authenticator could not be got: %s", error.message)
            self.status, self.problem = "disconnected", error.message

    def start(self) -> None:
        """Look for new keys from now on, where they may become others."""
        if isinstance(self._given, KeySet) and self._task is None:
            self._task = asyncio.ensure_future(self._keep_up(self._given.refresh_interval))

    async def close(self) -> None:
        """Look no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def missed(self) -> None:
        """Note that a token names a key that is not there: it may have come since."""
        self._wanted.set()

    async def _keep_up(self, interval: float) -> None:
        if self.status == "connecting":
            await self.try_to_load()
        while True:
            await asyncio.sleep(min(_MIN_PAUSE, interval))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), max(0.0, interval - _MIN_PAUSE))
            self._wanted.clear()
            await self.try_to_load()

    async def _get(self) -> Sequence[Key]:
        # Not before it is needed: it takes as long to import as the rest of the store.
        from .signing_keys import read_key_set, read_pem, read_secret

        given = self._given
        if isinstance(given, SharedSecret):
            return (read_secret(given.secret, is_base64=given.is_base64),)
        if isinstance(given, PublicKey):
            if "-----BEGIN" in given.text:
                return (read_pem(given.text),)
            data = await asyncio.to_thread(read_small_file, given.text.strip())
            return (read_pem(data.decode(errors="replace")),)
        return await asyncio.to_thread(read_key_set, await self._document(given))

    async def _document(self, given: KeySet) -> bytes:
        if not self.is_remote:
            return await asyncio.to_thread(read_small_file, _path_of(given.endpoint))
        fetch = self._fetcher()
        if fetch is None:
            raise Invalid("Keys cannot be fetched over HTTP here.")
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                return await fetch(
                    given.endpoint,
                    given.headers,
                    limit=MAX_FILE_BYTES,
                    verify_peer=given.verify_peer,
                    ca_file=given.ca_file,
                )
        except TimeoutError:
            raise Invalid(f"The endpoint did not answer within {FETCH_SECONDS:g} seconds.") from None
        except (OSError, ValueError) as error:
            raise Invalid(f"The endpoint cannot be read: {str(error)[:200]}") from None


def read_small_file(path: str, limit: int = MAX_FILE_BYTES) -> bytes:
    """Read a regular file, with not a word of what is in it; raise Invalid."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Invalid("This is not a regular file.")
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "its name is not valid"
        raise Invalid(f"The file cannot be read: {reason}.") from None
    if len(data) > limit:
        raise Invalid(f"The file is larger than {limit} bytes.")
    return data


def _without_waiting(path: str, flags: int) -> int:
    """Open without waiting for a writer, as a named pipe would."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _path_of(endpoint: str) -> str:
    return unquote(urlsplit(endpoint).path) if endpoint.startswith("file:") else endpoint
