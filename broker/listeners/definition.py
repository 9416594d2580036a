"""What one listener is to be: its name, where it listens and how; open or not."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from amqtt.contexts import ListenerConfig, ListenerType

from .options import ListenerOptions
from .policy import ListenerPolicy


@dataclass(frozen=True, slots=True)
class ListenerDefinition:
    """Describe one listener of a broker."""

    key: str
    """What the broker calls it: the name in the configuration file, the id of one that was made while it ran."""
    name: str
    """The part of its id behind the colon."""
    config: ListenerConfig
    options: ListenerOptions = field(default_factory=ListenerOptions)
    policy: ListenerPolicy = field(default_factory=ListenerPolicy)
    enabled: bool = True
    required: bool = True
    """Whether the broker does not start without it; what was changed while it ran must not keep it from starting."""

    @property
    def kind(self) -> str:
        """The part of its id before the colon: tcp, ssl, ws, wss, unix or external."""
        if self.config.type == ListenerType.EXTERNAL:
            return "external"
        if self.config.type == ListenerType.WS:
            return "wss" if self.config.ssl else "ws"
        if str(self.config.bind or "").startswith("unix:"):
            return "ssl" if self.config.ssl else "unix"
        return "ssl" if self.config.ssl else "tcp"

    @property
    def listener_id(self) -> str:
        """The id, as clients' rows name it."""
        return f"{self.kind}:{self.name}"


def read_definitions(
    configs: Mapping[str, ListenerConfig], options: Mapping[str, ListenerOptions]
) -> dict[str, ListenerDefinition]:
    """Describe the listeners of a configuration, those without an address left out."""
    return {
        name: ListenerDefinition(name, name, config, options.get(name, ListenerOptions()))
        for name, config in configs.items()
        if config.type == ListenerType.EXTERNAL or config.bind is not None
    }
