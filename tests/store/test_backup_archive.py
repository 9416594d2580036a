"""The file that a backup is: what was written comes back, and nothing else is ever unpacked."""

import gzip
import io
import json
import random
import stat
import tarfile
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.store.backup_archive import (
    MANIFEST_NAME,
    ArchiveReader,
    BackupEntry,
    BackupUnacceptable,
    Manifest,
    hash_file,
    write_archive,
)

KNOWN = ("a.db", "b.db", "token")
NOW = 1_800_000_000.5


def manifest_of(folder: Path, *names: str) -> Manifest:
    entries = [
        BackupEntry(name, (folder / name).stat().st_size, hash_file(folder / name), 2 if name != "token" else None)
        for name in names
    ]
    return Manifest("0.1.0", "2027-01-15T08:00:00Z", tuple(entries))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    numbers = random.Random(1)
    for name, size in (("a.db", 3_000_000), ("b.db", 512), ("token", 67)):
        (folder / name).write_bytes(numbers.randbytes(size))
    return folder


def archive(folder: Path, manifest: Manifest | None = None) -> bytes:
    stream = io.BytesIO()
    write_archive(stream, manifest or manifest_of(folder, *KNOWN), folder, NOW)
    return stream.getvalue()


def unpack(data: bytes, target: Path) -> Manifest:
    target.mkdir(exist_ok=True)
    reader = ArchiveReader(io.BytesIO(data), KNOWN)
    reader.extract(target)
    return reader.manifest


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST_NAME}


def test_what_was_written_comes_back(folder: Path, tmp_path: Path) -> None:
    manifest = unpack(archive(folder), tmp_path / "target")
    assert manifest == manifest_of(folder, *KNOWN)
    assert contents(tmp_path / "target") == contents(folder)
    for path in (tmp_path / "target").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_empty_files_too(folder: Path, tmp_path: Path) -> None:
    (folder / "token").write_bytes(b"")
    unpack(archive(folder, manifest_of(folder, "token")), tmp_path / "target")
    assert contents(tmp_path / "target") == {"token": b""}


def test_any_tar_can_read_it(folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive(folder)), mode="r:gz") as opened:
        members = opened.getmembers()
        assert [member.name for member in members] == [MANIFEST_NAME, *KNOWN]
        assert {(member.mode, member.mtime, member.isreg()) for member in members} == {(0o600, int(NOW), True)}
        file = opened.extractfile(members[0])
        assert file is not None
        manifest = json.load(file)
    assert (manifest["format"], manifest["wardenmq"], manifest["created_at"]) == (1, "0.1.0", "2027-01-15T08:00:00Z")
    assert manifest["files"][1] == {
        "name": "b.db",
        "size": 512,
        "sha256": hash_file(folder / "b.db"),
        "schema_version": 2,
    }


def test_a_size_beyond_eight_gigabytes_needs_no_header_of_its_own() -> None:
    header = tarfile.TarInfo("a.db")
    header.size = 1 << 40
    block = header.tobuf(tarfile.GNU_FORMAT)
    assert len(block) == 512
    assert tarfile.TarInfo.frombuf(block, "utf-8", "strict").size == 1 << 40


# -- what is refused


def pack(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.GNU_FORMAT) as opened:
        for header, data in members:
            opened.addfile(header, io.BytesIO(data))
    return stream.getvalue()


