"""The export of a data backup: configuration and tables into one archive."""

import asyncio
import gzip
import json
import tarfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from ....store.background_work import full_collection_put_off
from ...backup_files import SUFFIX, BackupFile, BackupFiles, create_private
from ...errors import bad_request
from ...routes import Call
from ...state import ApiState
from .data_files import failed, info
from .export_configuration import changed_configuration
from .export_tables import ROWS, write_table
from .hocon import write_hocon
from .models_data import BackupInfo, ExportBody
from .table_sets import (
    CONFIGURATION_NAME,
    EDITION,
    FORMAT,
    MAX_CONFIGURATION,
    META_NAME,
    TABLE_FOLDER,
    TABLE_SETS,
)

_COMPRESSION = 3


async def export_data(call: Call[None, ExportBody]) -> BackupInfo:
    """Write an archive."""
    state, body = call.state, call.body
    _check("table_sets", body.table_sets, TABLE_SETS)
    _check("root_keys", body.root_keys, tuple(state.configuration.roots))
    tables = [name for name in ROWS if body.table_sets is None or name in body.table_sets]
    backups = state.backups
    async with backups.exclusive():
        try:
            await asyncio.to_thread(backups.check_room)
            with ExitStack() as opened:
                folder = await asyncio.to_thread(opened.enter_context, backups.staging())
                try:
                    with full_collection_put_off():
                        made = await _export(state, folder, tables, body.root_keys)
                finally:
                    await asyncio.to_thread(opened.close)
        except OSError as error:
            raise failed(error) from error
    await state.directory.note("data.export", made.name, **call.origin)
    return info(call, made)


def _check(field: str, given: list[str] | None, known: tuple[str, ...]) -> None:
    unknown = sorted(set(given or ()) - set(known))
    if unknown:
        raise bad_request(f"{field}: {', '.join(unknown)[:300]}: unknown; there are {', '.join(known)}")


async def _export(state: ApiState, folder: Path, tables: list[str], roots: list[str] | None) -> BackupFile:
    now = time.time()
    configuration = await changed_configuration(state, roots)
    text = json.dumps(configuration, ensure_ascii=False, indent=2).encode()
    if len(text) > MAX_CONFIGURATION:
        raise bad_request(f"the configuration is larger than {MAX_CONFIGURATION} bytes")
    meta = write_hocon({"version": state.version, "edition": EDITION, "format": FORMAT})
    await asyncio.to_thread(_write_head, folder, meta.encode(), text)
    for name in tables:
        await write_table(state, name, folder / TABLE_FOLDER / name, now)
    return await asyncio.to_thread(_pack, state.backups, folder, tables, now)


def _write_head(folder: Path, meta: bytes, configuration: bytes) -> None:
    (folder / TABLE_FOLDER).mkdir(mode=0o700)
    for name, data in ((META_NAME, meta), (CONFIGURATION_NAME, configuration)):
        with create_private(folder / name) as file:
            file.write(data)


def _pack(backups: BackupFiles, folder: Path, tables: list[str], now: float) -> BackupFile:
    name = backups.unused_name(now)
    top = name.removesuffix(SUFFIX)
    parts = [META_NAME, CONFIGURATION_NAME, *(f"{TABLE_FOLDER}/{table}" for table in tables)]

    def write(stream: BinaryIO) -> None:
        with (
            gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=_COMPRESSION, mtime=now) as compressed,
            tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
        ):
            for part in parts:
                path = folder / part
                header = tarfile.TarInfo(f"{top}/{part}")
                header.size, header.mode, header.mtime = path.stat().st_size, 0o600, int(now)
                with path.open("rb") as file:
                    archive.addfile(header, file)

    return backups.add(name, write)
