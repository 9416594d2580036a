"""What every handler may reach: the broker, the directory and what the API itself keeps."""

from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from aiohttp import web

from ..broker.broker import Broker
from ..store.directory import Directory
from ..store.history import HistoryStore
from .backup_files import BackupFiles
from .configuration import Configuration, Governed
from .http_connections import HttpConnections
from .later import Later
from .refusals import RefusalLog
from .settings import ApiSettings

T = TypeVar("T")


@dataclass(slots=True)
class ApiState:
    """Belong to one application; nothing here is shared between brokers."""

    broker: Broker
    directory: Directory
    settings: ApiSettings
    version: str
    """The release of wardenmq that runs."""
    document: Later[bytes] | None = None
    """The OpenAPI document of the EMQX facade, encoded."""
    operator_document: bytes = b""
    """The OpenAPI document of the operator's API, encoded once."""
    configuration: Configuration = field(init=False)
    """What of the configuration the API can change."""
    data_dir: Path | None = None
    """Where files of the API's own go; None for a broker without a data directory."""
    prove: Callable[[str], str] | None = None
    """Give the proof of owning the data directory that a challenge asks for; None where there is none to own."""
    configured_plugins: Mapping[str, Mapping[str, Any]] | None = None
    """The plugins of the settings, where the broker does not run and so has loaded none."""
    unhandled_errors: int = 0
    """Requests that ended in an exception nobody expected."""
    refusals: RefusalLog = field(default_factory=RefusalLog)
    connections: HttpConnections = field(init=False)
    """Those to the HTTP server, where there is one."""

    other_origins: Callable[[], bool] = field(default=lambda: False)
    """Tell whether pages of other origins may read answers."""
    history: HistoryStore | None = None
    """Where samples are stored; without it they are kept in memory."""
    backups: BackupFiles = field(init=False)
    """What was exported, and what may be imported."""
    parts: "dict[Part[Any], Any]" = field(default_factory=dict["Part[Any]", Any])
    """What facades keep here; `part` makes it."""
    loaded: InitVar[Configuration | None] = None
    """The configuration that was put in force; without it none can be changed."""

    def __post_init__(self, loaded: Configuration | None) -> None:
        self.configuration = loaded or Configuration(Governed(self.broker, self.directory, self.settings), ())
        self.backups = BackupFiles(self.data_dir)
        self.connections = HttpConnections(self.settings.max_connections)

    def part(self, part: "Part[T]") -> T:
        """Return what a facade keeps here, made when it is asked for first."""
        if part not in self.parts:
            self.parts[part] = part.make(self)
        return self.parts[part]

    @property
    def refused_callers(self) -> int:
        """How many requests were answered with 401 or 403."""
        return self.refusals.count

    @property
    def node(self) -> str:
        """The name of this node."""
        return self.settings.node_name


@dataclass(frozen=True, eq=False, slots=True)
class Part(Generic[T]):
    """Name something that one facade alone keeps for as long as the application lives."""

    make: Callable[[ApiState], T]


STATE = web.AppKey("wardenmq.api", ApiState)
