"""Say where wardenmq's time goes under the rows of the comparison: `python bench/profiles.py --row "pair, QoS 1"`.

py-spy samples the server's process from outside; it must be installed (`pip install py-spy`) and allowed to look at
other processes. What a C function does (a system call, a join of bytes, OpenSSL) counts for the line of Python from
which it was called. Threads that wait for work are left out.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SAMPLES_PER_SECOND = "500"
SHOWN = 12
DIRECTORY = "BENCH_PROFILES"
"""The environment variable that names the directory in which profiles are kept; without it none is taken."""


def _py_spy() -> str | None:
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy")


@contextmanager
def profiled(pid: int) -> Iterator[None]:
    """Take a profile of a process, if there is a directory for it."""
    directory, program = os.environ.get(DIRECTORY), _py_spy()
    if directory is None or program is None:
        yield
        return
    file = Path(directory) / f"{pid}.raw"
    command = [program, "record", "--rate", SAMPLES_PER_SECOND, "--format", "raw", "--output", str(file)]
    with subprocess.Popen(
        [*command, "--pid", str(pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as recorder:
        try:
            yield
        finally:
            recorder.send_signal(signal.SIGINT)
            try:
                recorder.wait(20)
            except subprocess.TimeoutExpired:
                recorder.kill()


def lines_of(file: Path) -> Counter[str]:
    """Count the samples by their innermost line of Python, without threads that wait for work."""
    found: Counter[str] = Counter()
    for line in file.read_text(encoding="utf-8").splitlines():
        stack, _, count = line.rpartition(" ")
        if "thread.py" not in stack and "_connection_worker_thread" not in stack:
            found[stack.rpartition(";")[2]] += int(count)
    return found


def describe(files: list[Path]) -> str:
    """Name the functions and lines in which most samples were taken, in hundredths of all."""
    lines: Counter[str] = Counter()
    for file in files:
        lines += lines_of(file)
    functions: Counter[str] = Counter()
    for line, count in lines.items():
        functions[line.rpartition(":")[0] + ")"] += count
    total = lines.total() or 1
    text = [f"{total} samples"]
    for name, counts in (("functions", functions), ("lines", lines)):
        text.append(f"  {name}")
        text += [f"    {100 * count / total:5.1f} %  {where}" for where, count in counts.most_common(SHOWN)]
    return "\n".join(text)


def main() -> int:
    """Read the command line, run the rows with wardenmq alone and print the profiles."""
    from compare import ROUNDS, SECONDS, load_rows, run_row
    from processes import end_on_signals

    parser = argparse.ArgumentParser(description="Profile wardenmq under the rows of the comparison.")
    parser.add_argument("--row", action="append", help="only rows whose name has this in it; may be repeated [all]")
    parser.add_argument("--broker", default="wardenmq", choices=["wardenmq", "wardenmq-asyncio"])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"turns in a row [{ROUNDS}]")
    parser.add_argument("--seconds", type=float, default=2 * SECONDS, help=f"length of a turn [{2 * SECONDS}]")
    options = parser.parse_args()
    end_on_signals()
    if _py_spy() is None:
        parser.error("py-spy is not installed")
    for row in load_rows():
        if options.row and not any(part in row.name for part in options.row):
            continue
        with tempfile.TemporaryDirectory() as directory:
            os.environ[DIRECTORY] = directory
            outcome = run_row(row, [options.broker], options.rounds, options.seconds)
            files = sorted(Path(directory).glob("*.raw"))
            print(f"{row.name}: {'; '.join(outcome.faults.values()) or describe(files)}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
