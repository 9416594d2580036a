"""What commands print, and what takes nothing: a full disk, a reader that has left, a descriptor that is closed."""

import os
import select
import sys
from contextlib import suppress
from typing import TextIO

import typer


class Unprintable(Exception):
    """Say that what there was to print could not be printed."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Standard output takes nothing of what there is to print: {reason}.")
        self.reason = reason


def show(text: str | bytes, *, aside: bool = False, end: bool = True) -> None:
    """Print to standard output or, `aside`, to standard error. Raises `Unprintable`."""
    try:
        typer.echo(text, err=aside, nl=end)
    except OSError as error:
        raise Unprintable(reason_of(error)) from error


def reason_of(error: OSError) -> str:
    """Give the operating system's words."""
    return error.strerror or str(error)


def discard_unwritten() -> bool:
    """Throw away what streams hold that take nothing; tell whether there was such a one.

    Python would try once more to write it at the end, and leave the process with a traceback and a status of its own.
    """
    found = False
    for stream in (sys.stdout, sys.stderr):
        if is_closed(stream):
            continue
        try:
            stream.flush()
        except OSError:
            found = True
            with suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
    return found


def is_closed(stream: TextIO | None) -> bool:
    """Tell whether the descriptor was closed when Python began, which has None for it then, whatever its types say."""
    return stream is None


def trouble_ahead() -> str:
    """Say why standard output would take nothing, as far as that can be told without writing; empty where it would."""
    if is_closed(sys.stdout):
        return "it is closed"
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # no file of the system's: a test's
        return ""
    try:
        os.write(descriptor, b"")
    except OSError as error:
        return reason_of(error)
    poll = select.poll()
    poll.register(descriptor, 0)
    # A pipe or socket whose other end is closed: an empty write would not tell.
    gone = any(event & (select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))
    return "nobody reads it" if gone else ""
