"""The archives of data backups: files of one folder that nobody else can read, named as EMQX names them.

All but `exclusive` blocks, and is for threads.
"""

import asyncio
import os
import re
import shutil
import stat
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .errors import bad_request

MAX_FILES = 1_000
SUFFIX = ".tar.gz"
_FOLDER = "backup"
_STAGING = ".new-"
"""What the names begin with of what is not finished."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\.tar\.gz")


class BackupFile(NamedTuple):
    """Describe an archive."""

    name: str
    size: int
    created_at: float


class BackupFiles:
    """Own the folder `backup` of the data directory; without one a temporary folder that goes with the application."""

    def __init__(self, data_dir: Path | None) -> None:
        self._data_dir = data_dir
        self._folder: Path | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def exclusive(self) -> AsyncGenerator[None]:
        """Have nobody else export, import or upload meanwhile; raises `ApiError` 400 where somebody does."""
        if self._lock.locked():
            raise bad_request("another export, import or upload is under way")
        async with self._lock:
            yield

    @staticmethod
    def check_name(name: str) -> str:
        """Return the name of an archive; raises `ApiError` 400 for what is none."""
        if not _NAME.fullmatch(name):
            raise bad_request(f"filename: must be letters, digits, dots, - and _, and end in {SUFFIX}")
        return name

    def folder(self) -> Path:
        """Make the folder where it is not there yet, and clear up what an interrupted export left. Raises OSError."""
        if self._folder is None:
            if self._data_dir is None:
                self._temporary = tempfile.TemporaryDirectory(prefix="wardenmq-backup-")
                self._folder = Path(self._temporary.name)
            else:
                self._folder = _private(self._data_dir / _FOLDER)
            for leftover in self._folder.glob(f"{_STAGING}*"):
                shutil.rmtree(leftover, ignore_errors=True)
        return self._folder

    def close(self) -> None:
        """Remove the folder if it is temporary."""
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = self._folder = None

    def all(self) -> list[BackupFile]:
        """List the archives, the newest first. Raises OSError."""
        found: list[BackupFile] = []
        with os.scandir(self.folder()) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    found.append(BackupFile(entry.name, status.st_size, status.st_mtime))
        return sorted(found, key=lambda file: (file.created_at, file.name), reverse=True)

    def open(self, name: str) -> tuple[BinaryIO, int]:
        """Open an archive, and tell its size. Raises FileNotFoundError, OSError."""
        path = self.folder() / name
        if path.is_symlink():
            raise FileNotFoundError(name)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise FileNotFoundError(name)
        return os.fdopen(descriptor, "rb"), status.st_size

    def delete(self, name: str) -> None:
        """Delete an archive. Raises FileNotFoundError, OSError."""
        path = self.folder() / name
        if path.is_dir() and not path.is_symlink():
            raise FileNotFoundError(name)
        path.unlink()

    def unused_name(self, now: float) -> str:
        """Make the name of an export. Raises OSError."""
        milliseconds = int(now * 1_000)
        while True:
            moment = datetime.fromtimestamp(milliseconds // 1_000, UTC)
            name = f"emqx-export-{moment:%Y-%m-%d-%H-%M-%S}.{milliseconds % 1_000:03d}{SUFFIX}"
            if not os.path.lexists(self.folder() / name):
                return name
            milliseconds += 1

    def check_room(self) -> None:
        """Raise `ApiError` 400 where there are very many archives already; OSError."""
        if len(self.all()) >= MAX_FILES:
            raise bad_request(f"there are {MAX_FILES} backup files already; delete some of them")

    @contextmanager
    def staging(self) -> Generator[Path]:
        """Give a new folder beside the archives, which goes with all that is left in it. Raises OSError."""
        path = Path(tempfile.mkdtemp(prefix=_STAGING, dir=self.folder()))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def add(self, name: str, write: Callable[[BinaryIO], object]) -> BackupFile:
        """Write an archive: whole, or not at all. Raises FileExistsError, OSError, and what `write` raises."""
        target = self.folder() / name
        with self.staging() as staged:
            path = staged / name
            with create_private(path) as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            if os.path.lexists(target):
                raise FileExistsError(name)
            path.rename(target)
        status = target.stat()
        return BackupFile(name, status.st_size, status.st_mtime)


def create_private(path: Path) -> BinaryIO:
    """Make a file that is for its owner alone. Raises OSError."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _private(folder: Path) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    return folder
