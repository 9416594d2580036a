"""Listeners as EMQX describes them: what may be sent, and what is answered."""

from re import compile as compile_pattern
from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema, field_validator
from typing_extensions import TypedDict

from ....broker.listeners.addresses import TcpAddress, read_address
from ....broker.listeners.policy import read_access_rules
from ...limits import Body
from ...quantities import ByteSize, Duration, PositiveDuration, seconds

Kind = Literal["tcp", "ssl", "ws", "wss"]
KINDS: tuple[Kind, ...] = ("tcp", "ssl", "ws", "wss")
NAME_PATTERN = compile_pattern(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}")
DEFAULT_PORTS: dict[str, int] = {"tcp": 1883, "ssl": 8883, "ws": 8083, "wss": 8084}
_RATE = compile_pattern(r"(\d{1,9}(?:\.\d{1,6})?)\s*/\s*(\d*(?:ms|s|m|h|d))")
_PEM_LIMIT = 262_144

Infinity = Literal["infinity"]
TlsVersion = Literal["tlsv1.3", "tlsv1.2"]
Text = Annotated[str, Field(max_length=4_096)]
Pem = Annotated[str, Field(max_length=_PEM_LIMIT, description="PEM text, or the path of a file on the server")]


def rate_of(text: str) -> float:
    """Read a rate such as `1000/s` as a number per second, 0 for `infinity`; raises ValueError with a sentence."""
    if text == "infinity":
        return 0.0
    found = _RATE.fullmatch(text)
    if found is None:
        raise ValueError("must be a rate such as 1000/s, or infinity")
    interval = found[2] if found[2][0].isdigit() else f"1{found[2]}"
    if seconds(interval) <= 0 or float(found[1]) <= 0:
        raise ValueError("must be a rate above nothing, or infinity")
    return float(found[1]) / seconds(interval)


def rate_text(rate: float) -> str:
    """Write a number per second as a rate."""
    return f"{rate:g}/s" if rate > 0 else "infinity"


def _bind(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        text = f":{value}" if value.isdigit() else value
        address = read_address(text, default_port=0, socket_mode=0)
        if not isinstance(address, TcpAddress) or not text.rpartition(":")[2].isdigit():
            raise ValueError("must be PORT, :PORT or HOST:PORT")
        return text
    return value


def _rate(value: Any) -> Any:
    if isinstance(value, str):
        rate_of(value)
    return value


Bind = Annotated[
    str, Field(max_length=255), BeforeValidator(_bind), WithJsonSchema({"type": "string", "example": "127.0.0.1:1883"})
]
Rate = Annotated[
    str, Field(max_length=64), BeforeValidator(_rate), WithJsonSchema({"type": "string", "example": "1000/s"})
]


class TcpOptions(Body):
    """How EMQX tunes its sockets; kept and shown, for here the event loop decides."""

    active_n: Annotated[int, Field(ge=0, le=65_535)] = 100
    backlog: Annotated[int, Field(ge=1, le=65_535)] = 1024
    send_timeout: Duration = "15s"
    send_timeout_close: bool = True
    recbuf: ByteSize | None = None
    sndbuf: ByteSize | None = None
    buffer: ByteSize = "4KB"
    high_watermark: ByteSize = "1MB"
    nodelay: bool = True
    reuseaddr: bool = True
    keepalive: Annotated[str, Field(max_length=64)] = "none"


class Ocsp(Body):
    """Stapled answers about a certificate, of which there are none; kept and shown."""

    enable_ocsp_stapling: Literal[False] = False
    responder_url: Text | None = None
    issuer_pem: Pem | None = None
    refresh_interval: Duration = "5m"
    refresh_http_timeout: Duration = "15s"


class SslOptions(Body):
    """Certificates of a listener, and what it asks of its clients'."""

    cacertfile: Pem | None = None
    cacerts: Literal[False] = False
    certfile: Pem | None = None
    keyfile: Pem | None = None
    verify: Literal["verify_none", "verify_peer"] = "verify_none"
    fail_if_no_peer_cert: bool = False
    password: Annotated[str, Field(max_length=1_024)] | None = None
    versions: Annotated[list[TlsVersion], Field(min_length=1, max_length=2)] = Field(
        default_factory=lambda: list[TlsVersion](("tlsv1.3", "tlsv1.2"))
    )
    ciphers: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=64)] = Field(
        default_factory=list[str]
    )
    depth: Literal[10] = 10
    reuse_sessions: Literal[True] = True
    secure_renegotiate: Literal[True] = True
    client_renegotiation: bool = False
    honor_cipher_order: Literal[True] = True
    log_level: Annotated[str, Field(max_length=16)] = "notice"
    hibernate_after: Duration = "5s"
    handshake_timeout: Duration = "15s"
    gc_after_handshake: bool = False
    enable_crl_check: Literal[False] = False
    ocsp: Ocsp | None = None

    @field_validator("client_renegotiation")
    @classmethod
    def _no_renegotiation(cls, value: bool) -> bool:
        """Take what EMQX shows by default, though no client may: each would cost the server more than the client."""
        return False if value else value


