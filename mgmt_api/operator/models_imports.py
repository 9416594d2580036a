"""What is said of a file of another broker, and what became of it."""

from typing import Literal

from pydantic import Field
from typing_extensions import TypedDict

from ...store.records import LoginType
from ..paging import Query

MAX_FILE = 64 * 1024 * 1024
"""Bytes of one file."""


class ImportQuery(Query):
    """Say how a file is to be taken; what is about algorithms counts for EMQX's files alone, which do not tell them."""

    overwrite: bool = Field(default=False, description="Replace what exists, instead of leaving it alone")
    dry_run: bool = Field(default=False, description="Write nothing, and say what would be written")
    login_type: LoginType = Field(default="username", description="The authenticator's user_id_type")
    password: Literal["hash", "plain"] = Field(default="hash", description="What the file has of the passwords")
    algorithm: Literal["plain", "md5", "sha", "sha256", "sha512", "bcrypt", "pbkdf2"] = "sha256"
    salt_position: Literal["disable", "prefix", "suffix"] = "prefix"
    mac_fun: str = Field(default="sha256", max_length=20, description="Of pbkdf2, like the two that follow")
    iterations: int = Field(default=0, ge=0, lt=2**31)
    dk_length: int | None = Field(default=None, ge=1, lt=2**31)


class Skipped(TypedDict):
    """Show what was left out and why; line 0 where the file has no lines."""

    line: int
    what: str
    reason: str
    may_deny: bool


class ImportReport(TypedDict):
    """Show what was written, or with a dry run would be; `refusal` says why nothing would be, None where it would."""

    source: str
    dry_run: bool
    counts: dict[str, int]
    skipped: list[Skipped]
    notes: list[str]
    refusal: str | None
