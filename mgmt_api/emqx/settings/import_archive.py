"""The archive of a data backup, which anybody may have made: looked through as a whole before anything is taken of it.

Nothing is unpacked to the disk. The configuration is small and kept; tables are read row by row, straight from the
stream. All of it blocks, and is for threads.
"""

import re
import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from ....store.plain_tar import BackupUnacceptable, PlainTar
from .hocon import HoconError, read_hocon
from .table_sets import (
    CONFIGURATION_NAME,
    EDITION,
    FORMAT,
    MAX_CONFIGURATION,
    MAX_LINE,
    MAX_MEMBERS,
    MAX_META,
    MAX_TABLE,
    MAX_UNPACKED,
    META_NAME,
    TABLE_FOLDER,
    TABLE_SETS,
)

_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,199})/([^\0]{1,300})")
_VERSION = re.compile(r"v?(\d{1,6})(?:\.(\d{1,6}))?(?:[.+-].*)?")
_TABLE = f"{TABLE_FOLDER}/"
_EMQX = 5
"""The major version of EMQX whose configuration is understood."""
_CHUNK = 65_536
_MOST: dict[str, int] = {META_NAME: MAX_META, CONFIGURATION_NAME: MAX_CONFIGURATION}


class TableReader:
    """Read one table of an archive, to its end or not; raises BackupUnacceptable."""

    def __init__(self, tar: PlainTar, name: str, size: int) -> None:
        self.name = name
        self._tar = tar
        self._left = size
        self._buffer = bytearray()

    def line(self) -> bytes | None:
        """Read a row; None at the end."""
        end = self._buffer.find(b"\n")
        while end < 0:
            if len(self._buffer) > MAX_LINE:
                raise BackupUnacceptable(f"A row of {self.name} is longer than {MAX_LINE} bytes.")
            before = len(self._buffer)
            if not self._fill():
                if not self._buffer:
                    return None
                raise BackupUnacceptable(f"The last row of {self.name} is not whole.")
            end = self._buffer.find(b"\n", before)
        found = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return found

    def data(self, size: int) -> bytes:
        """Read what stands behind a row."""
        head = bytes(self._buffer[:size])
        del self._buffer[:size]
        rest = size - len(head)
        if rest > self._left:
            raise BackupUnacceptable(f"The last row of {self.name} is not whole.")
        self._left -= rest
        return head + self._tar.read(rest) if rest else head

    def skip(self, size: int) -> None:
        """Leave out what stands behind a row."""
        while size:
            size -= len(self.data(min(size, _CHUNK)))

    def finish(self) -> None:
        """Leave out what is left."""
        self._buffer.clear()
        self._tar.skip(self._left)
        self._left = 0

    def _fill(self) -> bool:
        size = min(self._left, _CHUNK)
        self._buffer += self._tar.read(size)
        self._left -= size
        return size > 0


class ImportArchive:
    """Hold what was found in an archive that can be read from beginning to end; raises BackupUnacceptable, OSError."""

    def __init__(self, stream: BinaryIO, release: str) -> None:
        """Look it through; `release` is the one that runs, and an archive of a newer one is not taken."""
        self._stream = stream
        self._folder = ""
        self.configuration = b""
        """The text of the configuration, in HOCON."""
        self.tables: list[str] = []
        """The names of the tables that can be read."""
        self.foreign: list[str] = []
        """The names of tables in a format that is not known here."""
        others = self._look_through()
        self._check_meta(release, others)

    def readers(self) -> Iterator[TableReader]:
        """Read the archive again, table by table; what is not read of one is left out."""
        tar = self._open()
        while (found := self._next(tar)) is not None:
            name, header = found
            if name.removeprefix(_TABLE) in self.tables and name.startswith(_TABLE):
                reader = TableReader(tar, name.removeprefix(_TABLE), header.size)
                yield reader
                reader.finish()
            else:
                tar.skip(header.size)
            tar.skip_padding(header.size)

    def _open(self) -> PlainTar:
        self._stream.seek(0)
        return PlainTar(self._stream, most=MAX_UNPACKED, skip_folders=True)

    def _next(self, tar: PlainTar) -> tuple[str, tarfile.TarInfo] | None:
        """Give the name inside the archive's one folder and the header of the next file."""
        header = tar.header()
        if header is None:
            return None
        match = _NAME.fullmatch(header.name)
        if match is None or (self._folder and match[1] != self._folder):
            raise BackupUnacceptable("The archive does not hold one folder with everything in it.")
        self._folder = match[1]
        return match[2], header

    def _look_through(self) -> list[str]:
        """Read all of it; returns the names that no backup of ours has."""
        self._meta: dict[str, Any] | None = None
        names = set[str]()
        others: list[str] = []
        tar = self._open()
        while (found := self._next(tar)) is not None:
            name, header = found
            if name in names or len(names) >= MAX_MEMBERS:
                raise BackupUnacceptable("The archive holds a file twice, or very many files.")
            names.add(name)
            if header.size > _MOST.get(name, MAX_TABLE):
                raise BackupUnacceptable(f"{name[:200]} in the archive is too large.")
            if name == META_NAME:
                self._meta = _read(name, tar.read(header.size))
            elif name == CONFIGURATION_NAME:
                self.configuration = tar.read(header.size)
            else:
                tar.skip(header.size)
                others.append(name)
            tar.skip_padding(header.size)
        return others

    def _check_meta(self, release: str, others: list[str]) -> None:
        meta = self._meta
        if meta is None:
            raise BackupUnacceptable(f"There is no {META_NAME} in the archive.")
        match = _VERSION.fullmatch(str(meta.get("version", "")))
        if match is None:
            raise BackupUnacceptable(f"{META_NAME} in the archive names no version.")
        version = (int(match[1]), int(match[2] or 0))
        tables = [name.removeprefix(_TABLE) for name in others if name.startswith(_TABLE)]
        if meta.get("edition") != EDITION:
            if version[0] > _EMQX:
                raise BackupUnacceptable(f"The archive is of version {match[0][:50]}, which is too new.")
            self.foreign = tables
            return
        own = _VERSION.fullmatch(release)
        if meta.get("format") != FORMAT or (own is not None and version > (int(own[1]), int(own[2] or 0))):
            raise BackupUnacceptable(f"The archive is of version {match[0][:50]}, which is newer than this one.")
        strange = [
            name for name in others if not name.startswith(_TABLE) or name.removeprefix(_TABLE) not in TABLE_SETS
        ]
        if strange:
            raise BackupUnacceptable(f"The archive holds {strange[0][:200]!r}, which is no part of a backup.")
        self.tables = tables


def _read(name: str, data: bytes) -> dict[str, Any]:
    try:
        return read_hocon(data.decode())
    except (UnicodeDecodeError, HoconError, RecursionError):
        raise BackupUnacceptable(f"{name} in the archive cannot be read.") from None
