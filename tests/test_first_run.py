"""The first start: whole or not at all, wherever it breaks off."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
from wardenmq.store.directory import Directory
from wardenmq.store.errors import DatabaseDamaged, DatabaseUnavailable
from wardenmq.store.first_run import InitialCredentials, first_run


class PulledPlug(BaseException):
    """Break off as a killed process does: nothing catches it."""


async def assert_opens(data_dir: Path) -> None:
    """Expect that the credentials file opens the database beside it."""
    credentials = json.loads((data_dir / "initial-credentials.json").read_text())
    directory = await Directory.open(data_dir / "wardenmq.db")
    try:
        assert directory.verify_api_key(credentials["api_key"], credentials["api_secret"]) is not None
        assert directory.verify_bunkerm_key(credentials["bunkerm_api_key"])
        assert directory.verify_operator_token(credentials["operator_token"])
        assert directory.login("username", credentials["mqtt_username"]) is not None
        (rule,) = directory.rules("username", credentials["mqtt_username"]) or ()
        assert (rule.topic, rule.permission, rule.action) == ("#", "allow", "all")
    finally:
        await directory.close()


async def test_it_happens_once(tmp_path: Path) -> None:
    credentials = await first_run(tmp_path)
    assert credentials is not None
    assert json.loads((tmp_path / "initial-credentials.json").read_text()) == asdict(credentials)
    assert await first_run(tmp_path) is None
    await assert_opens(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "initial-credentials.json",
        "operator-token",
        "wardenmq.db",
    ]


async def test_no_two_first_starts_share_a_secret(tmp_path: Path) -> None:
    drawn: list[InitialCredentials] = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        credentials = await first_run(tmp_path / name)
        assert credentials is not None
        drawn.append(credentials)
    same = {name for name in InitialCredentials.__slots__ if getattr(drawn[0], name) == getattr(drawn[1], name)}
    assert same == {"dashboard_user", "mqtt_username"}


async def test_secrets_stay_out_of_the_repr(tmp_path: Path) -> None:
    credentials = await first_run(tmp_path)
    assert credentials is not None
    public = {"api_key", "dashboard_user", "mqtt_username"}
    secrets = [value for name, value in asdict(credentials).items() if name not in public]
    assert not [secret for secret in secrets if secret in repr(credentials)]


@pytest.mark.parametrize("renames", [0, 1, 2, 3])
async def test_a_break_between_any_two_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int) -> None:
    done = 0
    rename = Path.replace

    def replace(path: Path, target: Path) -> Path:
        nonlocal done
        if done == renames:
            raise PulledPlug
        done += 1
        return rename(path, target)

    def rmtree(path: Path) -> None:
        raise PulledPlug

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", replace)
        patched.setattr("shutil.rmtree", rmtree)
        with pytest.raises(PulledPlug):
            await first_run(tmp_path)

    credentials = await first_run(tmp_path)
    # After the last rename the first start is complete, though its caller never heard of it.
    assert (credentials is None) is (renames == 3)
    await assert_opens(tmp_path)
    assert not (tmp_path / ".first-run").exists()


async def test_an_empty_database_file_is_somebodys_truncated_one(tmp_path: Path) -> None:
    (tmp_path / "wardenmq.db").touch()
    assert await first_run(tmp_path) is None
    with pytest.raises(DatabaseDamaged, match="empty"):
        await Directory.open(tmp_path / "wardenmq.db")
    assert (tmp_path / "wardenmq.db").stat().st_size == 0


@pytest.mark.parametrize("name", ["initial-credentials.json", "operator-token"])
async def test_files_of_a_lost_database_are_not_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("somebody's")
    with pytest.raises(DatabaseUnavailable, match=name):
        await first_run(tmp_path)
    assert (tmp_path / name).read_text() == "somebody's"
    assert not (tmp_path / "wardenmq.db").exists()


async def test_a_log_without_its_database_is_not_thrown_away(tmp_path: Path) -> None:
    log = tmp_path / "wardenmq.db-wal"
    log.write_bytes(b"somebody's last writes")
    with pytest.raises(DatabaseUnavailable, match="wardenmq.db-wal is there"):
        await first_run(tmp_path)
    assert log.read_bytes() == b"somebody's last writes"


async def test_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        await first_run(tmp_path)
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {
        "initial-credentials.json": 0,
        "operator-token": 0,
        "wardenmq.db": 0,
    }
