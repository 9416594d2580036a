"""Which way a command goes: to the server that owns the data directory, or into the directory itself."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .failures import Unusable
from .remote import RemoteTransport, Unreachable

if TYPE_CHECKING:
    from ..config.settings import Settings
    from .transport import Transport

PATIENCE = 5.0
"""Seconds in which a server that starts, stops or starts anew may come to answer."""
_INTERVAL = 0.05


def connect(data_dir: Path | None, config: Path | None) -> "Transport":
    """Find out who owns the data directory: its lock says where to ask, and is taken where nobody holds it.

    Raises `Unusable`, ConfigError or a StoreError.
    """
    from ..store.file_exchange import STAGING_NAME, finish_or_undo
    from ..store.file_names import DATABASE_NAME
    from ..store.lock import DataDirectoryInUse, DataDirectoryLock

    # Reading the settings takes longer than a request, and a server that runs has its own.
    settings = None
    if data_dir is None or config is not None:
        settings = _load(data_dir, config)
        data_dir = settings.data_dir
    _check(data_dir)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            # In the middle of a restore that was interrupted there may be no database, until that is finished.
            needed = None if (data_dir / STAGING_NAME).exists() else DATABASE_NAME
            lock = DataDirectoryLock.acquire(data_dir, database=needed)
        except DataDirectoryInUse as error:
            owner = error.owner
            problem = f"{error.message.rstrip('.')}, which has no management API"
            if owner.api_url is not None:
                transport = RemoteTransport(owner, owner.api_url, data_dir)
                try:
                    transport.open()
                except Unreachable as unreachable:
                    transport.close()
                    problem = f"{error.message.rstrip('.')}, but {unreachable}"
                else:
                    return transport
        else:
            from .stopped import StoppedTransport

            try:
                finish_or_undo(data_dir)
            except BaseException:
                lock.release()
                raise
            return StoppedTransport(lock, settings or _load(data_dir, config))
        if time.monotonic() >= deadline:
            raise Unusable(f"{problem}.")
        time.sleep(_INTERVAL)


def _load(data_dir: Path | None, config: Path | None) -> "Settings":
    from ..config.settings import Settings

    overrides: Mapping[str, Any] = {} if data_dir is None else {"data_dir": data_dir}
    return Settings.load(config, overrides)


def _check(directory: Path) -> None:
    """Raise `Unusable` where no server has ever had its data: a mistyped path must not make a new directory."""
    from ..store.file_names import DATABASE_NAME
    from ..store.lock import LOCK_NAME

    try:
        known = any((directory / name).exists() for name in (DATABASE_NAME, LOCK_NAME))
    except OSError as error:
        raise Unusable(f"The data directory {directory} is not usable: {error.strerror}.") from None
    if not known:
        raise Unusable(f"There is no server's data in {directory}: name the directory with --data-dir or --config.")
