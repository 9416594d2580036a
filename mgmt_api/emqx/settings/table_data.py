"""The part of the route table about data backups.

They hold what is kept of passwords, so that who only views gets none of them.
"""

from typing import Any

from ...multipart import UploadedFile
from ...paging import PageQuery
from ...routes import Route
from . import data_files, export_data, import_data
from .models_data import BackupInfo, BackupPage, ExportBody, ImportBody, NodeQuery

_TAG = "Data Backup"
_ONLY_ADMINISTRATORS = frozenset[Any]()
_MAX_UPLOAD = 64 * 1024 * 1024
_WRONG = {400: ("BAD_REQUEST",), 500: ("INTERNAL_ERROR",)}
_ONE = {**_WRONG, 404: ("NOT_FOUND",)}

DATA: tuple[Route[Any, Any], ...] = (
    Route(
        "POST",
        "/data/export",
        export_data.export_data,
        "Write a backup file",
        _TAG,
        body=ExportBody,
        answer=BackupInfo,
        errors=_WRONG,
        roles=_ONLY_ADMINISTRATORS,
    ),
    Route(
        "POST",
        "/data/import",
        import_data.import_data,
        "Take over what a backup file holds",
        _TAG,
        body=ImportBody,
        status=204,
        errors=_WRONG,
        roles=_ONLY_ADMINISTRATORS,
    ),
    Route(
        "GET",
        "/data/files",
        data_files.list_files,
        "List the backup files",
        _TAG,
        query=PageQuery,
        answer=BackupPage,
        errors=_WRONG,
        roles=_ONLY_ADMINISTRATORS,
    ),
    Route(
        "POST",
        "/data/files",
        data_files.upload_file,
        "Upload a backup file",
        _TAG,
        body=UploadedFile,
        max_body_size=_MAX_UPLOAD,
        status=204,
        errors=_WRONG,
        roles=_ONLY_ADMINISTRATORS,
    ),
    Route(
        "GET",
        "/data/files/{filename}",
        data_files.download_file,
        "Download a backup file",
        _TAG,
        query=NodeQuery,
        answer=bytes,
        errors=_ONE,
        roles=_ONLY_ADMINISTRATORS,
    ),
    Route(
        "DELETE",
        "/data/files/{filename}",
        data_files.delete_file,
        "Delete a backup file",
        _TAG,
        query=NodeQuery,
        status=204,
        errors=_ONE,
        roles=_ONLY_ADMINISTRATORS,
    ),
)
