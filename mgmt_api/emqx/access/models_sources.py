"""What the settings of authorization and its sources look like."""

from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import BeforeValidator, Field, RootModel
from typing_extensions import TypedDict

from ....store.acl.file_rules import MAX_SIZE
from ....store.rules import MAX_RULES
from ....store.sources import MAX_CACHE, MAX_EXCLUDES
from ...limits import Body
from ...quantities import Duration

BACKENDS = ("file", "built_in_database", "http", "redis", "mysql", "postgresql", "mongodb", "ldap")
"""The types that EMQX knows."""
OFFERED = ("file", "built_in_database")

NoMatch = Literal["allow", "deny"]
DenyAction = Literal["ignore", "disconnect"]


class Cache(Body):
    """What is kept of the decisions on each client."""

    enable: bool
    max_size: int = Field(default=512, ge=1, le=MAX_CACHE, description="Decisions for each client")
    ttl: Duration = "1m"
    excludes: list[Annotated[str, Field(min_length=1, max_length=65_535)]] = Field(
        default=[], max_length=MAX_EXCLUDES, description="Filters of topics on which no decision is kept"
    )


class Settings(Body):
    """What holds where no rule fits, and what a denied client meets."""

    no_match: NoMatch
    deny_action: DenyAction
    cache: Cache | None = Field(default=None, description="As it is, where it is not given")


class CacheRow(TypedDict):
    """Show what is kept of decisions."""

    enable: bool
    max_size: int
    ttl: str
    excludes: list[str]


class SettingsRow(TypedDict):
    """Show the settings."""

    no_match: NoMatch
    deny_action: DenyAction
    cache: CacheRow


def _refuse_backend(value: object) -> object:
    if not isinstance(value, dict):
        return value
    kind = cast("dict[str, object]", value).get("type")
    if kind in BACKENDS and kind not in OFFERED:
        raise ValueError(f"the backend {kind} is not offered: there are {' and '.join(OFFERED)}")
    return cast("object", value)


class NewFile(Body):
    """The source that is a text of rules, in EMQX's syntax."""

    type: Literal["file"]
    enable: bool = True
    rules: str = Field(max_length=MAX_SIZE, description='Such as `{allow, {username, "u"}, publish, ["t/#"]}.`')
    path: str | None = Field(default=None, max_length=4_096, description="Of no effect: the rules are in the database")


class NewBuiltIn(Body):
    """The source that the rules of client ids, of user names and for all are."""

    type: Literal["built_in_database"]
    enable: bool = True
    max_rules: int | None = Field(
        default=None, ge=1, le=MAX_RULES, description="Rules of one of them; what the server's settings say, at first"
    )


AnySource: TypeAlias = Annotated[NewFile | NewBuiltIn, Field(discriminator="type"), BeforeValidator(_refuse_backend)]


class NewSource(RootModel[AnySource]):
    """A source."""


class FileRow(TypedDict):
    """Show the source that is a text of rules."""

    type: Literal["file"]
    enable: bool
    rules: str


class BuiltInRow(TypedDict):
    """Show the source that the rules of client ids, of user names and for all are."""

    type: Literal["built_in_database"]
    enable: bool
    max_rules: int


SourceRow: TypeAlias = FileRow | BuiltInRow


class SourceList(TypedDict):
    """Show the sources in the order in which they are asked."""

    sources: list[SourceRow]


class Position(Body):
    """Where to move a source."""

    position: str = Field(max_length=100, description="`front`, `rear`, `before:TYPE` or `after:TYPE`")


class OrderedSource(Body):
    """One source in the new order."""

    type: str = Field(max_length=100)


class SourceMetrics(TypedDict):
    """Show what a source said: decisions that were taken from the cache are not counted."""

    total: int
    allow: int
    deny: int
    nomatch: int
    ignore: int
    rate: float
    rate_last5m: float
    rate_max: float


class NodeMetrics(TypedDict):
    """Show the same of one node."""

    node: str
    metrics: SourceMetrics


class NodeStatus(TypedDict):
    """Show the status on one node."""

    node: str
    status: Literal["connected"]


class NodeResourceMetrics(TypedDict):
    """Show that a source of ours asks nobody else."""

    node: str
    metrics: dict[str, Any]


class SourceStatus(TypedDict):
    """Show how a source does."""

    status: Literal["connected"]
    node_status: list[NodeStatus]
    node_error: list[Any]
    metrics: SourceMetrics
    node_metrics: list[NodeMetrics]
    resource_metrics: dict[str, Any]
    node_resource_metrics: list[NodeResourceMetrics]


class AuthorizationConfig(Body):
    """The configuration of authorization as a whole."""

    no_match: NoMatch
    deny_action: DenyAction = "ignore"
    cache: Cache
    sources: list[AnySource] = Field(max_length=len(OFFERED))
