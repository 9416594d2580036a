"""What is asked about one decision, and how it is explained."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, StringConstraints
from typing_extensions import TypedDict

from ...store.acl.explanation import DecidedBy, LayerKind
from ...store.records import LoginType
from ..paging import Query
from .models_roles import Acl
from .models_rules import ConditionalRule

Decider: TypeAlias = DecidedBy | Literal["superuser", "system_topic", "settings", "no_plugin", "other_plugins"]
ExplainedOperation = Literal["publish", "subscribe", "receive"]


class ExplainQuery(Query):
    """Ask what a client may do. What is not given is taken from its session, if it has one."""

    clientid: Annotated[str, StringConstraints(min_length=1)]
    topic: Annotated[str, StringConstraints(min_length=1)] = Field(description="A topic; for subscribe, a filter")
    action: ExplainedOperation = "publish"
    qos: int = Field(default=0, ge=0, le=2)
    retain: bool = False
    username: str | None = Field(default=None, description="Empty for a client that presents none")
    address: str | None = Field(default=None, description="The client's IP address")
    listener: str | None = Field(default=None, description="As in `tcp:default`")


class LayerAnswer(TypedDict):
    """Show what one layer said; `position` counts from 1, and is the line of a rule of the file."""

    kind: LayerKind
    name: str
    allowed: bool | None
    rule: ConditionalRule | Acl | None
    position: int | None
    wildcard_guard: bool


class ExplainedClient(TypedDict):
    """Show for whom it was decided."""

    clientid: str
    username: str | None
    login: str | None
    login_type: LoginType | None
    superuser: bool
    address: str
    listener: str
    session: bool
    connected: bool


class Explained(TypedDict):
    """Show a decision, and what each layer said that was asked; the last one decided if it is of that kind."""

    allowed: bool
    decided_by: Decider
    client: ExplainedClient
    layers: list[LayerAnswer]
    remarks: list[str]
