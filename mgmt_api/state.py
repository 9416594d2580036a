"""What every handler may reach: the broker, the directory and what the API itself keeps."""

from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from ..broker.broker import Broker
from ..store.directory import Directory
from ..store.history import HistoryStore
from .backup_files import BackupFiles
from .configuration import Configuration, Governed
from .later import Later
from .login_tokens import LoginTokens
from .message_ids import MessageIds
from .monitoring import Monitoring
from .refusals import RefusalLog
from .settings import ApiSettings
from .swagger_ui import SwaggerUi, read_swagger_ui


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
    swagger_ui: Later[SwaggerUi] = field(default_factory=lambda: Later(read_swagger_ui))
    """The pages that show it."""
    tokens: LoginTokens = field(init=False)
    """Who is logged in."""
    operator_document: bytes = b""
    """The OpenAPI document of the operator's API, encoded once."""
    configuration: Configuration = field(init=False)
    """What of the configuration the API can change."""
    data_dir: Path | None = None
    """Where files of the API's own go; None for a broker without a data directory."""
    prove: Callable[[str], str] | None = None
    """Give the proof of owning the data directory that a challenge asks for; None where there is none to own."""
    message_ids: MessageIds = field(default_factory=MessageIds)
    configured_plugins: Mapping[str, Mapping[str, Any]] | None = None
    """The plugins of the settings, where the broker does not run and so has loaded none."""
    unhandled_errors: int = 0
    """Requests that ended in an exception nobody expected."""
    refusals: RefusalLog = field(default_factory=RefusalLog)

    history: InitVar[HistoryStore | None] = None
    """Where samples are stored; without it they are kept in memory."""
    backups: BackupFiles = field(init=False)
    """What was exported, and what may be imported."""
    monitoring: Monitoring = field(init=False)
    """What sees how the broker fares, while the application runs."""
    loaded: InitVar[Configuration | None] = None
    """The configuration that was put in force; without it none can be changed."""

    def __post_init__(self, history: HistoryStore | None, loaded: Configuration | None) -> None:
        self.monitoring = Monitoring(self.broker, history, self.data_dir)
        self.configuration = loaded or Configuration(Governed(self.broker, self.directory, self.settings), ())
        self.backups = BackupFiles(self.data_dir)
        self.tokens = LoginTokens(self.directory.dashboard_users)

    @property
    def refused_callers(self) -> int:
        """How many requests were answered with 401 or 403."""
        return self.refusals.count

    @property
    def node(self) -> str:
        """The name of this node."""
        return self.settings.node_name


STATE = web.AppKey("wardenmq.api", ApiState)
