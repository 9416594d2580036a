"""Arguments and options that several verbs have."""

import sys
from typing import Annotated, Any, Literal

import typer

from .failures import Unusable

LoginType = Annotated[
    Literal["username", "clientid"],
    typer.Option("--login-type", help="Whether NAME is a user name or a client id that logs in."),
]
Username = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]
RoleName = Annotated[str, typer.Argument(metavar="ROLE", help="The role's name.")]
GroupName = Annotated[str, typer.Argument(metavar="GROUP", help="The group's name.")]
Priority = Annotated[int, typer.Option(metavar="N", help="The highest is asked first.")]
Like = Annotated[str | None, typer.Option(metavar="TEXT", help="Only names that contain it.")]
Disconnect = Annotated[
    bool, typer.Option("--disconnect", help="Close the live sessions concerned, instead of checking them again.")
]
TextName = Annotated[str | None, typer.Option(metavar="TEXT", help="A name for people.")]
TextDescription = Annotated[str | None, typer.Option(metavar="TEXT", help="A description for people.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

NO_PRIORITY = -1


def split_priorities(texts: list[str] | None) -> list[dict[str, object]]:
    """Read `NAME` or `NAME=PRIORITY`, the last `=` with a number behind it being the mark."""
    entries: list[dict[str, object]] = []
    for text in texts or ():
        name, mark, priority = text.rpartition("=")
        if mark and priority.removeprefix("-").isdecimal() and priority.isascii():
            entries.append({"name": name, "priority": int(priority)})
        else:
            entries.append({"name": text})
    return entries


def with_priorities(memberships: list[dict[str, Any]]) -> list[str]:
    """Name what somebody has or is in, and the priorities that were given to it."""
    return [
        entry["name"] if entry["priority"] == NO_PRIORITY else f"{entry['name']} (priority {entry['priority']})"
        for entry in memberships
    ]


def given(**values: object) -> dict[str, object]:
    """Keep what was given: for bodies in which what is absent stays as it is."""
    return {name: value for name, value in values.items() if value is not None}


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone; raise `Unusable` where nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Unusable("This asks before it is done: use --yes where nobody can answer.")
    typer.confirm(question, abort=True, err=True)
