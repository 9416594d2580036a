"""What every handler may reach: the broker, the directory and what the API itself keeps."""

from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from ..broker.broker import Broker
from ..store.directory import Directory
from .configuration import Configuration, Governed
from .message_ids import MessageIds
from .refusals import RefusalLog
from .roots import ROOTS
from .settings import ApiSettings


@dataclass(slots=True)
class ApiState:
    """Belong to one application; nothing here is shared between brokers."""

    broker: Broker
    directory: Directory
    settings: ApiSettings
    version: str
    """The release of wardenmq that runs."""
    document: bytes = b""
    """The OpenAPI document of the EMQX facade, encoded once."""
    operator_document: bytes = b""
    """The OpenAPI document of the operator's API, encoded once."""
    configuration: Configuration = field(init=False)
    """What of the configuration the API can change."""
    data_dir: Path | None = None
    """Where files of the API's own go; None for a broker without a data directory."""
    prove: Callable[[str], str] | None = None
    """Give the proof of owning the data directory that a challenge asks for; None where there is none to own."""
    message_ids: MessageIds = field(default_factory=MessageIds)
    rules_enabled: bool = True
    """Whether the rules of the built-in database are in force."""
    configured_plugins: Mapping[str, Mapping[str, Any]] | None = None
    """The plugins of the settings, where the broker does not run and so has loaded none."""
    unhandled_errors: int = 0
    """Requests that ended in an exception nobody expected."""
    refusals: RefusalLog = field(default_factory=RefusalLog)

    loaded: InitVar[Configuration | None] = None
    """The configuration that is in force already; without it what is stored is not put in force."""

    def __post_init__(self, loaded: Configuration | None) -> None:
        self.configuration = loaded or Configuration(Governed(self.broker, self.directory), ROOTS)

    @property
    def refused_callers(self) -> int:
        """How many requests were answered with 401 or 403."""
        return self.refusals.count

    @property
    def node(self) -> str:
        """The name of this node."""
        return self.settings.node_name


STATE = web.AppKey("wardenmq.api", ApiState)
