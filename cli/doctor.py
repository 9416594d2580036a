"""`wardenmq doctor`: is everything as it should be, and what can be put right?"""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .data_directory import AsJson, Config, DataDir, find_data_dir, owned
from .failures import REFUSED, Unusable, told_in_a_sentence
from .output import show
from .table import Column, column, format_table, visible

if TYPE_CHECKING:
    from ..store.examination import Finding

_COLUMNS: list[Column] = [column("status"), column("check"), column("what was found", "message")]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(doctor)


def doctor(
    repair: Annotated[
        bool, typer.Option("--repair", help="Put right what can be put right; the server has to be stopped.")
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE", help="With --repair: a sessions.db that was set aside, to recover what it holds."
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Check the databases' indexes, too; takes longer.")] = False,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Check the data directory and the server that runs in it; with problems the exit status is 1."""
    with told_in_a_sentence():
        if source is not None and not repair:
            raise Unusable("--from goes with --repair.")
        directory = find_data_dir(data_dir, config)
        done, failure = _repair(directory, source, full=full) if repair else ([], None)
        findings = _examine(directory, full=full)
        is_well = failure is None and all(finding.status != "problem" for finding in findings)
        if as_json:
            answer = {
                "data_dir": str(directory),
                "ok": is_well,
                "checks": [asdict(finding) for finding in findings],
                **({"repairs": done, "failure": failure} if repair else {}),
            }
            show(json.dumps(answer, indent=2))
        else:
            for sentence in done:
                show(visible(sentence))
            if failure is not None:
                show(f"wardenmq: {visible(failure)}", aside=True)
            show(format_table([asdict(finding) for finding in findings], _COLUMNS))
        if not is_well:
            raise typer.Exit(REFUSED)


def _examine(data_dir: Path, *, full: bool) -> "list[Finding]":
    from ..store.examination import examine, find_owner

    findings = examine(data_dir, full=full)
    owner = find_owner(data_dir) if data_dir.is_dir() else None
    if owner is not None and owner.api_url is not None:
        from .health import examine_health

        findings += examine_health(owner.api_url)
    return findings


def _repair(data_dir: Path, source: Path | None, *, full: bool) -> tuple[list[str], str | None]:
    """Repair what can be repaired; return what was done, and why something could not be."""
    from ..store.errors import StoreError
    from ..store.repair import repair

    if not data_dir.is_dir():
        raise Unusable(f"There is no directory {data_dir}.")
    done: list[str] = []
    with owned(data_dir):
        try:
            done.extend(repair(data_dir, now=time.time(), source=source, full=full))
        except StoreError as error:
            return done, error.message
    return done, None
