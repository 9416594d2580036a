"""The users of a file, each name once."""

from .findings import Findings
from .records import ImportedUser, ParsedUsers, Skipped

_SUPERSEDED = " has the same name and counts."


def is_superseded(skipped: Skipped) -> bool:
    """Tell whether a user was left out for another one of the name, and not for what is wrong with it."""
    return skipped.reason.startswith("Line ") and skipped.reason.endswith(_SUPERSEDED)


class UserList:
    """Collect users; of those with the same name the last one counts, as for the programs that read such files."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._users: dict[str, ImportedUser] = {}

    def add(self, user: ImportedUser) -> None:
        """Take a user, in the place of an earlier one of the same name."""
        earlier = self._users.pop(user.name, None)
        if earlier is not None:
            self._findings.skip(earlier.line, user.name, f"Line {user.line}{_SUPERSEDED}")
        self._users[user.name] = user

    def result(self) -> ParsedUsers:
        """Return what was found."""
        return ParsedUsers(tuple(self._users.values()), self._findings.skipped, self._findings.notes)