class DeflateOptions(Body):
    """How EMQX compresses; kept and shown, for nothing is compressed here."""

    level: Literal["none", "default", "best_compression", "best_speed"] | None = None
    mem_level: Annotated[int, Field(ge=1, le=9)] = 8
    strategy: Literal["default", "filtered", "huffman_only", "rle"] = "default"
    server_context_takeover: Literal["takeover", "no_takeover"] = "takeover"
    client_context_takeover: Literal["takeover", "no_takeover"] = "takeover"
    server_max_window_bits: Annotated[int, Field(ge=8, le=15)] = 15
    client_max_window_bits: Annotated[int, Field(ge=8, le=15)] = 15


class WebSocketOptions(Body):
    """The HTTP side of a WebSocket listener."""

    mqtt_path: Annotated[str, Field(pattern=r"^/[!-~]{0,254}$")] = "/mqtt"
    mqtt_piggyback: Literal["multiple"] = "multiple"
    compress: Literal[False] = False
    deflate_opts: DeflateOptions | None = None
    idle_timeout: Duration = "7200s"
    max_frame_size: Literal["infinity"] = "infinity"
    fail_if_no_subprotocol: Literal[True] = True
    supported_subprotocols: Annotated[str, Field(max_length=256)] = "mqtt, mqttv3.1"
    check_origin_enable: bool = False
    allow_origin_absence: Literal[True] = True
    check_origins: Text = "http://localhost:18083, http://127.0.0.1:18083"
    proxy_address_header: Annotated[str, Field(max_length=64)] = "x-forwarded-for"
    proxy_port_header: Annotated[str, Field(max_length=64)] = "x-forwarded-port"
    validate_utf8: bool = True

    @property
    def origins(self) -> tuple[str, ...] | None:
        """The web pages that may connect; None for any."""
        if not self.check_origin_enable:
            return None
        return tuple(each.strip().lower().rstrip("/") for each in self.check_origins.split(",") if each.strip())


class _Listener(Body):
    enable: bool = True
    acceptors: Annotated[int, Field(ge=1, le=65_535)] = 16
    max_connections: Annotated[int, Field(ge=1, le=100_000_000)] | Infinity = "infinity"
    mountpoint: Literal[""] = Field(default="", description="Not here: clients see the topics that there are")
    zone: Literal["default"] = "default"
    enable_authn: bool | Literal["quick_deny_anonymous"] = True
    max_conn_rate: Rate | None = None
    messages_rate: Infinity | None = None
    bytes_rate: Infinity | None = None
    access_rules: Annotated[list[Annotated[str, Field(max_length=128)]], Field(max_length=200)] = Field(
        default_factory=lambda: ["allow all"]
    )
    proxy_protocol: bool = False
    proxy_protocol_timeout: PositiveDuration = "3s"
    tcp_options: TcpOptions = TcpOptions()
    ssl_options: SslOptions | None = None
    websocket: WebSocketOptions | None = None

    @field_validator("access_rules")
    @classmethod
    def _readable_rules(cls, value: list[str]) -> list[str]:
        read_access_rules(value)
        return value


class _Sent(_Listener):
    id: Annotated[str, Field(max_length=300)] | None = None
    running: bool | None = None
    current_connections: Annotated[int, Field(ge=0)] | None = None


