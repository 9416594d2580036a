"""What the management API has changed of the configuration: one JSON value for each root, as it was sent.

The store keeps them and knows none; whoever owns a root checks what goes in and understands what comes out.
"""

import json
from collections.abc import Sequence
from typing import Any, Unpack

from .database import Database, Statement
from .errors import Invalid
from .names import check_identifier
from .writer import Origin, Write, Writer

MAX_SIZE = 8 * 1024 * 1024
"""Bytes of one root as JSON."""

_PREFIX = "configuration."
_LOAD = "SELECT key, value FROM setting WHERE key LIKE 'configuration.%'"
_PUT = "INSERT INTO setting (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_FORGET = "DELETE FROM setting WHERE key = ?"


class Configurations:
    """Own the stored configuration in memory; what it returns is a copy."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._values: dict[str, str] = {}

    async def load(self, database: Database) -> None:
        """Read all roots."""
        self._values.update((key.removeprefix(_PREFIX), value) for key, value in await database.read(_LOAD))

    def names(self) -> Sequence[str]:
        """List the roots that have a stored value, in alphabetical order."""
        return sorted(self._values)

    def get(self, name: str) -> Any:
        """Return a root's value, None where nothing is stored."""
        text = self._values.get(name)
        return None if text is None else json.loads(text)

    async def put(self, name: str, value: object, **origin: Unpack[Origin]) -> None:
        """Store a root's value, which JSON must be able to hold."""
        await self._writer.write(lambda at: self.putting(name, value), **origin)

    async def forget(self, name: str, **origin: Unpack[Origin]) -> None:
        """Forget what is stored of a root, so that its defaults hold at the next start; nothing stored is no error."""
        await self._writer.write(lambda at: self.forgetting(name), **origin)

    def putting(self, name: str, value: object) -> Write[None]:
        """Prepare a root's value; for writes that change other things with it."""
        check_identifier(name, "configuration root")
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if len(text.encode()) > MAX_SIZE:
            raise Invalid(f"The configuration of '{name}' is larger than {MAX_SIZE} bytes.")

        def apply() -> None:
            self._values[name] = text

        return Write(
            action="configuration.put",
            target=name,
            statements=[Statement(_PUT, [(_PREFIX + name, text)])],
            apply=apply,
            result=None,
        )

    def forgetting(self, name: str) -> Write[None]:
        """Prepare that nothing is stored of a root any more."""

        def apply() -> None:
            self._values.pop(name, None)

        return Write(
            action="configuration.forget",
            target=name,
            statements=[Statement(_FORGET, [(_PREFIX + name,)])],
            apply=apply,
            result=None,
        )
