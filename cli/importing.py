"""`wardenmq user import` and `wardenmq acl import`: what other brokers keep in files."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import typer

from .api import Api
from .failures import REFUSED
from .files import read_file
from .options import LoginType, Yes, confirm
from .output import show
from .table import visible

Source = Literal["mosquitto-passwords", "mosquitto-acl", "dynamic-security", "emqx-csv", "emqx-json", "amqtt-passwords"]
_File = Annotated[str, typer.Argument(metavar="FILE", help="- is standard input.")]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what exists, instead of leaving it alone.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Write nothing, and say what would be written.")]
_EMQX = "EMQX's setting of the authenticator that the file comes from."


def import_users(
    api: Api,
    file: _File,
    source: Annotated[
        Literal["mosquitto-passwords", "dynamic-security", "emqx-csv", "emqx-json", "amqtt-passwords"],
        typer.Option("--from", help="What kind of file it is; dynamic-security replaces all users and roles."),
    ],
    overwrite: _Overwrite = False,
    dry_run: _DryRun = False,
    yes: Yes = False,
    plain: Annotated[bool, typer.Option("--plain", help="EMQX's file has the passwords as they are.")] = False,
    algorithm: Annotated[
        Literal["plain", "md5", "sha", "sha256", "sha512", "bcrypt", "pbkdf2"], typer.Option(help=_EMQX)
    ] = "sha256",
    salt_position: Annotated[Literal["disable", "prefix", "suffix"], typer.Option(help=_EMQX)] = "prefix",
    mac_fun: Annotated[str, typer.Option(metavar="NAME", help=f"Of pbkdf2: {_EMQX}")] = "sha256",
    iterations: Annotated[int, typer.Option(metavar="N", help=f"Of pbkdf2: {_EMQX}")] = 0,
    dk_length: Annotated[int | None, typer.Option(metavar="BYTES", help=f"Of pbkdf2: {_EMQX}")] = None,
    login_type: LoginType = "username",
) -> None:
    """Create the users of another broker's file; those that exist are left alone."""
    query: dict[str, object] = {
        "password": "plain" if plain else "hash",
        "algorithm": algorithm,
        "salt_position": salt_position,
        "mac_fun": mac_fun,
        "iterations": iterations,
        "dk_length": dk_length,
        "login_type": login_type,
    }
    _import(api, file, source, query, overwrite=overwrite, dry_run=dry_run, yes=yes)


def import_rules(
    api: Api,
    file: _File,
    source: Annotated[
        Literal["mosquitto-acl", "dynamic-security"],
        typer.Option("--from", help="What kind of file it is; dynamic-security replaces all users and roles."),
    ],
    overwrite: _Overwrite = False,
    dry_run: _DryRun = False,
    yes: Yes = False,
) -> None:
    """Write the rules of another broker's file; those that have rules already keep theirs."""
    _import(api, file, source, {}, overwrite=overwrite, dry_run=dry_run, yes=yes)


def _import(
    api: Api, name: str, source: Source, query: dict[str, object], *, overwrite: bool, dry_run: bool, yes: bool
) -> None:
    data = read_file(name)
    if source == "dynamic-security" and not dry_run:
        confirm("Put the file in the place of all plain users, all roles and all groups?", yes=yes)
    query |= {"overwrite": overwrite, "dry_run": dry_run}
    report = api.call("POST", "imports", source, query=query, file=data)
    if api.as_json:
        api.print_json(report)
    else:
        show("\n".join(_describe(report)))
    if report["refusal"]:
        raise typer.Exit(REFUSED)


def _describe(report: dict[str, Any]) -> Sequence[str]:
    counts = ", ".join(f"{name} {count}" for name, count in report["counts"].items())
    lines = [f"{'would be written' if report['dry_run'] else 'written'}: {counts}"]
    for entry in report["skipped"]:
        place = f"line {entry['line']}" if entry["line"] else "entry"
        what = f" {visible(entry['what'])!r}" if entry["what"] else ""
        lines.append(f"left out: {place}{what}: {entry['reason']}")
    lines += [f"note: {note}" for note in report["notes"]]
    if report["refusal"]:
        lines.append(f"refused: {report['refusal']}")
    return lines
