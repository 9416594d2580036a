"""What clients, subscriptions and topics look like, and what lists of them can be asked for."""

from typing import Annotated, Literal, NotRequired

from pydantic import BeforeValidator, Field
from typing_extensions import TypedDict

from ...paging import Meta, PageQuery, Query
from ...timestamps import parse_milliseconds

Client = TypedDict(
    "Client",
    {
        "clientid": str,
        "username": str | None,
        "node": str,
        "connected": bool,
        "is_expired": bool,
        "ip_address": str,
        "port": int,
        "peerport": int,
        "listener": str,
        "proto_name": str,
        "proto_ver": int,
        "keepalive": int,
        "clean_start": bool,
        "expiry_interval": int,
        "is_bridge": bool,
        "is_persistent": bool,
        "enable_authn": bool,
        "mountpoint": str | None,
        "durable": bool,
        "client_attrs": dict[str, str],
        "created_at": str,
        "connected_at": str,
        "disconnected_at": NotRequired[str],
        "subscriptions_cnt": int,
        "subscriptions_max": int | Literal["infinity"],
        "inflight_cnt": int,
        "inflight_max": int,
        "awaiting_rel_cnt": int,
        "awaiting_rel_max": int,
        "mqueue_len": int,
        "mqueue_max": int,
        "mqueue_dropped": int,
        "recv_oct": int,
        "recv_cnt": int,
        "recv_pkt": int,
        "recv_msg": int,
        "recv_msg.qos0": int,
        "recv_msg.qos1": int,
        "recv_msg.qos2": int,
        "recv_msg.dropped": int,
        "recv_msg.dropped.await_pubrel_timeout": int,
        "send_oct": int,
        "send_cnt": int,
        "send_pkt": int,
        "send_msg": int,
        "send_msg.qos0": int,
        "send_msg.qos1": int,
        "send_msg.qos2": int,
        "send_msg.dropped": int,
        "send_msg.dropped.expired": int,
        "send_msg.dropped.queue_full": int,
        "send_msg.dropped.too_large": int,
        "mailbox_len": int,
        "heap_size": int,
        "reductions": int,
    },
)

CLIENT_FIELDS = frozenset(Client.__required_keys__ | Client.__optional_keys__)


class ClientPage(TypedDict):
    """One page of clients; with the query `fields` each row has only those keys."""

    data: list[Client]
    meta: Meta


Moment = Annotated[
    int, BeforeValidator(lambda value: parse_milliseconds(str(value))), Field(description="RFC 3339 or epoch ms")
]


class ClientFilters(Query):
    """Say which clients; different filters are ANDed, repeats of one are ORed."""

    node: str | None = None
    clientid: list[str] = Field(default=[], description="Exact; may be repeated")
    username: list[str] = Field(default=[], description="Exact; may be repeated")
    like_clientid: str | None = Field(default=None, description="Part of the client id, where `clientid` is not given")
    like_username: str | None = Field(default=None, description="Part of the user name, where `username` is not given")
    ip_address: str | None = None
    conn_state: Literal["connected", "idle", "disconnected"] | None = None
    clean_start: bool | None = None
    proto_ver: Literal["3", "4", "5"] | None = None
    gte_created_at: Moment | None = None
    lte_created_at: Moment | None = None
    gte_connected_at: Moment | None = None
    lte_connected_at: Moment | None = None
    fields: str = Field(default="all", description="`all`, or keys of a client separated by commas")


class ClientQuery(PageQuery, ClientFilters):
    """Ask for one page of clients."""


class ClientCursorQuery(ClientFilters):
    """Ask for clients behind those of an earlier answer."""

    cursor: str = Field(default="none", max_length=100_000, description="What the earlier answer named")
    limit: int = Field(default=100, ge=1, le=10_000, description="Rows in the answer")


class Cursor(TypedDict):
    """Say how many clients there are in the answer, and where the next one goes on; nowhere at the end."""

    count: int
    cursor: NotRequired[str]


class ClientPart(TypedDict):
    """Some clients, as in `ClientPage`."""

    data: list[Client]
    meta: Cursor


class SessionsQuery(Query):
    """Ask how many sessions there are."""

    since: int = Field(default=0, ge=0, le=10**11, description="Count those that ended later, too; epoch seconds")


class SubscriptionRow(TypedDict):
    """One subscription of one client."""

    node: str
    clientid: str | None
    topic: str
    qos: int
    nl: int
    rap: int
    rh: int
    durable: bool


class SubscriptionPage(TypedDict):
    """One page of subscriptions."""

    data: list[SubscriptionRow]
    meta: Meta


class SubscriptionQuery(PageQuery):
    """Ask for subscriptions; all filters are ANDed."""

    node: str | None = None
    clientid: str | None = None
    qos: int | None = Field(default=None, ge=0, le=2)
    topic: str | None = Field(default=None, description="The exact filter, of a shared one without its prefix")
    share_group: str | None = None
    match_topic: str | None = Field(
        default=None, description="A filter that the subscription's filter, read as a topic, matches"
    )
    durable: bool | None = None


class TopicRow(TypedDict):
    """One topic filter that somebody subscribes to."""

    topic: str
    node: str


class TopicPage(TypedDict):
    """One page of topic filters."""

    data: list[TopicRow]
    meta: Meta


class TopicQuery(PageQuery):
    """Ask for topic filters."""

    topic: str | None = Field(default=None, description="The exact filter")
    node: str | None = None
