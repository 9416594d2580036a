"""The data directory of commands that work on its files, and the lock on it for those that exchange them."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from .failures import Unusable

DataDir = Annotated[Path | None, typer.Option(metavar="DIR", help="The server's data directory. [data]")]
Config = Annotated[Path | None, typer.Option(metavar="FILE", help="The server's configuration.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
_PATIENCE = 5.0
"""Seconds in which a server or a command that is about to end may do so."""
_INTERVAL = 0.05


def find_data_dir(data_dir: Path | None, config: Path | None) -> Path:
    """Name the directory that is meant: the option, else what the server's settings say. Raises ConfigError."""
    if data_dir is not None and config is None:
        return data_dir
    from ..config.settings import Settings

    return Settings.load(config, {} if data_dir is None else {"data_dir": data_dir}).data_dir


@contextmanager
def owned(data_dir: Path) -> Generator[None]:
    """Own the data directory meanwhile, which is created where it is missing.

    Raises `Unusable` where a server runs in it, or a StoreError.
    """
    from ..store.file_exchange import give_to_owner
    from ..store.lock import LOCK_NAME, DataDirectoryInUse, DataDirectoryLock

    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            lock = DataDirectoryLock.acquire(data_dir)
            break
        except DataDirectoryInUse as error:
            if error.owner.api_url is not None or time.monotonic() >= deadline:
                raise Unusable(f"{error.message} Stop the server first.") from None
        time.sleep(_INTERVAL)
    try:
        give_to_owner(data_dir / LOCK_NAME, data_dir)
        yield
    finally:
        lock.release()
