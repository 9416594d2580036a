"""The sources of rules as they are laid over each other: which layers are asked in which order, and who is counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from .acl.policy import Policy
from .acl.tallies import NOWHERE, Place, Tally

SourceType = Literal["file", "built_in_database"]

Step = Literal["file", "names", "own", "all"]
"""The file; the rules of client id and user name; what follows from login, roles and groups; the rules for all."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """Describe the source that is a text of rules."""

    rules: str
    enabled: bool = True
    type: Literal["file"] = "file"


@dataclass(frozen=True, slots=True)
class BuiltInSource:
    """Describe the source that the rules of client ids, of user names and for all are."""

    max_rules: int | None = None
    """Rules of one of these that the EMQX facade takes; None for what the server's settings say."""
    enabled: bool = True
    type: Literal["built_in_database"] = "built_in_database"


Source: TypeAlias = FileSource | BuiltInSource


class FilePolicy(NamedTuple):
    """Hold the rules of the file, compiled."""

    rules: int
    full: Policy | None
    """None where there is no rule."""
    confined: Policy | None
    """For clients that nothing is allowed but what their own rules allow: what the file denies."""


class SourceOrder(NamedTuple):
    """Say what is asked in which order."""

    steps: tuple[tuple[Step, Place], ...]
    last: Place
    """Behind all of them."""
    file: FilePolicy


NO_FILE = FilePolicy(0, None, None)


def arrange(
    sources: Sequence[Source], file: FilePolicy, tallies: Mapping[SourceType, Tally], unmatched: Tally
) -> SourceOrder:
    """Lay the sources over each other; `unmatched` counts what none of them had an answer to.

    What follows from logins, roles and groups is no source of EMQX's, and does not vanish with one: it stands where the
    built-in database does, enabled or not, and behind the others where there is none.
    """
    steps: list[tuple[Step, Place]] = []
    passed: tuple[Tally, ...] = ()
    for source in sources:
        tally = tallies[source.type]
        place = Place(tally, passed)
        if source.enabled:
            passed = (*passed, tally)
        if isinstance(source, BuiltInSource):
            if source.enabled:
                steps.append(("names", place))
            steps.append(("own", Place(None, passed)))
            if source.enabled:
                steps.append(("all", place))
        elif source.enabled:
            steps.append(("file", place))
    if not any(isinstance(source, BuiltInSource) for source in sources):
        steps.append(("own", Place(None, passed)))
    return SourceOrder(tuple(steps), Place(unmatched, passed), file)


WITHOUT_SOURCES = SourceOrder((("names", NOWHERE), ("own", NOWHERE), ("all", NOWHERE)), NOWHERE, NO_FILE)
"""The built-in database alone, and nothing counted."""
