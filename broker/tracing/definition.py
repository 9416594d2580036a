"""What is traced, how it is written, and from when to when."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

TraceType: TypeAlias = Literal["clientid", "topic", "ip_address", "ruleid"]
PayloadEncode: TypeAlias = Literal["text", "hex", "hidden"]
Formatter: TypeAlias = Literal["text", "json"]
Status: TypeAlias = Literal["waiting", "running", "stopped"]


@dataclass(frozen=True, slots=True)
class Trace:
    """One trace; times are whole seconds since the epoch."""

    name: str
    type: TraceType
    value: str
    """A client id, a topic filter, an address, or the id of a rule."""
    start_at: int
    end_at: int
    payload_encode: PayloadEncode = "text"
    formatter: Formatter = "text"
    stopped: bool = False
    """Whether it was stopped before its time."""

    def status(self, now: float) -> Status:
        """Tell how far it is."""
        if self.stopped or now >= self.end_at:
            return "stopped"
        return "waiting" if now < self.start_at else "running"

    @property
    def condition(self) -> tuple[str, str, int]:
        """What no two traces may have in common."""
        return self.type, self.value, self.start_at
