"""Create the first credentials, so that a killed first start leaves nothing half made.

Everything is made in a directory of its own inside the data directory and renamed into place, the database last. While
there is no database, no first start was completed and the next one begins afresh; once there is one, the credentials
file that opens it was written and synchronised before it.
"""

import json
import os
import secrets
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .credentials.scram_login import DEFAULT_ITERATIONS
from .directory import Directory, Origin
from .errors import DatabaseUnavailable
from .file_names import CREDENTIALS_NAME, DATABASE_NAME, OPERATOR_TOKEN_NAME
from .records import Rule
from .source_order import FileSource
from .sources import FIRST_FILE

_STAGING_NAME = ".first-run"
_PASSWORD_BYTES = 18
_ORIGIN: Origin = {"actor": "first start", "facade": "server"}


@dataclass(frozen=True, slots=True)
class InitialCredentials:
    """Hold what the first start creates, under the names that `initial-credentials.json` has."""

    api_key: str
    api_secret: str = field(repr=False)
    dashboard_user: str
    dashboard_password: str = field(repr=False)
    bunkerm_api_key: str = field(repr=False)
    operator_token: str = field(repr=False)
    mqtt_username: str
    mqtt_password: str = field(repr=False)


async def first_run(
    data_dir: Path, *, scram_iterations: int = DEFAULT_ITERATIONS, bunkerm_key: str | None = None
) -> InitialCredentials | None:
    """Create database, credentials file and operator token where there is no database yet, else return None.

    What is not given is generated. The caller owns the data directory's lock. Raises a StoreError; the data directory
    then holds no database.
    """
    staging = data_dir / _STAGING_NAME
    try:
        if not _prepare(data_dir, staging):
            return None
    except OSError as error:
        raise DatabaseUnavailable(f"The data directory {data_dir} cannot be written: {error.strerror}.") from error
    directory = await Directory.open(staging / DATABASE_NAME, scram_iterations=scram_iterations)
    try:
        credentials = await _create(directory, bunkerm_key)
    finally:
        await directory.close()
    try:
        _publish(data_dir, staging, credentials)
    except OSError as error:
        raise DatabaseUnavailable(f"The data directory {data_dir} cannot be written: {error.strerror}.") from error
    return credentials


def _prepare(data_dir: Path, staging: Path) -> bool:
    """Clear what a killed first start left and tell whether there is a first start to be made."""
    killed = staging.exists()
    if killed:
        shutil.rmtree(staging)
    database = data_dir / DATABASE_NAME
    if database.exists():
        return False
    log = data_dir / f"{DATABASE_NAME}-wal"
    if log.exists() and log.stat().st_size > 0:
        # A new database beside it would make SQLite discard what may be somebody's last writes.
        raise DatabaseUnavailable(
            f"{log} is there but {DATABASE_NAME} is not: restore the database or move the log away."
        )
    for name in (CREDENTIALS_NAME, OPERATOR_TOKEN_NAME):
        # A first start that was killed leaves its staging directory; without one, the file is somebody's.
        if not killed and (data_dir / name).exists():
            raise DatabaseUnavailable(
                f"{data_dir / name} is there but {DATABASE_NAME} is not: restore the database or move the file away."
            )
    staging.mkdir(mode=0o700)
    return True


async def _create(directory: Directory, bunkerm_key: str | None) -> InitialCredentials:
    if bunkerm_key is None:
        bunkerm_key = await directory.create_bunkerm_key(**_ORIGIN)
    else:
        await directory.set_bunkerm_key(bunkerm_key, **_ORIGIN)
    key, api_secret = await directory.create_api_key(
        "default", "administrator", description="Created at first start", **_ORIGIN
    )
    dashboard_password = secrets.token_urlsafe(_PASSWORD_BYTES)
    await directory.create_dashboard_user("admin", dashboard_password, **_ORIGIN)
    mqtt_password = secrets.token_urlsafe(_PASSWORD_BYTES)
    await directory.create_login("username", "mqtt", mqtt_password, **_ORIGIN)
    # A rule like any other, so that it is seen where rules are seen and goes when it is deleted.
    everything = Rule(topic="#", permission="allow", action="all")
    await directory.set_rules("username", "mqtt", [everything], **_ORIGIN)
    await directory.sources.update(FileSource(FIRST_FILE), **_ORIGIN)
    return InitialCredentials(
        api_key=key.api_key,
        api_secret=api_secret,
        dashboard_user="admin",
        dashboard_password=dashboard_password,
        bunkerm_api_key=bunkerm_key,
        operator_token=await directory.create_operator_token(**_ORIGIN),
        mqtt_username="mqtt",
        mqtt_password=mqtt_password,
    )


def _publish(data_dir: Path, staging: Path, credentials: InitialCredentials) -> None:
    """Move the finished files into place; the database is last, for it is what ends the first start."""
    _write_private(staging / CREDENTIALS_NAME, json.dumps(asdict(credentials), indent=2) + "\n")
    _write_private(staging / OPERATOR_TOKEN_NAME, credentials.operator_token + "\n")
    _synchronise(staging / DATABASE_NAME)
    for name in (CREDENTIALS_NAME, OPERATOR_TOKEN_NAME):
        (staging / name).replace(data_dir / name)
    _synchronise(data_dir)
    (staging / DATABASE_NAME).replace(data_dir / DATABASE_NAME)
    _synchronise(data_dir)
    shutil.rmtree(staging)


def _write_private(path: Path, text: str) -> None:
    """Write a new file that its owner alone can read from its first moment on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
