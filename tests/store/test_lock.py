"""The lock on a data directory, and what it tells those who find it taken."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from wardenmq.store.lock import (
    LOCK_NAME,
    DataDirectoryInUse,
    DataDirectoryLock,
    DataDirectoryUnusable,
    Owner,
    new_challenge,
)


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
    owner = owner_of(tmp_path)
    assert (owner.pid, owner.api_url) == (os.getpid(), "http://127.0.0.1:18083")
    lock.announce("http://[::1]:1")
    assert owner_of(tmp_path).api_url == "http://[::1]:1"
    lock.release()


def test_the_owner_may_take_that_back(tmp_path: Path) -> None:
    lock = DataDirectoryLock.acquire(tmp_path)
    lock.announce("http://127.0.0.1:18083")
    lock.withdraw()
    assert owner_of(tmp_path) == Owner(os.getpid())
    assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"
    lock.release()
    lock.withdraw()
    assert (tmp_path / LOCK_NAME).read_bytes() == b""


# -- proof of being the owner


def test_only_the_owner_can_prove_that_it_is(tmp_path: Path) -> None:
    lock = DataDirectoryLock.acquire(tmp_path)
    lock.announce("http://127.0.0.1:18083")
    owner = owner_of(tmp_path)
    challenge, other = new_challenge(), new_challenge()
    assert challenge != other
    assert owner.is_proved(challenge, lock.prove(challenge))
    assert not owner.is_proved(challenge, lock.prove(other))
    for proof in ("", "0" * 64, "\u00e9" * 64, challenge):
        assert not owner.is_proved(challenge, proof)
    lock.release()


def test_each_owner_has_a_key_of_its_own(tmp_path: Path) -> None:
    proofs: set[str] = set()
    for _ in range(2):
        lock = DataDirectoryLock.acquire(tmp_path)
        proofs.add(lock.prove("same"))
        lock.release()
    assert len(proofs) == 2


def test_the_key_is_for_the_owner_of_the_file_alone_and_in_no_text(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).touch(0o644)
    lock = DataDirectoryLock.acquire(tmp_path)
    lock.announce("http://127.0.0.1:18083")
    assert stat.S_IMODE((tmp_path / LOCK_NAME).stat().st_mode) == 0o600
    owner = owner_of(tmp_path)
    assert len(owner.key) == 64
    assert owner.key in (tmp_path / LOCK_NAME).read_text()
    assert owner.key not in f"{owner!r} {owner} {lock.prove('challenge')}"
    lock.release()


def test_an_owner_that_has_no_key_proves_nothing() -> None:
    assert not Owner(12, "http://127.0.0.1:1").is_proved("c", DataDirectoryLock(-1, "").prove("c"))


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
        (b"12\nhttp://whole\n", Owner(12)),
        (b"12\nhttp://whole\nhalf", Owner(12)),
        (b"12\nhttp://whole\nkey\n", Owner(12, "http://whole", "key")),
        (b"12\nhttp://whole\nkey\nmore\n", Owner(12, "http://whole", "key")),
        (b"nonsense\nhttp://whole\nkey\n", Owner()),
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


# -- what is no lock file


def as_link(file: Path, victim: Path) -> None:
    file.symlink_to(victim)


def as_second_name(file: Path, victim: Path) -> None:
    file.hardlink_to(victim)


def as_pipe(file: Path, victim: Path) -> None:
    os.mkfifo(file)


def as_directory(file: Path, victim: Path) -> None:
    file.mkdir()


@pytest.mark.parametrize("make", [as_link, as_second_name, as_pipe, as_directory])
def test_what_is_no_file_of_ones_own_is_left_alone(tmp_path: Path, make: Callable[[Path, Path], None]) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "data").mkdir()
    make(tmp_path / "data" / LOCK_NAME, victim)
    with pytest.raises(DataDirectoryUnusable, match=LOCK_NAME):
        DataDirectoryLock.acquire(tmp_path / "data")
    assert victim.read_text() == "precious"


def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / LOCK_NAME).write_text("precious")
    somebody = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: somebody)
    with pytest.raises(DataDirectoryUnusable, match="another user"):
        DataDirectoryLock.acquire(tmp_path)
    assert (tmp_path / LOCK_NAME).read_text() == "precious"


def test_what_has_to_be_there_is_looked_for_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_text("left behind\n")
    with pytest.raises(DataDirectoryUnusable, match="no database"):
        DataDirectoryLock.acquire(tmp_path, database="wardenmq.db")
    assert (tmp_path / LOCK_NAME).read_text() == "left behind\n"
    (tmp_path / "wardenmq.db").touch()
    lock = DataDirectoryLock.acquire(tmp_path, database="wardenmq.db")
    assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_directory_that_has_to_be_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DataDirectoryUnusable):
        DataDirectoryLock.acquire(tmp_path / "data", database="wardenmq.db")
    assert not (tmp_path / "data").exists()
