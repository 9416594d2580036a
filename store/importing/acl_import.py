"""The rules of Mosquitto's ACL file become those of user names and for all, and a role for clients without name."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Unpack

from ..directory import Directory
from ..errors import AlreadyExists
from ..records import NO_PRIORITY, Operation
from ..writer import Origin
from .findings import printable
from .records import ImportedRules, ParsedAcl, Skipped
from .reports import EXISTS, ImportReport, refusal

BATCH = 1_000
"""Rules of one transaction, if they are not all of one user."""

ANONYMOUS = "anonymous"
"""The role that the file's rules for clients without user name become, and their group where they have none yet."""

_DEFAULTS: tuple[Operation, ...] = ("publish", "subscribe")


async def import_acl(
    directory: Directory,
    parsed: ParsedAcl,
    *,
    overwrite: bool = False,
    dry_run: bool = False,
    **origin: Unpack[Origin],
) -> ImportReport:
    """Write the rules; of those that have some already, they are left alone or, with `overwrite`, replaced.

    Patterns come last, so that at no time anybody may do more than in the end. Raises Invalid where something that may
    deny was left out of the file; then nothing is written.
    """
    refused = refusal(parsed.skipped, dry_run=dry_run)
    run = _AclImport(directory, overwrite, dry_run, origin)
    await run.write_users(parsed.users)
    await run.write_anonymous(parsed)
    await run.write_patterns(parsed)
    notes = (*parsed.notes, *_default_notes(directory))
    return ImportReport(run.counts, (*parsed.skipped, *run.skipped), notes, refused)


class _AclImport:
    def __init__(self, directory: Directory, overwrite: bool, dry_run: bool, origin: Origin) -> None:
        self._directory = directory
        self._overwrite = overwrite
        self._dry_run = dry_run
        self._origin = origin
        self.counts = {"users": 0, "rules": 0, "patterns": 0, "anonymous": 0}
        self.skipped: list[Skipped] = []

    async def write_users(self, users: Sequence[ImportedRules]) -> None:
        """Write the rules of user names."""
        for batch in _batches(users):
            new: list[ImportedRules] = []
            for user in batch:
                if self._directory.rules("username", user.name) is None:
                    new.append(user)
                elif self._overwrite:
                    await self._replace(user)
                else:
                    self._skip_user(user)
            if new:
                await self._create(new)
            await asyncio.sleep(0)  # where there is nothing to write, others have their turn, too

    async def write_anonymous(self, parsed: ParsedAcl) -> None:
        """Write a role for clients without user name, and give it to their group."""
        if not parsed.anonymous:
            return
        roles, groups = self._directory.roles, self._directory.groups
        exists = roles.get(ANONYMOUS) is not None
        group = groups.anonymous
        if exists and not self._overwrite:
            self._skip(f"role {ANONYMOUS}", EXISTS)
            return
        if group is None and (taken := groups.get(ANONYMOUS)) is not None and taken.members:
            # Its members would get the role, too.
            self._skip(f"group {ANONYMOUS}", "It exists already, and with members.")
            return
        self.counts["anonymous"] += len(parsed.anonymous)
        if self._dry_run:
            return
        if exists:
            await roles.update(ANONYMOUS, acls=parsed.anonymous, **self._origin)
        else:
            description = "What Mosquitto's ACL file allows clients without user name."
            await roles.create(ANONYMOUS, text_description=description, acls=parsed.anonymous, **self._origin)
        name = group or ANONYMOUS
        holder = groups.get(name)
        if holder is None:
            await groups.create(name, roles={ANONYMOUS: NO_PRIORITY}, **self._origin)
        elif ANONYMOUS not in holder.roles:
            await groups.add_role(name, ANONYMOUS, **self._origin)
        if group is None:
            await groups.set_anonymous(name, **self._origin)

    async def write_patterns(self, parsed: ParsedAcl) -> None:
        """Write the rules for all."""
        if not parsed.patterns:
            return
        if self._directory.rules("all") and not self._overwrite:
            self._skip("patterns", "There are rules for all already.")
            return
        self.counts["patterns"] += len(parsed.patterns)
        if not self._dry_run:
            await self._directory.set_rules("all", "", parsed.patterns, **self._origin)

    async def _create(self, batch: Sequence[ImportedRules]) -> None:
        """Write the rules of some users in one transaction, or one by one where one of them has some by now."""
        if not self._dry_run:
            try:
                await self._directory.create_rules(
                    "username", [(user.name, user.rules) for user in batch], **self._origin
                )
            except AlreadyExists:
                if len(batch) == 1:
                    self._skip_user(batch[0])
                    return
                for user in batch:
                    await self._create([user])
                return
        for user in batch:
            self._count(user)

    async def _replace(self, user: ImportedRules) -> None:
        if not self._dry_run:
            await self._directory.set_rules("username", user.name, user.rules, **self._origin)
        self._count(user)

    def _count(self, user: ImportedRules) -> None:
        self.counts["users"] += 1
        self.counts["rules"] += len(user.rules)

    def _skip_user(self, user: ImportedRules) -> None:
        self._skip(f"user {user.name}", "There are rules for the user name already.", user.line)

    def _skip(self, what: str, reason: str, line: int = 0) -> None:
        self.skipped.append(Skipped(line, printable(what), reason))


def _batches(users: Sequence[ImportedRules]) -> Iterator[list[ImportedRules]]:
    batch: list[ImportedRules] = []
    size = 0
    for user in users:
        if batch and size + len(user.rules) > BATCH:
            yield batch
            batch, size = [], 0
        batch.append(user)
        size += len(user.rules)
    if batch:
        yield batch


def _default_notes(directory: Directory) -> Iterator[str]:
    allowed = [operation for operation in _DEFAULTS if directory.default_access[operation]]
    if allowed:
        yield f"What no rule allows is denied by Mosquitto; here the default access allows to {' and '.join(allowed)}."
