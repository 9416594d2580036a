"""What the rules of one subject mean for one client: its texts for the placeholders, and which conditions hold."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from .client_facts import ClientFacts
from .conditions import Circumstances
from .patterns import Template
from .topic_trie import Entries, Entry, Texts

_SHORT_LIST = 8
"""Entries of one filter whose conditions are looked at one by one each time."""


class Question(Protocol):
    """Be asked about a client; None is for what cannot be found out."""

    def holds(self, circumstances: Circumstances) -> bool | None: ...


class Binding:
    """Hold one client's values; conditions are worked out when first asked for, and never again."""

    __slots__ = ("_circumstances", "_conditions", "_facts", "_held", "_usable", "conditional", "texts")

    def __init__(
        self, templates: Iterable[Template], conditions: Sequence[Question | None], facts: ClientFacts
    ) -> None:
        """Take what the rules need to know; a condition that is None is one that nobody can ask any more."""
        texts: dict[str, list[tuple[str, bool]]] = {}
        for template in templates:
            text = template.text(facts.client_id, facts.username)
            if text is not None:
                texts.setdefault(text, []).append((template.key, template.begins_with_value))
        self.texts: Texts = texts
        self.conditional = bool(conditions)
        """Whether entries must go through `usable`."""
        self._conditions = conditions
        self._facts = facts
        self._circumstances: Circumstances | None = None
        self._held: dict[int, bool | None] = {}
        self._usable: dict[int, tuple[Entries, Entries]] = {}

    def holds(self, condition: int | None, allow: bool) -> bool:
        """Tell whether a rule's condition holds; where that cannot be found out, a deny's does and an allow's not."""
        if condition is None:
            return True
        try:
            held = self._held[condition]
        except KeyError:
            compiled = self._conditions[condition]
            if self._circumstances is None:
                self._circumstances = Circumstances(self._facts)
            held = self._held[condition] = None if compiled is None else compiled.holds(self._circumstances)
        return not allow if held is None else held

    def usable(self, entries: Entries) -> Entries:
        """Return the entries whose conditions hold, and at most one of each kind."""
        if len(entries) <= _SHORT_LIST:
            return [entry for entry in entries if self.holds(entry.condition, entry.allow)]
        known = self._usable.get(id(entries))
        if known is None:
            kinds: dict[tuple[bool, int, int, bool | None], Entry] = {}
            for entry in entries:
                if self.holds(entry.condition, entry.allow):
                    kinds.setdefault(entry[1:5], entry)
            # With the list itself, so that it lives as long as what it is known by.
            known = self._usable[id(entries)] = entries, list(kinds.values())
        return known[1]
