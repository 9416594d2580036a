"""Trace files for whoever reads them over the API: a part as text, or the whole in an archive. Called in threads."""

import os
import zipfile
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

MAX_PART = 1_048_576
"""Bytes of a file that are given at once, however many were asked for."""
_LONGEST_CHARACTER = 4
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


class Part(NamedTuple):
    """Text, and where in the file it ends."""

    text: str
    end: int


def size_of(path: Path | None) -> int:
    """Give the size of a file, 0 where there is none."""
    return 0 if path is None or not path.exists() else path.stat().st_size


def read_part(path: Path | None, position: int, most: int) -> Part:
    """Read about so many bytes from a position on, whole characters; nothing where the file has no more."""
    try:
        if path is None:
            raise FileNotFoundError
        with os.fdopen(os.open(path, _FLAGS), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if position >= size:
                return Part("", size)
            file.seek(position)
            data = file.read(min(most, MAX_PART))
            if data:
                data += file.read(_missing(data))
    except (FileNotFoundError, NotADirectoryError):
        return Part("", 0)
    return Part(data.decode("utf-8", "replace"), position + len(data))


def _missing(data: bytes) -> int:
    """Count the bytes that are wanting of the last character."""
    for back in range(1, min(_LONGEST_CHARACTER, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            length = 1 if byte < 0xC0 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return max(0, length - back)
    return 0


def archive(path: Path, name: str) -> bytes | None:
    """Pack a file into a ZIP archive under a name; None where there is no file."""
    packed = BytesIO()
    try:
        with (
            os.fdopen(os.open(path, _FLAGS), "rb") as file,
            zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target,
            target.open(name, "w", force_zip64=True) as entry,
        ):
            while data := file.read(MAX_PART):
                entry.write(data)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return packed.getvalue()
