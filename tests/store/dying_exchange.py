"""Exchange the files of a data directory, and be killed before each thing that is done to a file on the way.

Run as a program: WHAT FOLDER. Each kill leaves a data directory in FOLDER/NUMBER; the last one was left by no kill.
"""

import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from wardenmq.store.file_exchange import finish_or_undo
from wardenmq.store.repair import repair
from wardenmq.store.restoring import restore

BASE = "base"
BACKUP = "backup.tar.gz"
NOW = 1_800_000_000.0
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.chown", "os.truncate"}


def do_restore(data_dir: Path) -> None:
    restore(data_dir.parent / BACKUP, data_dir, now=NOW)


def do_repair(data_dir: Path) -> None:
    list(repair(data_dir, now=NOW))


def do_finish(data_dir: Path) -> None:
    finish_or_undo(data_dir)


WORK: dict[str, Callable[[Path], None]] = {"restore": do_restore, "repair": do_repair, "finish": do_finish}


def die_at(step: int) -> None:
    """Kill this process before the so-manieth thing that it does to a file."""
    left = step

    def count(event: str, _: object) -> None:
        nonlocal left
        if event in EVENTS:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def run_forked(work: Callable[[Path], None], data_dir: Path, step: int) -> int:
    """Work in a process of its own; return how it ended."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    status = 1
    try:
        if step:
            die_at(step)
        work(data_dir)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def main(what: str, folder: Path) -> None:
    for step in range(1, 1_000):
        data_dir = folder / f"{step}"
        shutil.copytree(folder / BASE, data_dir)
        status = run_forked(WORK[what], data_dir, step)
        if status == 0:
            return
        if status != signal.SIGKILL:
            raise SystemExit(f"step {step} ended with status {status}")
    raise SystemExit("there was no end")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
