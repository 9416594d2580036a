"""Processes that end with the one that started them, whichever way that ends."""

import ctypes
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import IO

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
"""Loaded here, because between fork and exec as little as possible may be done."""


def start(
    command: Sequence[str], *, log: IO[bytes] | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process, with a pipe from its output, which the kernel kills when this one is gone (on Linux)."""
    pipe, end = subprocess.PIPE, _end_with_parent  # the only thing done between fork and exec is one system call
    return subprocess.Popen(command, stdout=pipe, stderr=log, env=environment, preexec_fn=end)  # noqa: PLW1509


def _end_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end this process as an exception does, so that all contexts are left."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)


def _exit(number: int, _frame: FrameType | None) -> None:
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)  # the contexts that are being left are not interrupted again
    raise SystemExit(128 + number)
