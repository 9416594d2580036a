"""Data backups as EMQX describes them."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from ...limits import Body
from ...paging import Meta, Query

_Name = Annotated[str, Field(max_length=255)]


class ExportBody(Body):
    """What goes into an export; all of it where nothing is said."""

    table_sets: Annotated[list[_Name], Field(max_length=100)] | None = Field(
        default=None, description="Of banned, builtin_authn, builtin_authz, builtin_retainer, api_keys, dashboard_users"
    )
    root_keys: Annotated[list[_Name], Field(max_length=100)] | None = Field(
        default=None, description="Roots of the configuration"
    )


class ImportBody(Body):
    """Which file is imported."""

    filename: _Name
    node: _Name | None = None


class NodeQuery(Query):
    """On which node the file is."""

    node: _Name | None = None


class BackupInfo(TypedDict):
    """Describe a backup file."""

    node: str
    filename: str
    created_at: str
    created_at_sec: int
    size: int


class BackupPage(TypedDict):
    """One page of backup files, the newest first."""

    data: list[BackupInfo]
    meta: Meta
