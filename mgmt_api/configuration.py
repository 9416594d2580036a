"""The part of the configuration that the API can change: checked, put in force, stored, and there again at the start.

A root is one subtree under EMQX's name (`retainer`, `delayed`, `mqtt`, ...). Each module that offers roots lists them
as `Root`s; `roots.py` names them all.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from inspect import isawaitable
from logging import getLogger
from pathlib import Path
from typing import Any, Generic, TypeVar, Unpack, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from ..broker.broker import Broker
from ..store.directory import Directory
from ..store.errors import StoreError
from ..store.writer import Origin
from .errors import ApiError
from .settings import ApiSettings

_logger = getLogger(__name__)
_MAX_PROBLEMS = 5

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
    origin: Origin = field(default_factory=Origin)
    """Who changes a value, for the audit log; nobody at the start."""


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
    reveal: Callable[[M, M], M] | None = None
    """Put into a value that was sent the secrets of the present one where it has what they are shown as.

    Raises `ApiError` where there is none.
    """
    complete: Callable[[Governed, M], M] | None = None
    """Fill in what a value only shows, whatever was stored."""
    partial: bool = False
    """Whether of a model only the keys are stored that differ from what the server was started with.

    So the configuration file still decides on the others, whenever it is changed.
    """


class Configuration:
    """Own the roots' present values; one for each broker."""

    def __init__(self, governed: Governed, roots: Iterable[Root[Any]]) -> None:
        self.governed = governed
        self._roots = {root.name: root for root in roots}
        self._adapters = {root.name: TypeAdapter[Any](root.model) for root in self._roots.values()}
        self._values: dict[str, Any] = {}
        self._started = {
            name: self._json(root, root.default(governed)) for name, root in self._roots.items() if root.partial
        }
        """What the server was started with."""
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
                value = self._adapters[name].validate_python(
                    self._started.get(name, {}) | stored if root.partial else stored
                )
                await _done(root.apply(self.governed, value))
            except ValidationError as error:  # its own text repeats values, which may be secrets
                places = [".".join(map(str, problem["loc"])) or "all of it" for problem in _problems(error)]
                _logger.error("The stored configuration of %s is not used; wrong is %s", name, ", ".join(places))
                continue
            except (ApiError, ValueError, OSError) as error:
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
        return self._json(root, self.shown(root) if masked else self.get(root))

    def _json(self, root: Root[Any], value: Any) -> Any:
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
        async with self.changing(**origin) as changes:
            return await changes.put(root, change(self.get(root)))

    @asynccontextmanager
    async def changing(self, **origin: Unpack[Origin]) -> "AsyncGenerator[Changes]":
        """Keep everybody else from changing anything, so that what was read still holds when it is changed."""
        async with self._lock:
            yield Changes(self, origin)

    async def replace(self, root: Root[M], value: M, origin: Origin) -> M:
        """Put a value in force and store it; only for who keeps the others out."""
        before = self.get(root)
        if root.reveal is not None:
            value = root.reveal(value, before)
        await _done(root.apply(replace(self.governed, origin=origin), value))
        if not root.delegates:
            await self._store(root, value, before, origin)
        return self.shown(root)

    async def _store(self, root: Root[M], value: M, before: M, origin: Origin) -> None:
        stored = self._json(root, value)
        if root.partial:
            started = self._started[root.name]
            stored = {key: each for key, each in stored.items() if key not in started or each != started[key]}
        try:
            await self.governed.directory.configurations.put(root.name, stored, **origin)
        except BaseException:
            await _done(root.apply(self.governed, before))
            raise
        self._values[root.name] = value


class Changes:
    """Change several values while nobody else changes any."""

    def __init__(self, configuration: Configuration, origin: Origin) -> None:
        self._configuration = configuration
        self._origin = origin
        self._before: list[tuple[Root[Any], Any]] = []

    async def put(self, root: Root[M], value: M) -> M:
        """Do what `Configuration.put` does."""
        before = self._configuration.get(root)
        shown = await self._configuration.replace(root, value, self._origin)
        self._before.append((root, before))
        return shown

    async def undo(self) -> None:
        """Put what held before in force again, the last change first; what cannot be is logged."""
        while self._before:
            root, before = self._before.pop()
            try:
                await self._configuration.replace(root, before, self._origin)
            except (ApiError, StoreError, ValueError, OSError) as error:
                _logger.error("A change of %s stays, though the request failed: %s", root.name, type(error).__name__)


async def _done(outcome: Awaitable[None] | None) -> None:
    if isawaitable(outcome):
        await outcome


def _problems(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_context=False, include_input=False)[:_MAX_PROBLEMS]
