"""Users that are imported into the built-in database of the authentication chain, by the API or from a file at start.

Unlike an import that an operator runs by hand, a file with anything wrong in it is refused as a whole.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from logging import getLogger
from typing import Unpack

from ..authenticators.key_source import read_small_file
from ..authenticators.settings import DATABASE_ID, DatabaseSettings
from ..credentials.password_formats import EmqxAlgorithm
from ..credentials.stored_secrets import PLAIN
from ..directory import Directory
from ..errors import Invalid, StoreError
from ..writer import Origin
from .emqx_users import Form, Kind, parse_emqx_users
from .lines import MAX_FILE_BYTES
from .records import ImportedUser, ParsedUsers, Skipped
from .reports import EXISTS, ImportReport
from .user_import import import_users
from .user_list import is_superseded

_SHOWN = 5
_TURN = 200
"""Passwords that are hashed in one turn of those that wait to be hashed."""

_logger = getLogger(__name__)


async def import_authenticator_users(
    directory: Directory,
    settings: DatabaseSettings,
    data: bytes,
    *,
    form: Form,
    kind: Kind,
    overwrite: bool = True,
    **origin: Unpack[Origin],
) -> ImportReport:
    """Write a file's users, as hashes of the database's algorithm or with passwords to be hashed by it; raise Invalid.

    Those that exist are overwritten, or left alone; of rows with the same name the last one counts.
    """
    algorithm = settings.algorithm or EmqxAlgorithm()
    parsed = await asyncio.to_thread(
        parse_emqx_users, data, form=form, kind=kind, algorithm=algorithm, login_type=settings.user_id_type
    )
    _refuse([entry for entry in parsed.skipped if not is_superseded(entry)])
    if not parsed.users:
        raise Invalid("There are no users in the file.")
    if not overwrite:
        # Nobody waits for what a password costs that is not taken.
        new = tuple(user for user in parsed.users if directory.login(settings.user_id_type, user.name) is None)
        parsed = replace(parsed, users=new)
    seen = len(parsed.skipped)
    trial = await import_users(directory, parsed, overwrite=overwrite, dry_run=True)
    _refuse([entry for entry in trial.skipped[seen:] if entry.reason != EXISTS])
    hashed = ParsedUsers(
        tuple(await _hashed(directory, parsed.users, settings.algorithm)), parsed.skipped, parsed.notes
    )
    return await import_users(directory, hashed, overwrite=overwrite, **origin)


async def load_bootstrap_file(directory: Directory, settings: DatabaseSettings, **origin: Unpack[Origin]) -> None:
    """Create the users of the bootstrap file that do not exist; raise Invalid where the file cannot be used.

    A path with a variable of EMQX's own, which its default has, names no file here.
    """
    path = settings.bootstrap_file
    if not path or "${" in path:
        return
    data = await asyncio.to_thread(read_small_file, path, MAX_FILE_BYTES)
    form: Form = "json" if path.lower().endswith(".json") else "csv"
    report = await import_authenticator_users(
        directory, settings, data, form=form, kind=settings.bootstrap_type, overwrite=False, **origin
    )
    _logger.info("%d users of the bootstrap file were created", report.counts["created"])


async def bootstrap(directory: Directory) -> None:
    """Load the bootstrap file of the built-in database at a start, where there is one; what fails is in the log."""
    settings = directory.authenticators.get(DATABASE_ID)
    if not isinstance(settings, DatabaseSettings):
        return
    try:
        await load_bootstrap_file(directory, settings, facade="bootstrap_file")
    except StoreError as error:
        _logger.error("The users of the authentication's bootstrap file were not created: %s", error.message)


async def _hashed(
    directory: Directory, users: Sequence[ImportedUser], algorithm: EmqxAlgorithm | None
) -> list[ImportedUser]:
    """Hash the passwords that come as they are in the way that was asked for."""
    ready: list[ImportedUser] = []
    for start in range(0, len(users), _TURN):
        some = users[start : start + _TURN]
        plain = [user.secret for user in some if user.secret is not None and user.secret.algo == PLAIN]
        done = iter(await directory.authenticators.hash_imported(plain, algorithm))
        for user in some:
            is_plain = user.secret is not None and user.secret.algo == PLAIN
            ready.append(replace(user, secret=next(done)) if is_plain else user)
        await asyncio.sleep(0)
    return ready


def _refuse(skipped: Sequence[Skipped]) -> None:
    """Raise Invalid with the first places where something is wrong."""
    if not skipped:
        return
    places = "; ".join(f"line {entry.line}: {entry.reason}" for entry in skipped[:_SHOWN])
    more = f"; and {len(skipped) - _SHOWN} more" if len(skipped) > _SHOWN else ""
    raise Invalid(f"Nothing was imported: {places}{more}")
