"""One owner for a data directory: an advisory lock on a file in it, which the kernel drops when the process ends."""

import fcntl
import os
from pathlib import Path

from .errors import StoreError

LOCK_NAME = "wardenmq.lock"


class DataDirectoryInUse(StoreError):
    """Say that another process owns the data directory."""


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
            owner = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            by = f"process {owner}" if owner.isdigit() else "another process"
            raise DataDirectoryInUse(f"The data directory {data_dir} is in use by {by}.") from error
        except OSError as error:
            os.close(descriptor)
            raise DataDirectoryUnusable(f"{data_dir / LOCK_NAME} cannot be locked: {error.strerror}.") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(descriptor)

    def release(self) -> None:
        """Let the next owner in; a second call does nothing."""
        if self._descriptor >= 0:
            # The file stays: a lock on an unlinked file would let two owners in.
            os.close(self._descriptor)
            self._descriptor = -1
