"""Logins of a file become logins of the directory."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Unpack

from ..directory import Directory
from ..errors import AlreadyExists, Invalid
from ..login_values import NewLogin
from ..records import Login
from ..tenants import DEFAULT_TENANT
from ..writer import Origin
from .findings import printable
from .records import ImportedUser, ParsedUsers, Skipped
from .reports import EXISTS, ImportReport

BATCH = 500
"""Logins of one transaction."""

_Row = tuple[ImportedUser, NewLogin]


async def import_users(
    directory: Directory,
    parsed: ParsedUsers,
    *,
    overwrite: bool = False,
    dry_run: bool = False,
    **origin: Unpack[Origin],
) -> ImportReport:
    """Create the logins; those that exist are left alone or, with `overwrite`, get the file's password.

    They keep all that the file does not say, and those of which it says nothing new their sessions. A failure in
    between leaves what was written before: to import again goes on from there.
    """
    run = _UserImport(directory, overwrite, origin)
    users = iter(parsed.users)
    while some := list(islice(users, BATCH)):
        batch = list(run.select(some))
        if dry_run:
            run.count([user.name for user, _ in batch])
        elif batch:
            await run.write(batch)
        await asyncio.sleep(0)  # where there is nothing to write, others have their turn, too
    return ImportReport(run.counts, (*parsed.skipped, *run.skipped), parsed.notes)


def new_login(user: ImportedUser) -> NewLogin:
    """Say what a user becomes where there is none of the name."""
    return NewLogin(
        login_type=user.login_type,
        login=user.name,
        secret=user.secret,
        superuser=bool(user.superuser),
        disabled=user.disabled,
        clientid=user.clientid,
        clientid_mode="any" if user.clientid is None else "required",
        label=user.label,
        description=user.description,
    )


class _UserImport:
    def __init__(self, directory: Directory, overwrite: bool, origin: Origin) -> None:
        self._directory = directory
        self._overwrite = overwrite
        self._origin = origin
        self._tenant = directory.tenants.required(DEFAULT_TENANT).id
        self._replaced: set[str] = set()
        self.counts = {"created": 0, "replaced": 0, "unchanged": 0}
        self.skipped: list[Skipped] = []

    def select(self, users: Sequence[ImportedUser]) -> Iterator[_Row]:
        """Give those that are to be written."""
        for user in users:
            old = self._directory.login(user.login_type, user.name)
            if old is None:
                yield user, new_login(user)
            elif old.kind != "mqtt_client" or old.tenant != self._tenant:
                self._skip(user, "A login of another kind has the name.")
            elif not self._overwrite:
                self._skip(user, EXISTS)
            elif user.superuser and old.confined:
                self._skip(user, "The login is confined to its own rules, from which a superuser is exempt.")
            else:
                new = _in_place_of(old, user)
                if self._directory.has_login(new):
                    self.counts["unchanged"] += 1
                    continue
                self._replaced.add(user.name)
                yield user, new

    async def write(self, batch: Sequence[_Row]) -> None:
        """Write a batch in one transaction, or one by one where one of them does not go."""
        try:
            written, left = await self._directory.import_logins(
                [new for _, new in batch], overwrite=self._overwrite, **self._origin
            )
        except (Invalid, AlreadyExists) as error:
            if len(batch) == 1:
                self._skip(batch[0][0], error.message)
            else:
                for row in batch:
                    await self.write([row])
            return
        names = {login.login for login in written}
        self.count(names)
        if left:  # somebody else created them since they were selected
            for user, _ in batch:
                if user.name not in names:
                    self._skip(user, EXISTS)

    def count(self, names: Sequence[str] | set[str]) -> None:
        """Count logins that are written."""
        replaced = sum(name in self._replaced for name in names)
        self.counts["replaced"] += replaced
        self.counts["created"] += len(names) - replaced

    def _skip(self, user: ImportedUser, reason: str) -> None:
        self.skipped.append(Skipped(user.line, printable(user.name), reason))


def _in_place_of(old: Login, user: ImportedUser) -> NewLogin:
    """Take the password and, where the file says it, the superuser flag; what was switched off stays off.

    What no file knows stays by itself, such as who owns it and whether they paused it.
    """
    return NewLogin(
        login_type=old.login_type,
        login=old.login,
        secret=user.secret,
        superuser=old.superuser if user.superuser is None else user.superuser,
        disabled=old.disabled_at is not None or user.disabled,
        clientid=old.clientid,
        clientid_mode=old.clientid_mode,
        label=old.label,
        description=old.description,
        expires_at=old.expires_at,
    )
