"""The lock on a data directory, and what it tells those who find it taken."""

import os
from pathlib import Path

import pytest
from wardenmq.store.lock import LOCK_NAME, DataDirectoryInUse, DataDirectoryLock, DataDirectoryUnusable, Owner


def owner_of(data_dir: Path) -> Owner:
    with pytest.raises(DataDirectoryInUse) as caught:
        DataDirectoryLock.acquire(data_dir)
    return caught.value.owner


def test_the_owner_is_the_process(tmp_path: Path) -> None:
    lock = DataDirectoryLock.acquire(tmp_path)
    assert owner_of(tmp_path) == Owner(os.getpid(), None)
    with pytest.raises(DataDirectoryInUse, match=rf"in use by process {os.getpid()}\.$"):
        DataDirectoryLock.acquire(tmp_path)
    lock.release()


def test_the_owner_may_say_where_it_can_be_asked(tmp_path: Path) -> None:
    lock = DataDirectoryLock.acquire(tmp_path)
    lock.announce("http://127.0.0.1:18083")
    assert owner_of(tmp_path) == Owner(os.getpid(), "http://127.0.0.1:18083")
    lock.announce("http://[::1]:1")
    assert owner_of(tmp_path).api_url == "http://[::1]:1"
    lock.release()


def test_the_next_owner_begins_with_nothing(tmp_path: Path) -> None:
    lock = DataDirectoryLock.acquire(tmp_path)
    lock.announce("http://127.0.0.1:18083")
    lock.release()
    lock.release()
    assert (tmp_path / LOCK_NAME).read_bytes() == b""
    (tmp_path / LOCK_NAME).write_text("1\nhttp://left.behind.example\n")
    lock = DataDirectoryLock.acquire(tmp_path)
    assert owner_of(tmp_path).api_url is None
    lock.release()


@pytest.mark.parametrize(
    ("content", "owner"),
    [
        (b"", Owner()),
        (b"12", Owner()),  # it is writing
        (b"12\n", Owner(12)),
        (b"12\nhttp://half", Owner(12)),
        (b"12\nhttp://whole\n", Owner(12, "http://whole")),
        (b"12\nhttp://whole\nmore\n", Owner(12, "http://whole")),
        (b"nonsense\nhttp://whole\n", Owner()),
        (b"\xff" * 5_000, Owner()),
    ],
)
def test_only_whole_lines_count(tmp_path: Path, content: bytes, owner: Owner) -> None:
    lock = DataDirectoryLock.acquire(tmp_path)
    (tmp_path / LOCK_NAME).write_bytes(content)
    assert owner_of(tmp_path) == owner
    lock.release()


def test_an_unknown_owner_is_named_as_such() -> None:
    assert (str(Owner()), str(Owner(7))) == ("another process", "process 7")


def test_a_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataDirectoryUnusable, match="Not a directory|File exists"):
        DataDirectoryLock.acquire(tmp_path / "file")
