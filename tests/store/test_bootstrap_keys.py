"""API keys from a file: the rules of its lines, and what becomes of keys that are there already."""

import logging
from hashlib import sha512
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.store.api_keys import MAX_API_KEYS, NewApiKey
from wardenmq.store.bootstrap_keys import load_bootstrap_file, parse
from wardenmq.store.directory import Directory


def name_of(key: str) -> str:
    return "from_bootstrap_file_" + sha512(key.encode()).hexdigest()[:16]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.txt"


async def load(directory: Directory, file: Path, text: str) -> int:
    file.write_bytes(text.encode())
    return await load_bootstrap_file(directory, str(file))


def roles(directory: Directory) -> dict[str, str]:
    return {key.api_key: key.role for key in directory.api_keys()}


async def test_lines_become_keys(kept: Directory, file: Path) -> None:
    text = "\ufefffirst:one\r\n\n  second:two:viewer \n\t\nthird:three:publisher\n#fourth:four:administrator"
    assert await load(kept, file, text) == 4
    assert roles(kept) == {
        "first": "administrator",
        "second": "viewer",
        "third": "publisher",
        "#fourth": "administrator",  # there are no comments
    }
    key = kept.verify_api_key("first", "one")
    assert key is not None
    assert (key.name, key.description) == (name_of("first"), "Bootstrapped From File")
    assert (key.enabled, key.expires_at) == (True, None)
    assert kept.verify_api_key("second", "two") is not None


@pytest.mark.parametrize(
    "bad",
    [
        "lonely",
        ":secret",
        "key:",
        "key::viewer",
        "key:secret:emperor",
        "key:secret:viewer:more",
        "key:secret:",
        "k\x07y:x",
    ],
)
async def test_a_bad_line_ends_it_and_is_not_quoted(
    directory: Directory, file: Path, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await load(directory, file, f"first:one\n\n{bad}\nlast:two\n") == 1
    assert roles(directory) == {"first": "administrator"}
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "Line 3" in record.getMessage()
    for word in ("lonely", "secret", "first:", "emperor"):
        assert word not in caplog.text


async def test_a_key_that_is_there_gets_what_the_file_says(kept: Directory, file: Path) -> None:
    old, secret = await kept.create_api_key("mine", "viewer", api_key="app", secret="old", description="x")
    await kept.update_api_key("mine", enabled=False)
    await load(kept, file, "app:new:publisher\n")
    (key,) = kept.api_keys()
    assert (key.name, key.role, key.enabled, key.created_at) == (name_of("app"), "publisher", True, old.created_at)
    assert kept.verify_api_key("app", secret) is None
    assert kept.verify_api_key("app", "new") == key


async def test_a_name_that_is_there_gets_what_the_file_says(kept: Directory, file: Path) -> None:
    old, secret = await kept.create_api_key(name_of("app"))
    await load(kept, file, "app:new\n")
    assert roles(kept) == {"app": "administrator"}
    assert kept.verify_api_key(old.api_key, secret) is None


async def test_the_last_line_wins(kept: Directory, file: Path) -> None:
    await load(kept, file, "app:one:viewer\nother:x\napp:two:publisher\n")
    assert roles(kept) == {"other": "administrator", "app": "publisher"}
    assert kept.verify_api_key("app", "one") is None
    assert kept.verify_api_key("app", "two") is not None


async def test_loading_again_writes_nothing(directory: Directory, file: Path) -> None:
    await load(directory, file, "app:one\nother:two:viewer\n")
    entries, keys = await directory.audit.count(), directory.api_keys()
    assert await load_bootstrap_file(directory, str(file)) == 2
    assert await directory.audit.count() == entries
    assert directory.api_keys() == keys


async def test_there_may_be_more_than_the_api_creates(directory: Directory, file: Path) -> None:
    count = MAX_API_KEYS + 5
    assert await load(directory, file, "".join(f"key-{number}:secret\n" for number in range(count))) == count
    assert len(directory.api_keys()) == count


async def test_files_that_cannot_be_read_are_logged(
    directory: Directory, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert await load_bootstrap_file(directory, "") == 0
    assert not caplog.records
    assert await load_bootstrap_file(directory, str(file)) == 0
    file.write_bytes(b"app:\xff\n")
    assert await load_bootstrap_file(directory, str(file)) == 0
    file.write_bytes(b"app:secret\n" * 100_000)
    assert await load_bootstrap_file(directory, str(file)) == 0
    file.unlink()
    file.mkdir()
    assert await load_bootstrap_file(directory, str(file)) == 0
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 4
    assert directory.api_keys() == []


async def test_no_secret_is_in_log_or_audit(directory: Directory, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await load(directory, file, "the-app:top-secret\n")
    assert "top-secret" not in caplog.text
    entries = await directory.audit.entries()
    assert [entry.action for entry in entries] == ["api_key.put"]
    assert "top-secret" not in str(entries)


async def test_keys_of_the_file_survive_a_restart(tmp_path: Path, file: Path) -> None:
    path = tmp_path / "wardenmq.db"
    directory = await Directory.open(path)
    await load(directory, file, "app:one:viewer\n")
    await directory.close()
    again = await Directory.open(path)
    assert again.verify_api_key("app", "one") == again.api_keys()[0]
    await again.close()


async def test_a_backup_brings_keys_back(kept: Directory) -> None:
    _, secret = await kept.create_api_key("mine", "viewer", expires_at=4e9, description="x")
    ((key, stored),) = kept.stored_api_keys()
    assert secret not in repr(kept.stored_api_keys())
    other = await Directory.open(":memory:")
    for _ in range(2):
        new = NewApiKey(key.name, key.api_key, stored, key.role, False, key.expires_at, key.description)
        await other.put_api_key(new)
    (back,) = other.api_keys()
    assert (back.role, back.expires_at, back.description, back.enabled) == ("viewer", 4e9, "x", False)
    await other.update_api_key("mine", enabled=True)
    assert other.verify_api_key(key.api_key, secret) is not None
    await other.close()


@given(st.text(max_size=60))
def test_any_text_is_keys_up_to_a_line(text: str) -> None:
    keys, wrong = parse(text)
    assert [number for number, _ in keys] == sorted({number for number, _ in keys})
    assert wrong is None or all(number < wrong for number, _ in keys)
    assert all(key.api_key and key.secret and ":" not in key.api_key for _, key in keys)
