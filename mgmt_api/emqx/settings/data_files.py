"""The files of data backups: listed, uploaded, downloaded, deleted."""

import asyncio
import io
from datetime import UTC, datetime
from typing import Any

from ....store.plain_tar import BackupUnacceptable
from ...backup_files import BackupFile, BackupFiles
from ...encoding import Page
from ...errors import ApiError, bad_request
from ...multipart import UploadedFile
from ...paging import PageQuery, paginate
from ...routes import Answer, Call, OpenFile
from .import_archive import ImportArchive
from .models_data import BackupInfo, NodeQuery


async def list_files(call: Call[PageQuery, None]) -> Page:
    """List the archives, the newest first."""
    try:
        files = await asyncio.to_thread(call.state.backups.all)
    except OSError as error:
        raise failed(error) from error
    return await paginate(files, call.query, lambda file: info(call, file))


async def upload_file(call: Call[None, UploadedFile]) -> None:
    """Keep an archive that could be imported."""
    backups, data = call.state.backups, call.body.data
    name = backups.check_name(call.body.name)
    async with backups.exclusive():
        try:
            await asyncio.to_thread(_keep, backups, name, data, call.state.version)
        except BackupUnacceptable as error:
            raise bad_request(error.message) from None
        except FileExistsError:
            raise bad_request(f"Backup file {name} already exists") from None
        except OSError as error:
            raise failed(error) from error
    await call.state.directory.note("data.upload", name, **call.origin)


async def download_file(call: Call[NodeQuery, None]) -> Answer:
    """Give an archive."""
    name = _name(call)
    try:
        file, size = await asyncio.to_thread(call.state.backups.open, name)
    except OSError as error:
        raise missing_or_failed(error, name) from error
    try:
        await call.state.directory.note("data.download", name, **call.origin)
    except BaseException:
        file.close()
        raise
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Answer(OpenFile(file, size), 200, "application/octet-stream", headers)


async def delete_file(call: Call[NodeQuery, None]) -> None:
    """Delete an archive."""
    name = _name(call)
    try:
        await asyncio.to_thread(call.state.backups.delete, name)
    except OSError as error:
        raise missing_or_failed(error, name) from error
    await call.state.directory.note("data.delete", name, **call.origin)


def info(call: Call[Any, Any], file: BackupFile) -> BackupInfo:
    """Describe an archive."""
    seconds = int(file.created_at)
    return {
        "node": call.state.node,
        "filename": file.name,
        "created_at": datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds"),
        "created_at_sec": seconds,
        "size": file.size,
    }


def check_node(call: Call[Any, Any], node: str | None) -> None:
    """Raise `ApiError` 400 for another node than this one."""
    if node is not None and node != call.state.node:
        raise bad_request("node: there is no node of this name")


def failed(error: OSError) -> ApiError:
    """Say that the disk did not do what it should."""
    return ApiError(500, "INTERNAL_ERROR", f"the backup files cannot be used: {error.strerror or 'input/output error'}")


def missing_or_failed(error: OSError, name: str) -> ApiError:
    """Say that there is no such file, or that the disk did not do what it should."""
    if isinstance(error, FileNotFoundError):
        return ApiError(404, "NOT_FOUND", f"Backup file not found: {name}")
    return failed(error)


def _name(call: Call[NodeQuery, None]) -> str:
    check_node(call, call.query.node)
    return BackupFiles.check_name(call.path["filename"])


def _keep(backups: BackupFiles, name: str, data: bytes, release: str) -> None:
    backups.check_room()
    ImportArchive(io.BytesIO(data), release)
    backups.add(name, lambda file: file.write(data))
