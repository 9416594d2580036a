"""Where a password comes from: never from the arguments, which every user of the machine can read."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from .failures import Unusable
from .output import trouble_ahead

FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
FromFile = Annotated[
    Path | None,
    typer.Option("--password-file", metavar="FILE", help="Read the password from a file; - is standard input."),
]
Generate = Annotated[bool, typer.Option("--generate", help="Make a password up and show it, once.")]

_BYTES = 18
_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Password:
    """Hold a password and whether it has to be shown, because nobody has it yet."""

    text: str = field(repr=False)
    generated: bool = False


def read_password(*, from_stdin: bool, file: Path | None, generate: bool) -> Password:
    """Take the password from where the options say, or ask for it at the terminal. Raises `Unusable`."""
    if from_stdin + (file is not None) + generate > 1:
        raise Unusable("Use one of --password-stdin, --password-file and --generate.")
    if generate:
        import secrets

        check_shown()
        return Password(secrets.token_urlsafe(_BYTES), generated=True)
    if file is not None and file != Path("-"):
        return Password(_text(_read_file(file)))
    if from_stdin or file is not None:
        return Password(_text(sys.stdin.buffer.read(_MAX + 1)))
    if not sys.stdin.isatty():
        raise Unusable(
            "There is no terminal to ask for the password: use --password-stdin, --password-file or --generate."
        )
    return Password(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


def check_shown() -> None:
    """Make sure that a password that is made up will be seen. Raises `Unusable`."""
    if reason := trouble_ahead():
        raise Unusable(f"Standard output would not show the password: {reason}; nothing was changed.")


def _read_file(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(_MAX + 1)
    except OSError as error:
        raise Unusable(f"{file} cannot be read: {error.strerror}.") from None


def _text(data: bytes) -> str:
    if len(data) > _MAX:
        raise Unusable(f"The password must not be longer than {_MAX} bytes.")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Unusable("The password is not valid UTF-8.") from None
    # An editor or `echo` ends the line; what else is there belongs to the password.
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise Unusable("The password must not be empty.")
    return text
