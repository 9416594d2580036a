"""The sections of the configuration, as pydantic models: names, defaults and bounds."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ..broker.listeners.addresses import read_address
from ..broker.listeners.options import READERS, check_tls_keys
from .address import split_address


def _checked_address(text: str) -> str:
    split_address(text)
    return text


def _checked_bind(value: object) -> object:
    # amqtt's form of a port alone is a number in YAML
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str):
        read_address(text, default_port=0, socket_mode=0)
    return text


def _as_the_broker_reads(key: str) -> BeforeValidator:
    """Have the broker say whether it can use a value, and leave it as it is."""
    read = READERS[key]

    def check(value: object) -> object:
        if value is not None:
            read(value)
        return value

    return BeforeValidator(check)


Address = Annotated[str, AfterValidator(_checked_address)]
Bind = Annotated[str, BeforeValidator(_checked_bind)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Durability = Literal["process", "power", "none"]
NodeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+@[A-Za-z0-9_.:-]+$", max_length=255)]


class Section(BaseModel):
    """Refuse what it does not know and never change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CertificateSection(Section):
    """A certificate chain and its key."""

    certfile: str
    keyfile: str


class ListenerSection(Section):
    """One listener: the keys of amqtt's `ListenerConfig`, then those of `broker.listeners.options.ListenerOptions`.

    Here are the shapes; what the values must be, the broker says.
    """

    type: Literal["tcp", "ws", "external"] = "tcp"
    bind: Bind | None = None
    max_connections: Annotated[int, Field(ge=-1)] = 0
    ssl: bool = False
    cafile: str | None = None
    capath: str | None = None
    cadata: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    reader: str | None = None
    writer: str | None = None
    verify_client: Annotated[str | None, _as_the_broker_reads("verify_client")] = None
    certificate_username: Annotated[str, _as_the_broker_reads("certificate_username")] = "none"
    sni: dict[str, CertificateSection] | None = None
    origins: Annotated[list[str] | None, _as_the_broker_reads("origins")] = None
    proxy_protocol: bool = False
    proxy_networks: Annotated[list[str] | None, _as_the_broker_reads("proxy_networks")] = None
    socket_mode: Annotated[str, _as_the_broker_reads("socket_mode")] = "0660"

    @model_validator(mode="after")
    def _complete(self) -> "ListenerSection":
        if self.type != "external" and self.bind is None:
            raise ValueError("needs 'bind: HOST:PORT'")
        check_tls_keys(self.model_dump())
        return self

    def for_amqtt(self) -> dict[str, Any]:
        """Give the keys that have a value, as amqtt's configuration and ours beside it take them."""
        return self.model_dump(exclude_none=True)


class MqttSection(Section):
    """The engine's limits, name by name those of `broker.settings.MqttSettings`, where each is explained."""

    max_packet_size: Annotated[int, Field(ge=16, le=268_435_460)] = 1_048_576
    connect_timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 15.0
    shutdown_timeout: Seconds = 5.0
    keepalive_multiplier: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.5
    max_keepalive: Annotated[int, Field(ge=1, le=65_535)] = 65_535
    server_keepalive: Annotated[int, Field(ge=0, le=65_535)] = 0
    max_clientid_len: Annotated[int, Field(ge=23, le=65_535)] = 65_535
    use_username_as_clientid: bool = False
    ignore_loop_deliver: bool = False
    max_topic_length: Annotated[int, Field(ge=1, le=65_535)] = 65_535
    max_topic_levels: Annotated[int, Field(ge=0, le=65_536)] = 128
    max_topic_alias: Annotated[int, Field(ge=0, le=65_535)] = 64
    max_qos_allowed: Annotated[int, Field(ge=0, le=2)] = 2
    retain_available: bool = True
    wildcard_subscription: bool = True
    shared_subscription: bool = True
    subscription_identifiers: bool = True
    shared_subscription_strategy: Literal["round_robin", "random", "sticky", "hash_clientid", "hash_topic"] = (
        "round_robin"
    )
    response_information: Annotated[str, Field(max_length=1_024)] = ""
    max_subscriptions: Count = 10_000
    max_filters: Count = 10_000
    max_subscription_bytes: Count = 16_777_216
    max_inflight: Annotated[int, Field(ge=1, le=65_535)] = 32
    max_awaiting_rel: Annotated[int, Field(ge=1, le=65_535)] = 1_000
    max_mqueue_len: Count = 1_000
    max_mqueue_bytes: Count = 16_777_216
    mqueue_drop: Literal["oldest", "newest"] = "oldest"
    max_queued_memory: Count = 268_435_456
    max_retained: Count = 100_000
    max_retained_bytes: Count = 536_870_912
    max_retained_payload: Count = 1_048_576
    max_delayed_bytes: Count = 268_435_456
    max_outgoing_bytes: Positive = 8_388_608
    max_unwritten_bytes: Annotated[int, Field(ge=1_048_576)] = 67_108_864
    max_message_rate: Rate = 0.0
    max_byte_rate: Rate = 0.0
    rate_exceeded: Literal["pause", "disconnect"] = "pause"
    max_connect_rate: Rate = 5_000.0
    max_connect_rate_per_address: Rate = 2_000.0
    max_connections: Count = 50_000
    max_sessions: Count = 100_000
    session_expiry_interval: Seconds = 7_200.0
    max_session_expiry_interval: Annotated[float, Field(ge=0, le=4_294_967_295)] = 0.0
    password_wait_limit: Positive = 10_000
    scram_iterations: Annotated[int, Field(ge=0, le=100_000_000)] = 600_000


class AccessSection(Section):
    """Authentication and rules, name by name `store.directory.DirectoryOptions`, where each is explained."""

    max_login_failures: Count = 20
    enforce_on_delivery: bool = True
    audit_retention_days: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 90.0
    audit_max_entries: Count = 1_000_000


class ApiSection(Section):
    """The management API's listener, and what `mgmt_api.settings.ApiSettings` holds, where each is explained."""

    bind: Address = "127.0.0.1:18083"
    node_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+@[A-Za-z0-9_.:-]+$", max_length=255)] = (
        "wardenmq@127.0.0.1"
    )
    cluster_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=255)] = "wardenmq"
    max_body_size: Positive = 8_388_608
    max_connections: Positive = 256
    max_rules: Positive = 100
    bootstrap_file: str = ""


class LogSection(Section):
    """What goes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
