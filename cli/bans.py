"""`wardenmq ban`: who is kept out."""

from typing import Annotated, Literal

import typer

from .api import Api
from .moments import HELP, end_of
from .options import Like, Yes, confirm, given
from .table import Column, column
from .verbs import noun, verb

app = noun("ban", "Who is kept out, whatever their password.")

BanType = Literal["clientid", "username", "peerhost", "clientid_re", "username_re", "peerhost_net"]
_Type = Annotated[
    BanType,
    typer.Argument(
        metavar="TYPE",
        help="clientid, username, peerhost (an address), peerhost_net (a network), "
        "clientid_re or username_re (regular expressions).",
    ),
]
_Who = Annotated[str, typer.Argument(metavar="WHO", help="The client id, name, address, network or expression.")]

_COLUMNS: list[Column] = [
    column("type", "who_type"),
    column("who"),
    column("until"),
    column("by"),
    column("reason"),
    column("since", "at"),
]


@verb(app, "list")
def list_bans(
    api: Api,
    like: Like = None,
    kind: Annotated[BanType | None, typer.Option("--type", help="Only those of this type.")] = None,
) -> None:
    """List bans, oldest first."""
    page = api.collect("bans", query={"like": like, "who_type": kind})
    api.print_rows(page, _COLUMNS, "There are no such bans.")


@verb(app, "add")
def add_ban(
    api: Api,
    kind: _Type,
    who: _Who,
    until: Annotated[str | None, typer.Option(metavar="TIME", help=f"For ever without it. {HELP}")] = None,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why.")] = None,
    by: Annotated[str | None, typer.Option(metavar="TEXT", help="Who wants it so.")] = None,
) -> None:
    """Keep somebody out from now on, and close the sessions."""
    body = {"who_type": kind, "who": who, "until": end_of(until), **given(reason=reason, by=by)}
    api.print_record(api.call("POST", "bans", body=body), _COLUMNS)


@verb(app, "remove")
def remove_ban(api: Api, kind: _Type, who: _Who) -> None:
    """Let somebody in again."""
    api.call("DELETE", "bans", kind, who)
    api.print_done("The ban is removed.")


@verb(app, "clear")
def clear_bans(api: Api, yes: Yes = False) -> None:
    """Let everybody in again."""
    confirm("Remove all bans?", yes=yes)
    api.call("DELETE", "bans")
    api.print_done("All bans are removed.")
