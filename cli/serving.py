"""`wardenmq serve` and `wardenmq config`."""

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .failures import UNUSABLE, end, told_in_a_sentence
from .output import show


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(serve)
    app.command()(config)


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
    with told_in_a_sentence():
        from ..config.settings import CREDENTIAL_PLUGIN, Settings

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
        settings = Settings.load(config, overrides)
        _log_to_stderr(settings.log.level)

        from ..server import Server, StartError, run

        try:
            run(Server(settings))
        except StartError as error:
            raise end(error, UNUSABLE) from None


def config() -> None:
    """Show the commented default configuration."""
    from ..config.settings import default_yaml

    with told_in_a_sentence():
        show(default_yaml(), end=False)


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(
        stream=sys.stderr, level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    # By this name the management finds it, to change what is told here while the server runs.
    logging.getLogger().handlers[0].set_name("wardenmq.console")
    # At debug aiosqlite writes every statement with its parameters, password hashes among them.
    for name in ("aiosqlite", "transitions"):
        logging.getLogger(name).setLevel(logging.WARNING)
