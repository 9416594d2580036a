"""A tar archive that somebody else may have made, read from its beginning: plain files, and nothing else.

Headers that make a reader keep as much as they say (long names, extended attributes) are not read at all.
"""

import gzip
import tarfile
import zlib
from typing import BinaryIO, cast

from .errors import StoreError

_CHUNK = 1 << 20


class BackupUnacceptable(StoreError):
    """Say that a file is no backup, or none that this release can restore."""


class PlainTar:
    """Read what gzip has compressed; every method raises BackupUnacceptable or OSError."""

    def __init__(self, stream: BinaryIO, *, most: int | None = None, skip_folders: bool = False) -> None:
        """Begin where the stream stands; no more than `most` bytes are decompressed."""
        self._stream = cast("BinaryIO", gzip.GzipFile(fileobj=stream, mode="rb"))
        self._left = most
        self._skip_folders = skip_folders

    def header(self) -> tarfile.TarInfo | None:
        """Read the header of a plain file; None at the archive's end."""
        while any(block := self.read(tarfile.BLOCKSIZE)):
            try:
                header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
            except (tarfile.HeaderError, ValueError):
                raise BackupUnacceptable("The file is no backup: it is no tar archive.") from None
            if self._skip_folders and header.type == tarfile.DIRTYPE and header.size == 0:
                continue
            if header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or header.size < 0:
                raise BackupUnacceptable("The backup holds something that is no plain file.")
            return header
        return None

    def read(self, size: int) -> bytes:
        """Read so many bytes."""
        if self._left is not None:
            self._left -= size
            if self._left < 0:
                raise BackupUnacceptable("The backup holds more than is taken.")
        try:
            data = self._stream.read(size)
        except (gzip.BadGzipFile, zlib.error):
            raise BackupUnacceptable("The file is no backup, or is damaged: it cannot be decompressed.") from None
        except EOFError:
            data = b""
        if len(data) < size:
            raise BackupUnacceptable("The backup is not whole: it ends too early.")
        return data

    def skip(self, size: int) -> None:
        """Leave out so many bytes."""
        while size:
            size -= len(self.read(min(size, _CHUNK)))

    def skip_padding(self, size: int) -> None:
        """Leave out what stands behind a file of this size."""
        self.read(-size % tarfile.BLOCKSIZE)
