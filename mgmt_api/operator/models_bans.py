"""What bans and the entries of the audit log look like."""

from typing import Any

from pydantic import Field
from typing_extensions import TypedDict

from ...store.audit import MAX_LIMIT
from ...store.records import BanType
from ..limits import Body
from ..paging import Meta, PageQuery, Query
from .fields import Moment


class Ban(TypedDict):
    """Show who is kept out; `until` is None for ever."""

    who_type: BanType
    who: str
    by: str
    reason: str
    at: str
    until: str | None


class BanPage(TypedDict):
    """One page of bans, oldest first."""

    data: list[Ban]
    meta: Meta


class BanQuery(PageQuery):
    """Ask for bans."""

    who_type: BanType | None = None
    like: str | None = Field(default=None, description="Part of who is kept out")


class NewBan(Body):
    """Whom to keep out from now on."""

    who_type: BanType
    who: str = Field(min_length=1)
    by: str = ""
    reason: str = ""
    until: Moment | None = Field(default=None, description="None for ever")


class AuditRow(TypedDict):
    """Show one write."""

    id: int
    at: str
    actor: str
    facade: str
    action: str
    target: str
    detail: dict[str, Any]


class AuditMeta(TypedDict):
    """Say whether there is more: the next page is the one before the last row's id."""

    limit: int
    hasnext: bool


class AuditPage(TypedDict):
    """One page of the audit log, newest first."""

    data: list[AuditRow]
    meta: AuditMeta


class AuditQuery(Query):
    """Ask who wrote what."""

    since: Moment | None = None
    until: Moment | None = None
    actor: str | None = None
    facade: str | None = None
    action: str | None = Field(default=None, description="`login.create`, or its beginning as in `login.*`")
    target: str | None = Field(default=None, description="Part of what was written")
    before: int | None = Field(default=None, ge=1, lt=2**63, description="Only entries with a smaller id")
    limit: int = Field(default=100, ge=1, le=MAX_LIMIT)
