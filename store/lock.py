"""One owner for a data directory: an advisory lock on a file in it, which the kernel drops when the process ends.

The file says who the owner is: on its first line the process, on its second where it can be asked to change things.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from .errors import StoreError

LOCK_NAME = "wardenmq.lock"
_MAX_CONTENT = 1_024


@dataclass(frozen=True, slots=True)
class Owner:
    """Name the process that owns a data directory, as far as it has said so by now."""

    pid: int | None = None
    api_url: str | None = None
    """The management API; None while it does not listen, and for a process that has none."""

    def __str__(self) -> str:
        return "another process" if self.pid is None else f"process {self.pid}"


class DataDirectoryInUse(StoreError):
    """Say that another process owns the data directory."""

    def __init__(self, message: str, owner: Owner) -> None:
        super().__init__(message)
        self.owner = owner


class DataDirectoryUnusable(StoreError):
    """Say that the data directory cannot be created or written."""


class DataDirectoryLock:
    """Hold a data directory for this process until `release`; the lock file itself stays."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, data_dir: Path) -> "DataDirectoryLock":
        """Create the directory for its owner alone (0700) where it is missing, and lock it without waiting.

        Raises DataDirectoryInUse or DataDirectoryUnusable.
        """
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataDirectoryUnusable(f"The data directory {data_dir} is not usable: {error.strerror}.") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = _read_owner(descriptor)
            os.close(descriptor)
            raise DataDirectoryInUse(f"The data directory {data_dir} is in use by {owner}.", owner) from error
        except OSError as error:
            os.close(descriptor)
            raise DataDirectoryUnusable(f"{data_dir / LOCK_NAME} cannot be locked: {error.strerror}.") from error
        lock = cls(descriptor)
        lock._write(f"{os.getpid()}\n")
        return lock

    def announce(self, api_url: str) -> None:
        """Tell those who find the directory locked where the management API listens."""
        self._write(f"{os.getpid()}\n{api_url}\n")

    def release(self) -> None:
        """Let the next owner in; a second call does nothing."""
        if self._descriptor >= 0:
            # The file stays: a lock on an unlinked file would let two owners in. What it says goes: somebody else
            # may listen at that address before there is another owner.
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, text: str) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)


def _read_owner(descriptor: int) -> Owner:
    """Read what an owner wrote; it may be writing at this moment, so only whole lines count."""
    *lines, _ = os.pread(descriptor, _MAX_CONTENT, 0).decode("ascii", "replace").split("\n")
    pid = int(lines[0]) if lines and lines[0].isdigit() else None
    return Owner(pid, lines[1] if pid is not None and len(lines) > 1 else None)