def member(name: str, data: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    for field, value in fields.items():
        setattr(header, field, value)
    return header, data


def with_manifest(*members: tuple[tarfile.TarInfo, bytes], **changes: Any) -> bytes:
    entry = {"name": "token", "size": 3, "sha256": "0" * 64, "schema_version": None}
    manifest = {"format": 1, "wardenmq": "1", "created_at": "now", "files": [entry]} | changes
    return pack([member(MANIFEST_NAME, json.dumps(manifest).encode()), *members])


GOOD_ENTRY = {"name": "token", "size": 3, "sha256": "0" * 64, "schema_version": None}

REFUSED: list[tuple[bytes, str]] = [
    (b"", "not whole"),
    (b"no backup at all", "cannot be decompressed"),
    (gzip.compress(b""), "not whole"),
    (gzip.compress(b"x" * 100), "not whole"),
    (gzip.compress(b"x" * 10_000), "no tar archive"),
    (gzip.compress(bytes(10_240)), "does not begin with a manifest"),
    (pack([member("token", b"abc")]), "does not begin with a manifest"),
    (pack([member(MANIFEST_NAME, b"x" * 65_537)]), "does not begin with a manifest"),
    (pack([member(MANIFEST_NAME, b"{")]), "cannot be read"),
    (pack([member(MANIFEST_NAME, b"[" * 60_000)]), "cannot be read"),
    (pack([member(MANIFEST_NAME, b"[]")]), "cannot be read"),
    (pack([member(MANIFEST_NAME, b"{}")]), "cannot be read"),
    (with_manifest(format=2), "format 2"),
    (with_manifest(format="x"), "format 'x'"),
    (with_manifest(files=None), "cannot be read"),
    (with_manifest(files=["token"]), "cannot be read"),
    (with_manifest(files=[{}]), "cannot be read"),
    *(
        (with_manifest(files=[GOOD_ENTRY | change]), "cannot be read")
        for change in ({"size": -1}, {"size": 1.5}, {"size": True}, {"name": 3}, {"sha256": 3}, {"schema_version": "2"})
    ),
    (with_manifest(files=[GOOD_ENTRY, GOOD_ENTRY]), "twice"),
    *(
        (with_manifest(files=[GOOD_ENTRY | {"name": name}]), "no part of a data directory")
        for name in ("../token", "/etc/passwd", "token/", "", ".", "wardenmq.lock", "manifest.json", "a.db-wal")
    ),
    (with_manifest(), "ends before token"),
    (with_manifest(member("b.db", b"abc")), "not hold what its manifest says"),
    (with_manifest(member("../token", b"abc")), "not hold what its manifest says"),
    (with_manifest(member("token", b"abcd")), "not hold what its manifest says"),
    (with_manifest(member("token", b"abc")), "not as it was"),
    (with_manifest(member("token", type=tarfile.SYMTYPE, linkname="/etc/passwd")), "no plain file"),
    (with_manifest(member("token", type=tarfile.LNKTYPE, linkname="manifest.json")), "no plain file"),
    (with_manifest(member("token", type=tarfile.DIRTYPE)), "no plain file"),
    (with_manifest(member("token", type=tarfile.FIFOTYPE)), "no plain file"),
    (with_manifest(member("token", type=tarfile.CHRTYPE)), "no plain file"),
    (with_manifest(member("long" * 100, b"abc")), "no plain file"),
]


@pytest.mark.parametrize(("data", "reason"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_backup(tmp_path: Path, data: bytes, reason: str) -> None:
    target = tmp_path / "target"
    with pytest.raises(BackupUnacceptable, match=reason) as caught:
        unpack(data, target)
    assert caught.value.message.endswith(".")
    assert {path.name for path in target.iterdir()} <= {"token"}
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_every_cut_is_found(folder: Path, tmp_path: Path) -> None:
    data = archive(folder, manifest_of(folder, "b.db", "token"))
    whole = gzip.decompress(data)
    end = whole.rstrip(b"\0")
    for length in range(0, len(end), 97):
        for cut in (gzip.compress(whole[:length], 1), data[: length * len(data) // len(end)]):
            target = tmp_path / f"{length}-{len(cut)}"
            try:
                unpack(cut, target)
            except BackupUnacceptable:
                continue
            # What is cut off then is the padding, or the checksum of the compression.
            assert len(end) - length < 512
            assert contents(target) == {name: (folder / name).read_bytes() for name in ("b.db", "token")}


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_every_altered_byte_is_found(tmp_path_factory: pytest.TempPathFactory, position: int, change: int) -> None:
    folder = tmp_path_factory.mktemp("altered")
    (folder / "token").write_bytes(b"secret" * 10)
    whole = bytearray(gzip.decompress(archive(folder, manifest_of(folder, "token"))))
    whole[position % len(whole)] ^= change
    target = folder / "target"
    try:
        manifest = unpack(gzip.compress(whole, 1), target)
    except BackupUnacceptable:
        return
    # What is left then is the padding, the times and the words that no hash covers.
    assert contents(target) == {"token": b"secret" * 10}
    assert [entry.name for entry in manifest.files] == ["token"]


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_a_header_that_says_how_much_is_to_be_kept_in_memory(tmp_path: Path, kind: bytes) -> None:
    """Readers of tar archives read such a header whole, however large it says that it is."""
    header = tarfile.TarInfo("token")
    header.type, header.size = kind, 1 << 33
    data = with_manifest()
    bomb = gzip.decompress(data).rstrip(b"\0")
    bomb += bytes(-len(bomb) % 512) + header.tobuf(tarfile.GNU_FORMAT) + bytes(50_000_000)
    compressed = gzip.compress(bomb, 1)
    tracemalloc.start()
    try:
        with pytest.raises(BackupUnacceptable, match="no plain file"):
            unpack(compressed, tmp_path / "target")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_no_more_is_unpacked_than_the_manifest_says(tmp_path: Path) -> None:
    stream = io.BytesIO(gzip.compress(gzip.decompress(with_manifest(member("token", b"x" * 50_000_000))), 1))
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(BackupUnacceptable, match="not hold what its manifest says"):
        ArchiveReader(stream, KNOWN).extract(target)
    assert list(target.iterdir()) == []


def test_nothing_is_written_over(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "token").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError):
        unpack(archive(folder, manifest_of(folder, "token")), target)
    assert not (tmp_path / "victim").exists()


def test_a_hash_that_is_another_files(folder: Path, tmp_path: Path) -> None:
    def swap(manifest: Manifest) -> Manifest:
        entries = manifest.files
        return replace(manifest, files=(replace(entries[0], sha256=entries[1].sha256), *entries[1:]))

    changes: list[Callable[[Manifest], Manifest]] = [swap]
    for change in changes:
        with pytest.raises(BackupUnacceptable, match="not as it was"):
            unpack(archive(folder, change(manifest_of(folder, *KNOWN))), tmp_path / "target")
