"""`wardenmq audit`: who wrote what."""

import json
from typing import Annotated, Any

import typer

from .api import Api
from .moments import HELP, moment
from .table import Column, column
from .verbs import noun, verb

app = noun("audit", "Who changed what, and when.")

_PAGE = 1_000

_COLUMNS: list[Column] = [
    column("id"),
    column("at"),
    column("actor"),
    column("facade"),
    column("action"),
    column("target"),
    ("detail", lambda row: json.dumps(row["detail"], ensure_ascii=False) if row["detail"] else None),
]


@verb(app, "list")
def list_entries(
    api: Api,
    since: Annotated[str | None, typer.Option(metavar="TIME", help=HELP.replace("from now", "ago"))] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help=HELP.replace("from now", "ago"))] = None,
    actor: Annotated[str | None, typer.Option(metavar="NAME", help="Who wrote.")] = None,
    facade: Annotated[str | None, typer.Option(metavar="NAME", help="By which way: cli, operator, emqx, ...")] = None,
    action: Annotated[
        str | None, typer.Option(metavar="ACTION", help="As in login.create, or its beginning as in login.*")
    ] = None,
    target: Annotated[str | None, typer.Option(metavar="TEXT", help="A part of what was written.")] = None,
    before: Annotated[int | None, typer.Option(metavar="ID", help="Only entries before this one.")] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 100,
) -> None:
    """List entries of the audit log, newest first."""
    query = {
        "since": since and moment(since, past=True),
        "until": until and moment(until, past=True),
        "actor": actor,
        "facade": facade,
        "action": action,
        "target": target,
    }
    rows: list[dict[str, Any]] = []
    hasnext = True
    while hasnext and len(rows) < limit:
        page = api.call("GET", "audit", query={**query, "before": before, "limit": min(limit - len(rows), _PAGE)})
        rows += page["data"]
        hasnext = page["meta"]["hasnext"]
        before = rows[-1]["id"] if rows else None
    answer = {"data": rows, "meta": {"limit": limit, "hasnext": hasnext}}
    api.print_rows(answer, _COLUMNS, "There are no such entries.")
