"""Why a client may do something or not: what each layer said that was asked, and which one decided."""

from dataclasses import dataclass
from typing import Literal

from ..records import RoleAcl, Rule

LayerKind = Literal["token", "file", "clientid", "username", "derived", "role", "group", "all"]
DecidedBy = Literal[
    "token", "file", "clientid", "username", "derived", "role", "group", "all", "confined", "reserved", "default"
]


@dataclass(frozen=True, slots=True)
class LayerAnswer:
    """Say what one layer said."""

    kind: LayerKind
    name: str
    """The client id, user name, login, role, or "GROUP/ROLE"; empty for all, the file and a token."""
    allowed: bool | None
    """None where none of its rules fits."""
    rule: Rule | RoleAcl | None = None
    """The rule that fits, as it was written."""
    position: int | None = None
    """The rule's place in its list, the first being 0; of a rule of the file, its line."""
    wildcard_guard: bool = False
    """Whether it was not a rule that decided, but that the role allows no wildcard subscriptions."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Say what was decided and why."""

    allowed: bool
    decided_by: DecidedBy
    """The kind of the layer that decided, or what holds where none did: `confined`, the client is denied all that its
    own layers do not allow; `reserved`, no default allows a topic that begins with `$CONTROL`; `default`."""
    layers: tuple[LayerAnswer, ...]
    """Those that were asked, in this order; the last one decided if `decided_by` is its kind."""

    @property
    def deciding(self) -> LayerAnswer | None:
        """The answer of the layer that decided; None where none did."""
        last = self.layers[-1] if self.layers else None
        return last if last is not None and last.allowed is not None else None
