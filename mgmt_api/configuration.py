"""The part of the configuration that the API can change: checked, put in force, stored, and there again at the start.

A root is one subtree under EMQX's name (`retainer`, `delayed`, `mqtt`, ...). Each module that offers roots lists them
as `Root`s; `roots.py` names them all.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from inspect import isawaitable
from logging import getLogger
from pathlib import Path
from typing import Any, Generic, TypeVar, Unpack, cast

from pydantic import TypeAdapter, ValidationError

from ..broker.broker import Broker
from ..store.directory import Directory
from ..store.writer import Origin
from .errors import ApiError
from .settings import ApiSettings

_logger = getLogger(__name__)

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Governed:
    """Hold what a configuration acts on."""

    broker: Broker
    """Not started yet when the stored configuration is put in force at the start."""
    directory: Directory
    settings: ApiSettings = field(default_factory=ApiSettings)
    """What the HTTP side was started with."""
    data_dir: Path | None = None
    """Where files go that the configuration needs; None for a broker without a data directory."""
    fixed: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the command line and the environment say, nested as in the configuration file: it wins over the API."""


@dataclass(frozen=True)
class Root(Generic[M]):
    """Describe one subtree of the configuration."""

    name: str
    """EMQX's name of the root."""
    model: Any
    """The type of its value, something that pydantic can check: a model, or a list of models."""
    default: Callable[[Governed], M]
    """Give what holds while nothing is stored: for most roots what the running broker was started with."""
    apply: Callable[[Governed, M], Awaitable[None] | None]
    """Put a value in force; raises `ApiError` where that cannot be, and has then changed nothing."""
    delegates: bool = False
    """Whether the value is kept elsewhere: `default` always tells it, `apply` changes and stores it."""
    mask: Callable[[M], M] | None = None
    """Give the value as it may be shown, where it holds secrets."""
    complete: Callable[[Governed, M], M] | None = None
    """Fill in what a value only shows, whatever was stored."""


class Configuration:
    """Own the roots' present values; one for each broker."""

    def __init__(self, governed: Governed, roots: Iterable[Root[Any]]) -> None:
        self.governed = governed
        self._roots = {root.name: root for root in roots}
        self._adapters = {root.name: TypeAdapter[Any](root.model) for root in self._roots.values()}
        self._values: dict[str, Any] = {}
        self._lock = asyncio.Lock()

    @property
    def roots(self) -> Mapping[str, Root[Any]]:
        """The roots by name."""
        return self._roots

    async def load(self) -> None:
        """Put in force what is stored; before the broker starts, so that nobody is served by anything else.

        What this release cannot use is logged and left as it is: the default holds.
        """
        for name, root in self._roots.items():
            if root.delegates:
                continue
            stored = self.governed.directory.configurations.get(name)
            if stored is None:
                continue
            try:
                value = self._adapters[name].validate_python(stored)
                await _done(root.apply(self.governed, value))
            except (ApiError, ValidationError, ValueError, OSError) as error:
                _logger.error("The stored configuration of %s is not used: %s", name, error)
                continue
            self._values[name] = value

    def get(self, root: Root[M]) -> M:
        """Return a root's present value."""
        if root.delegates or root.name not in self._values:
            return root.default(self.governed)
        value = cast("M", self._values[root.name])
        return value if root.complete is None else root.complete(self.governed, value)

    def shown(self, root: Root[M]) -> M:
        """Return a root's present value without its secrets."""
        value = self.get(root)
        return value if root.mask is None else root.mask(value)

    def as_json(self, root: Root[Any], *, masked: bool = True) -> Any:
        """Return a root's present value as JSON data."""
        value = self.shown(root) if masked else self.get(root)
        return self._adapters[root.name].dump_python(value, mode="json", by_alias=True, exclude_none=True)

    async def put(self, root: Root[M], value: M, **origin: Unpack[Origin]) -> M:
        """Put a value in force and store it; returns it as it may be shown.

        Raises what `Root.apply` raises, and the store's errors; what was in force then is again.
        """
        return await self.change(root, lambda _: value, **origin)

    async def change(self, root: Root[M], change: Callable[[M], M], **origin: Unpack[Origin]) -> M:
        """Do the same with what `change` makes of the present value; nobody else changes it meanwhile.

        Raises what `change` raises, too.
        """
        async with self._lock:
            before = self.get(root)
            value = change(before)
            await _done(root.apply(self.governed, value))
            if not root.delegates:
                await self._store(root, value, before, origin)
            return self.shown(root)

    async def _store(self, root: Root[M], value: M, before: M, origin: Origin) -> None:
        stored = self._adapters[root.name].dump_python(value, mode="json", by_alias=True, exclude_none=True)
        try:
            await self.governed.directory.configurations.put(root.name, stored, **origin)
        except BaseException:
            await _done(root.apply(self.governed, before))
            raise
        self._values[root.name] = value


async def _done(outcome: Awaitable[None] | None) -> None:
    if isawaitable(outcome):
        await outcome
