"""One owner for a data directory: an advisory lock on a file in it, which the kernel drops when the process ends.

The file says who the owner is: on its first line the process, on its second where it can be asked to change things,
on its third a key by which whoever answers there proves to be the owner. What is left of an owner that crashed, or the
address of one that just ended, is thus no reason to trust whoever listens there now.
"""

import fcntl
import hmac
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from .errors import StoreError

LOCK_NAME = "wardenmq.lock"
_MAX_CONTENT = 1_024
_KEY_BYTES = 32
_PURPOSE = b"wardenmq, owner of a data directory: "


def new_challenge() -> str:
    """Make up what an owner has to prove itself on: hexadecimal, and never the same again."""
    return secrets.token_hex(_KEY_BYTES)


@dataclass(frozen=True, slots=True)
class Owner:
    """Name the process that owns a data directory, as far as it has said so by now."""

    pid: int | None = None
    api_url: str | None = None
    """The management API; None while it does not listen, and for a process that has none."""
    key: str = field(default="", repr=False)

    def __str__(self) -> str:
        return "another process" if self.pid is None else f"process {self.pid}"

    def is_proved(self, challenge: str, proof: str) -> bool:
        """Tell whether this owner gave the proof for a challenge; False where it left no key."""
        expected = _prove(self.key, challenge).encode()
        return hmac.compare_digest(expected, proof.encode("utf-8", "replace")) and bool(self.key)


class DataDirectoryInUse(StoreError):
    """Say that another process owns the data directory."""

    def __init__(self, message: str, owner: Owner) -> None:
        super().__init__(message)
        self.owner = owner


class DataDirectoryUnusable(StoreError):
    """Say that the data directory cannot be created or written, or is not what it has to be."""


class DataDirectoryLock:
    """Hold a data directory for this process until `release`; the lock file itself stays."""

    def __init__(self, descriptor: int, key: str) -> None:
        self._descriptor = descriptor
        self._key = key

    @classmethod
    def acquire(cls, data_dir: Path, *, database: str | None = None) -> "DataDirectoryLock":
        """Create the directory for its owner alone (0700) where it is missing, and lock it without waiting.

        With `database`, the file of this name has to be there already, and nothing is created or written where it is
        not. Raises DataDirectoryInUse or DataDirectoryUnusable.
        """
        try:
            if database is None:
                data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = _open(data_dir, create=database is None or (data_dir / database).exists())
        except OSError as error:
            raise DataDirectoryUnusable(_reason(data_dir, database, error)) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if database is not None and not (data_dir / database).exists():
                raise DataDirectoryUnusable(_no_database(data_dir))
            lock = cls(descriptor, secrets.token_hex(_KEY_BYTES))
            os.fchmod(descriptor, 0o600)
            lock._write(_pid_line())
        except BlockingIOError as error:
            owner = _read_owner(descriptor)
            os.close(descriptor)
            raise DataDirectoryInUse(f"The data directory {data_dir} is in use by {owner}.", owner) from error
        except OSError as error:
            os.close(descriptor)
            raise DataDirectoryUnusable(f"{data_dir / LOCK_NAME} cannot be locked: {error.strerror}.") from error
        except BaseException:
            os.close(descriptor)
            raise
        return lock

    def announce(self, api_url: str) -> None:
        """Tell those who find the directory locked where the management API listens."""
        self._write(f"{_pid_line()}{api_url}\n{self._key}\n")

    def withdraw(self) -> None:
        """Take back where the management API listens: before it stops, because anybody may listen there then."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, len(_pid_line()))

    def prove(self, challenge: str) -> str:
        """Give the proof of being the owner that somebody asks for who has read the lock file."""
        return _prove(self._key, challenge)

    def release(self) -> None:
        """Let the next owner in; a second call does nothing."""
        if self._descriptor >= 0:
            # The file stays: a lock on an unlinked file would let two owners in. What it says goes: somebody else
            # may listen at that address before there is another owner.
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, text: str) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)


def _open(data_dir: Path, *, create: bool) -> int:
    """Open the lock file, if it is a file of ours and no other name leads to it: it is going to be overwritten.

    Raises OSError or DataDirectoryUnusable.
    """
    file = data_dir / LOCK_NAME
    # A symbolic link, a pipe or a directory is found out about only after it was opened, in whatever way it can be.
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | (os.O_CREAT if create else 0)
    try:
        descriptor = os.open(file, flags, 0o600)
    except OSError:
        if file.is_symlink() or file.is_dir():
            raise DataDirectoryUnusable(f"{file} is not a plain file; it was left as it is.") from None
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise DataDirectoryUnusable(f"{file} is not a plain file; it was left as it is.")
        if not _may_own(found.st_uid, data_dir):
            raise DataDirectoryUnusable(f"{file} belongs to another user; it was left as it is.")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _may_own(user: int, data_dir: Path) -> bool:
    """Tell whether a lock file may be this user's: ours or, for root, the one's whose directory it is."""
    ours = os.geteuid()
    return user == ours or (ours == 0 and user == data_dir.stat().st_uid)


def _reason(data_dir: Path, database: str | None, error: OSError) -> str:
    if database is not None and isinstance(error, FileNotFoundError):
        return _no_database(data_dir)
    return f"The data directory {data_dir} is not usable: {error.strerror}."


def _no_database(data_dir: Path) -> str:
    return f"There is no database in {data_dir}: start the server there once."


def _pid_line() -> str:
    return f"{os.getpid()}\n"


def _prove(key: str, challenge: str) -> str:
    return hmac.new(key.encode(), _PURPOSE + challenge.encode(), "sha256").hexdigest()


def _read_owner(descriptor: int) -> Owner:
    """Read what an owner wrote; it may be writing at this moment, so only whole lines count."""
    *lines, _ = os.pread(descriptor, _MAX_CONTENT, 0).decode("ascii", "replace").split("\n")
    pid = int(lines[0]) if lines and lines[0].isdigit() else None
    if pid is None or len(lines) < 3:
        return Owner(pid)
    return Owner(pid, lines[1], lines[2])
