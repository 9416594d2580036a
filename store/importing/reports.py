"""What became of a file: counts, what was left out, and why nothing was written where that is so."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import Invalid
from .findings import printable
from .records import Skipped

EXISTS = "It exists already."
_MAX_PLACES = 10


@dataclass(frozen=True, slots=True)
class ImportReport:
    """Say what an import wrote, or with a dry run would write."""

    counts: Mapping[str, int]
    """Of users: `created`, `replaced`, and `unchanged` ones that are what they would be replaced by. Of an ACL file:
    `users` that have rules now, `rules` of theirs, `patterns`, `anonymous` (ACLs). Of dynamic security: `users`,
    `roles`, `groups`, and `removed` users."""
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    """What is decided otherwise here than by the program that the file comes from."""
    refusal: str = ""
    """Why nothing would be written; only a dry run says so, for else it is raised."""


def refusal(skipped: Sequence[Skipped], *, dry_run: bool) -> str:
    """Say why nothing of a file is written from which something was left out that may deny; else raise it."""
    places = [printable(f"line {entry.line}" if entry.line else entry.what) for entry in skipped if entry.may_deny]
    if not places:
        return ""
    more = f" and {len(places) - _MAX_PLACES} more" if len(places) > _MAX_PLACES else ""
    sentence = (
        "Without what cannot be kept the rest could allow more than the file does, so nothing is written; see "
        f"{', '.join(places[:_MAX_PLACES])}{more}."
    )
    if not dry_run:
        raise Invalid(sentence)
    return sentence
