"""What every handler may reach: the broker, the directory and what the API itself keeps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from ..broker.broker import Broker
from ..store.directory import Directory
from .message_ids import MessageIds
from .refusals import RefusalLog
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

    @property
    def refused_callers(self) -> int:
        """How many requests were answered with 401 or 403."""
        return self.refusals.count

    @property
    def node(self) -> str:
        """The name of this node."""
        return self.settings.node_name


STATE = web.AppKey("wardenmq.api", ApiState)
