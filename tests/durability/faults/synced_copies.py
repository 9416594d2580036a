"""What survives a power failure: a copy of each file as it was when SQLite last had it synced."""

import os
from pathlib import Path


class SyncedCopies:
    """Own the directory of copies; the files themselves are opened once and never closed.

    To close a file takes back the locks that this process holds on it, those of SQLite's connections among them.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._opened: dict[tuple[int, int], int] = {}
        self._taken: set[str] = set()
        for copy in directory.iterdir():
            copy.unlink()  # of a process before this one

    def opened(self, path: str) -> None:
        """Take the file for synced that this process finds when it opens it first."""
        if path not in self._taken:
            self.take(path)

    def take(self, path: str) -> None:
        """Copy the file as it is now; nobody else may be writing to it."""
        self._taken.add(path)
        status = os.stat(path)
        key = status.st_dev, status.st_ino
        if key not in self._opened:
            self._opened[key] = os.open(path, os.O_RDONLY)
        content = os.pread(self._opened[key], status.st_size, 0)
        copy = self._directory / Path(path).name
        half = copy.with_name("half")  # the process may be killed now
        half.write_bytes(content)
        half.rename(copy)
