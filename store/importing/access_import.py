"""A configuration of dynamic security takes the place of the one in the directory."""

import asyncio
from collections.abc import Sequence
from typing import Unpack

from ..access_replacement import AccessConfiguration
from ..directory import Directory
from ..records import Login
from ..tenants import DEFAULT_TENANT
from ..writer import Origin
from .dynsec import parse_dynsec
from .records import ParsedAccess
from .reports import ImportReport, refusal
from .user_import import new_login


async def import_dynsec(
    directory: Directory, data: bytes, *, dry_run: bool = False, **origin: Unpack[Origin]
) -> ImportReport:
    """Replace all plain users, roles, groups and defaults in one transaction; raise Invalid, then nothing is changed.

    Logins of other kinds stay as they are, and so do the rules of client ids, of user names and for all.
    """
    tenant = directory.tenants.required(DEFAULT_TENANT).id
    parsed, new, removed = await asyncio.to_thread(_read, data, directory.logins("username"), tenant)
    refused = refusal(parsed.skipped, dry_run=dry_run)
    if not dry_run:
        await directory.replace_access(new, **origin)
    counts = {
        "users": len(parsed.users),
        "roles": len(parsed.roles),
        "groups": len(parsed.groups),
        "removed": removed,
    }
    return ImportReport(counts, parsed.skipped, parsed.notes, refused)


def _read(data: bytes, logins: Sequence[Login], tenant: str) -> tuple[ParsedAccess, AccessConfiguration, int]:
    """Read the file and say what is to be there, and how many users will not be."""
    plain, others = _user_names(logins, tenant)
    parsed = parse_dynsec(data, other_users=others)
    new = AccessConfiguration(
        users=[new_login(user) for user in parsed.users],
        roles=parsed.roles,
        groups=parsed.groups,
        user_roles={user.name: user.roles for user in parsed.users},
        defaults={**parsed.default_access},
        anonymous_group=parsed.anonymous_group,
    )
    return parsed, new, len(plain - {user.name for user in parsed.users})


def _user_names(logins: Sequence[Login], tenant: str) -> tuple[set[str], set[str]]:
    """Return the names that a replacement takes, and those that it leaves alone."""
    plain: set[str] = set()
    others: set[str] = set()
    for login in logins:
        (plain if login.kind == "mqtt_client" and login.tenant == tenant else others).add(login.login)
    return plain, others
