"""The import of a data backup: first the configuration, then the tables; what is not in it stays as it is."""

import asyncio
from typing import Any

from ....store.background_work import full_collection_put_off
from ....store.plain_tar import BackupUnacceptable
from ...errors import bad_request
from ...routes import Call
from .data_files import check_node, failed
from .import_archive import ImportArchive
from .import_configuration import import_configuration
from .import_problems import Problems
from .import_tables import import_tables
from .models_data import ImportBody


async def import_data(call: Call[None, ImportBody]) -> None:
    """Take over what an archive holds; raises `ApiError` 400 for what of it could not be, when all else is done."""
    backups = call.state.backups
    check_node(call, call.body.node)
    name = backups.check_name(call.body.filename)
    async with backups.exclusive():
        try:
            file, _ = await asyncio.to_thread(backups.open, name)
            with file:
                archive = await asyncio.to_thread(ImportArchive, file, call.state.version)
                await call.state.directory.note("data.import", name, **call.origin)
                with full_collection_put_off():  # what is taken over is kept
                    problems = await _import(call, archive)
        except BackupUnacceptable as error:
            raise bad_request(error.message) from None
        except FileNotFoundError:
            raise bad_request(f"Backup file not found: {name}") from None
        except OSError as error:
            raise failed(error) from error
    if problems.count:
        raise bad_request(problems.text())


async def _import(call: Call[Any, Any], archive: ImportArchive) -> Problems:
    problems = Problems()
    if archive.configuration:
        await import_configuration(call, archive.configuration, problems)
    await import_tables(call, archive, problems)
    if archive.foreign:
        names = ", ".join(archive.foreign)
        problems.add("tables", f"these are in EMQX's own format, which cannot be read here: {names}")
    return problems
