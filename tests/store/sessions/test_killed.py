"""Killed at any moment: the next start works, and finds exactly what was committed."""

import json
import random
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from wardenmq.store.file_names import SESSIONS_NAME
from wardenmq.store.migrations import available
from wardenmq.store.sessions.opening import MIGRATIONS, open_sessions

from .dying_batches import AT_ONCE, ROWS, batch
from .dying_starts import DAMAGED, DAMAGED_LOG, KINDS, last_batch
from .journals import Contents, Journal, contents, everything, expected

ROOT = Path(__file__).parent.parent.parent.parent
TIME_LIMIT = 300
KILLS = 6
LEAST_STEPS = 40

BEFORE: dict[str, Contents] = {
    "create": expected(),
    "migrate": expected(everything(1), everything(2)),
    "set aside": expected(),
    "play the log": expected(everything(1), everything(2)),
}
AFTER: dict[str, Contents] = {
    "create": expected(last_batch()),
    "migrate": expected(everything(1), everything(2), last_batch()),
    "set aside": expected(last_batch()),
    "play the log": expected(everything(1), everything(2), last_batch()),
}


def carry_out(kind: str, folder: Path) -> list[str]:
    """Have starts of a kind killed at each of their steps; return in which phase each process died."""
    command = [sys.executable, "-m", "tests.store.sessions.dying_starts", kind, str(folder)]
    completed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIME_LIMIT)
    assert completed.returncode == 0, completed.stderr
    return [json.loads(line) for line in completed.stdout.splitlines()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_start_loses_nothing(kind: str, tmp_path: Path) -> None:
    phases = carry_out(kind, tmp_path)
    assert len(phases) > LEAST_STEPS
    assert [phase for number, phase in enumerate(phases) if phase not in phases[:number]] in (
        ["opening", "writing", "ended"],
        ["opening", "writing", "written", "ended"],
    )
    for number, phase in enumerate(phases, 1):
        path = tmp_path / str(number) / SESSIONS_NAME
        connection, problem = open_sessions(path, "process", tmp_path / "migrations")
        with closing(connection):
            versions = connection.execute("PRAGMA user_version").fetchone()
        assert versions == (len(list((tmp_path / "migrations").glob("*.sql"))),)
        found = contents(path)
        allowed = {"opening": [BEFORE], "writing": [BEFORE, AFTER]}.get(phase, [AFTER])
        assert found in [states[kind] for states in allowed], f"killed at step {number}, while {phase}"

        others = {file.name: file for file in path.parent.iterdir() if file.name != SESSIONS_NAME}
        aside = {name: file.read_bytes() for name, file in others.items() if ".damaged-" in name}
        if kind == "set aside":
            assert sorted(aside.values()) == [DAMAGED, DAMAGED_LOG]
            assert sum(name.endswith("-wal") for name in aside) == 1
        else:
            assert problem is None
            assert aside == {}
        if kind == "migrate":
            assert contents(others.pop(f"{SESSIONS_NAME}.v{len(available(MIGRATIONS))}.bak")) == BEFORE[kind]
        # Nothing half-made is left; a copy that was cut short is replaced by the next one.
        assert {name for name in others if name not in aside} == set()


def run_until_killed(path: Path, first: int, wanted: int, pause: float) -> int:
    """Let a process write from a batch on, kill it a moment after it has committed some; return the last it told of."""
    command = [sys.executable, "-m", "tests.store.sessions.dying_batches", str(path), str(first)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        for _ in range(wanted):
            line = child.stdout.readline()
            assert line, child.stderr.read().decode()
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(pause)
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().splitlines(keepends=True)
        assert child.wait() == -signal.SIGKILL
    return int([whole for whole in [line, *rest] if whole.endswith(b"\n")][-1])


async def test_a_killed_process_leaves_exactly_the_batches_that_it_committed(path: Path) -> None:
    generator = random.Random(6)
    first = 1
    for _ in range(KILLS):
        told = run_until_killed(path, first, generator.randrange(1, 40), generator.random() / 50)
        journal = await Journal.open(path)
        assert journal.store.problem is None
        await journal.close()
        found = contents(path)
        last = int(max(row[0] for row in found["messages"])) // ROWS
        assert told <= last <= told + AT_ONCE
        assert found == expected(*map(batch, range(1, last + 1)))
        first = last + 1
