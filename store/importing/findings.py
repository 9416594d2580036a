"""What an importer has to say about a file: collected in the file's order, bounded, and fit for a terminal."""

from ..errors import Invalid
from .records import Skipped

MAX_SKIPPED = 10_000
"""With more of them it is some other kind of file."""
_SHOWN = 100


class Findings:
    """Collect what was left out and what is worth a note."""

    def __init__(self) -> None:
        self._skipped: list[Skipped] = []
        self._notes: dict[str, None] = {}

    def skip(self, line: int, what: str, reason: str, *, may_deny: bool = False) -> None:
        """Say that something was left out; raise Invalid where that becomes too much."""
        if len(self._skipped) >= MAX_SKIPPED:
            raise Invalid(f"More than {MAX_SKIPPED} entries cannot be used; is it another kind of file?")
        self._skipped.append(Skipped(line, printable(what), reason, may_deny))

    def note(self, sentence: str) -> None:
        """Say once that something is not quite what it was."""
        self._notes[sentence] = None

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What was left out, in the order of the lines."""
        return tuple(sorted(self._skipped, key=lambda skipped: skipped.line))

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes, each once."""
        return tuple(self._notes)


def printable(text: str) -> str:
    """Cut a text of a file and replace what must not get into a terminal, a log or a JSON answer."""
    cut = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in cut)