ONLY_SENT = frozenset(("id", "type", "name", "running", "current_connections"))
"""What a listener's object says and none keeps."""


class ListenerBody(_Sent):
    """A listener as it is sent; what is left out keeps its value."""

    type: Kind | None = None
    name: Annotated[str, Field(max_length=255)] | None = None
    bind: Bind | None = None


class NewListener(_Sent):
    """A listener that is to be made."""

    type: Kind
    name: Annotated[str, Field(max_length=255)]
    bind: Bind


class StoredListener(_Listener):
    """A listener as it is kept: whole."""

    bind: Bind


class ChangedListeners(BaseModel):
    """What the API changed of the listeners that the configuration file names, and what it added; by id."""

    changed: dict[str, StoredListener] = Field(default_factory=dict[str, StoredListener])
    deleted: list[str] = Field(default_factory=list[str])


class _Sockets(TypedDict):
    active_n: int
    backlog: int
    send_timeout: str
    send_timeout_close: bool
    recbuf: NotRequired[str]
    sndbuf: NotRequired[str]
    buffer: str
    high_watermark: str
    nodelay: bool
    reuseaddr: bool
    keepalive: str


class _Ocsp(TypedDict):
    enable_ocsp_stapling: bool
    responder_url: NotRequired[str]
    issuer_pem: NotRequired[str]
    refresh_interval: str
    refresh_http_timeout: str


class _Tls(TypedDict):
    cacertfile: NotRequired[str]
    cacerts: bool
    certfile: NotRequired[str]
    keyfile: NotRequired[str]
    verify: str
    fail_if_no_peer_cert: bool
    password: NotRequired[str]
    versions: list[str]
    ciphers: list[str]
    depth: int
    reuse_sessions: bool
    secure_renegotiate: bool
    client_renegotiation: bool
    honor_cipher_order: bool
    log_level: str
    hibernate_after: str
    handshake_timeout: str
    gc_after_handshake: bool
    enable_crl_check: bool
    ocsp: NotRequired[_Ocsp]


class _Deflate(TypedDict):
    level: NotRequired[str]
    mem_level: int
    strategy: str
    server_context_takeover: str
    client_context_takeover: str
    server_max_window_bits: int
    client_max_window_bits: int


class _Web(TypedDict):
    mqtt_path: str
    mqtt_piggyback: str
    compress: bool
    deflate_opts: NotRequired[_Deflate]
    idle_timeout: str
    max_frame_size: str
    fail_if_no_subprotocol: bool
    supported_subprotocols: str
    check_origin_enable: bool
    allow_origin_absence: bool
    check_origins: str
    proxy_address_header: str
    proxy_port_header: str
    validate_utf8: bool


class Listener(TypedDict):
    """A listener with all that it was told."""

    id: str
    type: Kind
    name: str
    running: bool
    current_connections: int
    enable: bool
    bind: str
    acceptors: int
    max_connections: int | Infinity
    mountpoint: str
    zone: str
    enable_authn: bool | Literal["quick_deny_anonymous"]
    max_conn_rate: str
    messages_rate: NotRequired[str]
    bytes_rate: NotRequired[str]
    access_rules: list[str]
    proxy_protocol: bool
    proxy_protocol_timeout: str
    tcp_options: _Sockets
    ssl_options: NotRequired[_Tls]
    websocket: NotRequired[_Web]


class Status(TypedDict):
    """Whether connections can come, and how many are there."""

    running: bool | Literal["inconsistent"]
    max_connections: int | Infinity
    current_connections: int


class NodeStatus(TypedDict):
    """The same of one node."""

    node: str
    status: Status


class ListenerRow(TypedDict):
    """A listener in a list."""

    id: str
    type: Kind
    name: str
    enable: bool
    number: int
    bind: str
    acceptors: int
    status: Status
    node_status: list[NodeStatus]


class TypeRow(TypedDict):
    """All listeners of one type."""

    type: Kind
    enable: bool
    ids: list[str]
    status: Status
    node_status: list[NodeStatus]


class ListenerQuery(BaseModel):
    """What a list is narrowed down to."""

    type: Literal["tcp", "ssl", "ws", "wss", "quic"] | None = None
