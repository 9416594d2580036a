"""The file that a backup is: a tar compressed with gzip, in it first a manifest and then the files that it names.

Whoever restores one may not have made it. Nothing is unpacked but plain files of names that a backup can hold, each
once, of the size and with the hash that the manifest says; headers that make a reader keep as much as they say (long
names, extended attributes) are not read at all.
"""

import gzip
import hashlib
import json
import os
import tarfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from .plain_tar import BackupUnacceptable, PlainTar

__all__ = ["ArchiveReader", "BackupEntry", "BackupUnacceptable", "Manifest", "hash_file", "write_archive"]

MANIFEST_NAME = "manifest.json"
_FORMAT = 1
_MAX_MANIFEST = 65_536
_CHUNK = 1 << 20
_COMPRESSION = 3
"""A backup competes with the server for its processor; more takes twice the time for a tenth of the size."""


@dataclass(frozen=True, slots=True)
class BackupEntry:
    """Describe one file of a backup."""

    name: str
    size: int
    sha256: str
    schema_version: int | None
    """None for what is no database."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Say what a backup holds, and which release made it when (RFC 3339, UTC)."""

    wardenmq: str
    created_at: str
    files: tuple[BackupEntry, ...]

    def to_json(self) -> bytes:
        """Write it as it stands in the archive."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=2).encode()

    @classmethod
    def from_json(cls, data: bytes, known: Collection[str]) -> "Manifest":
        """Read it; `known` are the names that a backup may hold. Raises BackupUnacceptable."""
        try:
            value: Any = json.loads(data)
        except (ValueError, RecursionError):
            value = None
        if not _is_mapping(value) or "format" not in value:
            raise BackupUnacceptable("The backup's manifest cannot be read.")
        if value["format"] != _FORMAT:
            raise BackupUnacceptable(
                f"The backup has format {value['format']!r}, but this release knows format {_FORMAT} only."
            )
        try:
            files = tuple(_entry(entry) for entry in value["files"])
            manifest = cls(str(value["wardenmq"]), str(value["created_at"]), files)
        except (LookupError, TypeError, ValueError):
            raise BackupUnacceptable("The backup's manifest cannot be read.") from None
        names = [entry.name for entry in files]
        strange = sorted(set(names) - set(known))
        if strange:
            raise BackupUnacceptable(f"The backup holds {strange[0][:200]!r}, which is no part of a data directory.")
        if len(set(names)) < len(names):
            raise BackupUnacceptable("The backup's manifest names a file twice.")
        return manifest


def hash_file(path: Path) -> str:
    """Give the SHA-256 of a file, hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_archive(stream: BinaryIO, manifest: Manifest, folder: Path, now: float) -> None:
    """Write the manifest and the files that it names, which are in `folder`. Raises OSError."""
    with (
        gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=_COMPRESSION, mtime=now) as compressed,
        # The one format in which a name or a size never needs a header of its own.
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        text = folder / MANIFEST_NAME
        text.write_bytes(manifest.to_json())
        for path in (text, *(folder / entry.name for entry in manifest.files)):
            header = tarfile.TarInfo(path.name)
            header.size, header.mode, header.mtime = path.stat().st_size, 0o600, int(now)
            with path.open("rb") as file:
                archive.addfile(header, file)


class ArchiveReader:
    """Read a backup from its beginning; every method raises BackupUnacceptable or OSError."""

    def __init__(self, stream: BinaryIO, known: Sequence[str]) -> None:
        """Read the manifest; `known` are the names that a backup may hold."""
        self._tar = PlainTar(stream)
        header = self._tar.header()
        if header is None or header.name != MANIFEST_NAME or header.size > _MAX_MANIFEST:
            raise BackupUnacceptable("The file is no backup: it does not begin with a manifest.")
        data = self._tar.read(header.size)
        self._tar.skip_padding(header.size)
        self.manifest = Manifest.from_json(data, known)

    def extract(self, folder: Path) -> None:
        """Write the files into `folder` (mode 0600), and find that they are those of the manifest."""
        missing = {entry.name: entry for entry in self.manifest.files}
        while missing:
            header = self._tar.header()
            if header is None:
                raise BackupUnacceptable(f"The backup ends before {next(iter(missing))}.")
            entry = missing.pop(header.name, None)
            if entry is None or header.size != entry.size:
                raise BackupUnacceptable("The backup does not hold what its manifest says.")
            self._extract(entry, folder / entry.name)

    def _extract(self, entry: BackupEntry, path: Path) -> None:
        digest, left = hashlib.sha256(), entry.size
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            while left:
                chunk = self._tar.read(min(left, _CHUNK))
                digest.update(chunk)
                file.write(chunk)
                left -= len(chunk)
        self._tar.skip_padding(entry.size)
        if digest.hexdigest() != entry.sha256:
            raise BackupUnacceptable(f"{entry.name} in the backup is not as it was when the backup was made.")


def _entry(value: Any) -> BackupEntry:
    name, size, sha256, version = (value[key] for key in ("name", "size", "sha256", "schema_version"))
    if type(name) is not str or type(size) is not int or size < 0 or type(sha256) is not str:
        raise ValueError("an entry of other types")
    if version is not None and type(version) is not int:
        raise ValueError("a version of another type")
    return BackupEntry(name, size, sha256, version)


def _is_mapping(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, dict)
