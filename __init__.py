"""An MQTT broker with its management built in.

The public names are imported on first use (PEP 562). pytest imports this file once more under the name of the
checkout's directory; as nothing is imported here, no module of the package is loaded twice by that.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .broker.broker import Broker

__all__ = ["Broker"]


def __getattr__(name: str) -> object:
    if name == "Broker":
        from .broker.broker import Broker

        return Broker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
