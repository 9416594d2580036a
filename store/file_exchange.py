"""Files of a data directory exchanged for others, all or none: whatever moment the process is killed at.

What is to come is staged in a folder inside the data directory, so that each step of the exchange is a rename. While
there is no plan in that folder, nothing outside it has been touched, and it can go. Once there is one, the exchange
takes place: whoever owns the directory next finishes it. A move whose target is there was made, so it is not made
again, and nothing is ever overwritten.
"""

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from .errors import DatabaseUnavailable
from .sessions.setting_aside import synchronise

STAGING_NAME = ".exchange"
_PLAN_NAME = "plan.json"
_MAX_NAMES = 1_000

Move = tuple[str, str]
"""From where to where, both relative to the data directory."""


class FileExchange:
    """Stage files in `folder`, then have them put in place with `carry_out`; the caller owns the directory's lock."""

    def __init__(self, data_dir: Path) -> None:
        """Begin an exchange; one that was interrupted must have been finished. Raises OSError."""
        self._data_dir = data_dir
        self.folder = data_dir / STAGING_NAME
        self.folder.mkdir(mode=0o700)

    def carry_out(self, away: Sequence[Move], staged: Sequence[Move]) -> None:
        """Move files `away` from where they are, then others from the folder to where they belong.

        The sources of `staged` are names in the folder. Raises OSError; what has begun then is finished later.
        """
        for source, _ in staged:
            _make_private(self.folder / source, self._data_dir)
        moves = [*away, *((f"{STAGING_NAME}/{source}", target) for source, target in staged)]
        written = self.folder / f"{_PLAN_NAME}.new"
        written.write_text(json.dumps(moves), encoding="utf-8")
        synchronise(written)
        synchronise(self.folder)
        written.replace(self.folder / _PLAN_NAME)
        synchronise(self.folder)
        _finish(self._data_dir)

    def abandon(self) -> None:
        """Throw away what was staged, unless the exchange has begun."""
        if not (self.folder / _PLAN_NAME).exists():
            shutil.rmtree(self.folder, ignore_errors=True)


def finish_or_undo(data_dir: Path) -> str | None:
    """Finish an exchange that was interrupted, or undo it where it had not begun; say which in a sentence.

    The caller owns the directory's lock and has opened nothing in it yet. Raises DatabaseUnavailable.
    """
    folder = data_dir / STAGING_NAME
    if not folder.exists():
        return None
    try:
        if (folder / _PLAN_NAME).exists():
            _finish(data_dir)
            return "An exchange of files that was interrupted (restore, or doctor --repair) has been finished."
        shutil.rmtree(folder)
        return "An exchange of files that was interrupted (restore, or doctor --repair) has been undone."
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise DatabaseUnavailable(
            f"An interrupted exchange of files in {data_dir} cannot be finished: {reason}."
        ) from error


def unused_name(folder: Path, name: str, now: float) -> str:
    """Make a name with the time in it, under which there is nothing; a dash and a number follow where there is."""
    stamped = f"{name}{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}"
    for number in range(1, _MAX_NAMES):
        found = stamped if number == 1 else f"{stamped}-{number}"
        if not os.path.lexists(folder / found):
            return found
    raise FileExistsError(f"{stamped} and all names like it are taken")


def give_to_owner(path: Path, data_dir: Path) -> None:
    """Give what root has made to the user whose directory it is, who could not open it. Raises OSError."""
    if os.geteuid() == 0:
        owner = data_dir.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _finish(data_dir: Path) -> None:
    folder = data_dir / STAGING_NAME
    moves: list[Move] = json.loads((folder / _PLAN_NAME).read_text(encoding="utf-8"))
    touched = {data_dir}
    for source, target in moves:
        parent = (data_dir / target).parent
        if parent not in touched:
            with suppress(FileExistsError):
                parent.mkdir(mode=0o700)
            give_to_owner(parent, data_dir)
            touched.add(parent)
        _move(data_dir / source, data_dir / target)
    for path in touched:
        synchronise(path)
    (folder / _PLAN_NAME).unlink()
    synchronise(folder)
    shutil.rmtree(folder)


def _move(source: Path, target: Path) -> None:
    if not os.path.lexists(target):
        # Where neither is there, it went away by itself: SQLite removes its log when the last connection closes.
        with suppress(FileNotFoundError):
            source.rename(target)
    elif source.parent.name == STAGING_NAME and source.exists():
        raise FileExistsError(f"{target} is in the way")


def _make_private(path: Path, data_dir: Path) -> None:
    path.chmod(0o600)
    give_to_owner(path, data_dir)
    synchronise(path)
