"""Files of a data directory exchanged for others."""

import os
import stat
from pathlib import Path

import pytest
from wardenmq.store import file_exchange
from wardenmq.store.errors import DatabaseUnavailable
from wardenmq.store.file_exchange import STAGING_NAME, FileExchange, finish_or_undo, unused_name

NOW = 1_800_000_000.0


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def begin(data_dir: Path) -> FileExchange:
    (data_dir / "a").write_text("old a")
    (data_dir / "b").write_text("old b")
    exchange = FileExchange(data_dir)
    (exchange.folder / "a").write_text("new a")
    (exchange.folder / "c").write_text("new c")
    return exchange


AWAY = [("a", "kept/a"), ("b", "kept/b")]
STAGED = [("a", "a"), ("c", "c")]
DONE = {"a": "new a", "c": "new c", "kept/a": "old a", "kept/b": "old b"}


def test_files_are_exchanged(tmp_path: Path) -> None:
    begin(tmp_path).carry_out(AWAY, STAGED)
    assert contents(tmp_path) == DONE
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o700
    assert finish_or_undo(tmp_path) is None


def test_nothing_is_touched_until_then(tmp_path: Path) -> None:
    exchange = begin(tmp_path)
    assert stat.S_IMODE(exchange.folder.stat().st_mode) == 0o700
    exchange.abandon()
    assert contents(tmp_path) == {"a": "old a", "b": "old b"}
    exchange.abandon()


def test_what_was_staged_only_is_undone(tmp_path: Path) -> None:
    begin(tmp_path)
    assert "undone" in (finish_or_undo(tmp_path) or "")
    assert contents(tmp_path) == {"a": "old a", "b": "old b"}


@pytest.mark.parametrize("moves", range(5))
def test_what_has_begun_is_finished(tmp_path: Path, moves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left = moves
    move = file_exchange._move

    def fail_after(source: Path, target: Path) -> None:
        nonlocal left
        if not left:
            raise OSError(5, "Input/output error")
        left -= 1
        move(source, target)

    exchange = begin(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(file_exchange, "_move", fail_after)
        if moves < 4:
            with pytest.raises(OSError, match="Input/output"):
                exchange.carry_out(AWAY, STAGED)
            exchange.abandon()  # which it is too late for
            with pytest.raises(DatabaseUnavailable, match="cannot be finished: Input/output error"):
                finish_or_undo(tmp_path)
        else:
            exchange.carry_out(AWAY, STAGED)
    assert bool(finish_or_undo(tmp_path)) == (moves < 4)
    assert contents(tmp_path) == DONE


def test_nothing_is_written_over(tmp_path: Path) -> None:
    exchange = begin(tmp_path)
    (tmp_path / "c").write_text("somebody's")
    with pytest.raises(FileExistsError, match="in the way"):
        exchange.carry_out(AWAY, STAGED)
    with pytest.raises(DatabaseUnavailable, match="in the way"):
        finish_or_undo(tmp_path)
    assert (tmp_path / "c").read_text() == "somebody's"
    (tmp_path / "c").unlink()
    finish_or_undo(tmp_path)
    assert contents(tmp_path) == DONE


def test_a_file_may_have_gone_by_itself(tmp_path: Path) -> None:
    exchange = begin(tmp_path)
    (tmp_path / "b").unlink()
    exchange.carry_out(AWAY, STAGED)
    assert contents(tmp_path) == {name: text for name, text in DONE.items() if name != "kept/b"}


def test_a_plan_that_cannot_be_read(tmp_path: Path) -> None:
    begin(tmp_path)
    (tmp_path / STAGING_NAME / "plan.json").write_text("[")
    with pytest.raises(DatabaseUnavailable, match="cannot be finished"):
        finish_or_undo(tmp_path)
    assert (tmp_path / "a").read_text() == "old a"


def test_one_at_a_time(tmp_path: Path) -> None:
    begin(tmp_path)
    with pytest.raises(FileExistsError):
        FileExchange(tmp_path)


def test_a_name_that_nobody_has(tmp_path: Path) -> None:
    names: list[str] = []
    for _ in range(3):
        name = unused_name(tmp_path, "x-", NOW)
        (tmp_path / name).symlink_to("nowhere")
        names.append(name)
    assert names == ["x-20270115T080000Z", "x-20270115T080000Z-2", "x-20270115T080000Z-3"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_the_directorys_owner(tmp_path: Path) -> None:
    os.chown(tmp_path, 4_711, 4_712)
    begin(tmp_path).carry_out(AWAY, STAGED)
    for name in ("a", "c", "kept"):
        status = (tmp_path / name).stat()
        assert (status.st_uid, status.st_gid) == (4_711, 4_712)
