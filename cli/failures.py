"""How a command fails: a sentence on standard error and an exit status that scripts can tell apart."""

from collections.abc import Generator
from contextlib import contextmanager, suppress

import typer

from .output import Unprintable, discard_unwritten
from .table import visible

REFUSED = 1
"""Exit status where what was asked for was refused, or is not there."""
UNUSABLE = 2
"""Exit status where the operator has to change how the command is called, or where it runs."""


class Failure(Exception):
    """End a command with a sentence, which never holds a secret."""

    status = REFUSED


class Refused(Failure):
    """Say that the request was understood and refused."""


class Unusable(Failure):
    """Say that no request could be made."""

    status = UNUSABLE


@contextmanager
def told_in_a_sentence() -> Generator[None]:
    """Turn what is expected to go wrong into one line and an exit status."""
    from ..config.errors import ConfigError
    from ..store.errors import StoreError

    try:
        yield
    except Failure as failure:
        raise end(failure, failure.status) from None
    except (ConfigError, StoreError) as error:
        raise end(error, UNUSABLE) from None
    except Unprintable as error:
        raise end(error, UNUSABLE) from None


def end(error: Exception, status: int) -> typer.Exit:
    """Print an error and return what leaves the process."""
    # One line whatever a library put into its own words, and nothing that a terminal would obey.
    with suppress(OSError):  # nobody can be told then, but for the status
        typer.echo(f"wardenmq: {visible(' '.join(str(error).split()))}", err=True)
    discard_unwritten()
    return typer.Exit(status)
