"""The program: its options, its nouns, and the two commands that are about the server itself."""

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from . import acl, audit, backup, bans, doctor, groups, roles, serving, users
from .failures import UNUSABLE, end, told_in_a_sentence
from .output import Unprintable, discard_unwritten, reason_of, show, trouble_ahead

app = typer.Typer(
    name="wardenmq",
    help="An MQTT broker with its management built in.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for commands in (serving, backup, doctor):
    commands.register(app)
for noun in (users.app, roles.app, groups.app, acl.app, bans.app, audit.app):
    app.add_typer(noun)


def main() -> None:
    """Run the command line and leave the process with its exit status."""
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks is shown as an escape instead of ending the command.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except OSError as error:
        # A help text that cannot be printed; whatever else it is, nobody expected it.
        if not (trouble_ahead() or discard_unwritten()):
            raise
        sys.exit(end(Unprintable(reason_of(error)), UNUSABLE).exit_code)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        with told_in_a_sentence():
            show(f"wardenmq {metadata.version('wardenmq')}")
        raise typer.Exit


@app.callback()
def _root(  # pyright: ignore[reportUnusedFunction] (Typer calls it)
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """An MQTT broker with its management built in."""
