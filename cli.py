"""The command line. What a command needs is imported when it runs, so that `--help` stays quick."""

import logging
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

REFUSED = 2
"""Exit status where a sentence on standard error says what the operator has to change."""

app = typer.Typer(
    name="wardenmq",
    help="An MQTT broker with its management built in.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line and leave the process with its exit status."""
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wardenmq {metadata.version('wardenmq')}")
        raise typer.Exit


@app.callback()
def _root(  # pyright: ignore[reportUnusedFunction] (Typer calls it)
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """An MQTT broker with its management built in."""


@app.command()
def serve(
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Configuration, see `wardenmq config`.")] = None,
    data_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Database and credentials. [data]")] = None,
    mqtt: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="MQTT over TCP. [127.0.0.1:1883]")] = None,
    ws: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="MQTT over WebSocket. [127.0.0.1:8083]")] = None,
    api: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Management API. [127.0.0.1:18083]")] = None,
    allow_anonymous: Annotated[
        bool, typer.Option("--allow-anonymous", help="Admit clients that present no user name.")
    ] = False,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error. [info]")
    ] = None,
) -> None:
    """Run the server until SIGTERM or SIGINT; port 0 takes any free port."""
    from .config.errors import ConfigError
    from .config.settings import CREDENTIAL_PLUGIN, Settings

    overrides: dict[str, Any] = {}
    if data_dir is not None:
        overrides["data_dir"] = data_dir
    listeners: dict[str, dict[str, str]] = {}
    if mqtt is not None:
        listeners["default"] = {"bind": mqtt}
    if ws is not None:
        listeners["ws"] = {"type": "ws", "bind": ws}
    if listeners:
        overrides["listeners"] = listeners
    if api is not None:
        overrides["api"] = {"bind": api}
    if log_level is not None:
        overrides["log"] = {"level": log_level}
    if allow_anonymous:
        overrides["plugins"] = {CREDENTIAL_PLUGIN: {"allow_anonymous": True}}
    try:
        settings = Settings.load(config, overrides)
    except ConfigError as error:
        _refuse(error)
    _log_to_stderr(settings.log.level)

    from .server import Server, StartError, run
    from .store.errors import StoreError

    try:
        run(Server(settings))
    except (StartError, ConfigError, StoreError) as error:
        _refuse(error)


@app.command()
def config() -> None:
    """Show the commented default configuration."""
    from .config.settings import default_yaml

    typer.echo(default_yaml(), nl=False)


def _refuse(error: Exception) -> NoReturn:
    # One line whatever a library put into its own words.
    typer.echo(f"wardenmq: {' '.join(str(error).split())}", err=True)
    raise typer.Exit(REFUSED) from None


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(
        stream=sys.stderr, level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    # At debug aiosqlite writes every statement with its parameters, password hashes among them.
    for name in ("aiosqlite", "transitions"):
        logging.getLogger(name).setLevel(logging.WARNING)
