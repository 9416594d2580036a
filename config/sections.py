"""The sections of the configuration, as pydantic models: names, defaults and bounds."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from .address import check_bind, split_address


def _checked_address(text: str) -> str:
    split_address(text)
    return text


def _checked_bind(text: str) -> str:
    check_bind(text)
    return text


def _checked_mode(value: object) -> object:
    # Nobody could tell whether the number 660 was meant to be octal.
    if not isinstance(value, str):
        raise ValueError("must be octal digits in quotes, for instance '0660'")
    return value


def _checked_origins(origins: list[str]) -> list[str]:
    for origin in origins:
        scheme, separator, host = origin.rstrip("/").partition("://")
        if origin != "null" and not (scheme and separator and host and "/" not in host):
            raise ValueError(f"must be a list of SCHEME://HOST[:PORT], which '{origin}' is not")
    return origins


Address = Annotated[str, AfterValidator(_checked_address)]
Bind = Annotated[str, AfterValidator(_checked_bind)]
Mode = Annotated[str, BeforeValidator(_checked_mode), Field(pattern=r"^0?[0-7]{3}$")]
Origins = Annotated[list[str], AfterValidator(_checked_origins)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
NodeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+@[A-Za-z0-9_.:-]+$", max_length=255)]


class Section(BaseModel):
    """Refuse what it does not know and never change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CertificateSection(Section):
    """A certificate chain and its key."""

    certfile: str
    keyfile: str


class ListenerSection(Section):
    """One listener: the keys of amqtt's `ListenerConfig`, then those of `broker.listeners.options.ListenerOptions`."""

    type: Literal["tcp", "ws", "external"] = "tcp"
    bind: Bind | None = None
    max_connections: Count = 0
    ssl: bool = False
    cafile: str | None = None
    capath: str | None = None
    cadata: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    reader: str | None = None
    writer: str | None = None
    verify_client: Literal["none", "optional", "required"] | None = None
    certificate_username: Literal["none", "cn", "san"] = "none"
    sni: dict[str, CertificateSection] | None = None
    origins: Origins | None = None
    proxy_protocol: bool = False
    socket_mode: Mode = "0660"

    @model_validator(mode="after")
    def _complete(self) -> "ListenerSection":
        if self.type != "external" and self.bind is None:
            raise ValueError("needs 'bind: HOST:PORT'")
        if (self.certfile is None) is not (self.keyfile is None):
            raise ValueError("needs both 'certfile' and 'keyfile', or neither")
        if self.ssl and self.certfile is None:
            raise ValueError("needs 'certfile' and 'keyfile' where 'ssl' is true")
        self._check_clients_certificates()
        return self

    def _check_clients_certificates(self) -> None:
        wanted = self.verify_client in ("optional", "required")
        if (wanted or self.certificate_username != "none") and not self.ssl:
            raise ValueError("can verify clients' certificates only where 'ssl' is true")
        has_authorities = any((self.cafile, self.capath, self.cadata))
        if wanted and not has_authorities:
            raise ValueError("needs 'cafile', 'capath' or 'cadata' to verify clients' certificates")
        if self.certificate_username != "none" and (self.verify_client == "none" or not has_authorities):
            raise ValueError("needs 'cafile' and 'verify_client' to take user names from certificates")

    def for_amqtt(self) -> dict[str, Any]:
        """Give the keys that have a value, as amqtt's configuration and ours beside it take them."""
        return self.model_dump(exclude_none=True)


_TLS_KEYS = ("certfile", "keyfile", "cafile", "capath", "cadata", "verify_client", "certificate_username", "sni")


def inherit(listeners: Mapping[str, object]) -> dict[str, object]:
    """Give each listener what `default` has and it does not set, as amqtt does, before it is looked at.

    The address is its own, and one that says `ssl: false` has no use for certificates.
    """
    above = listeners.get("default")
    if not isinstance(above, Mapping):
        return dict(listeners)
    return {name: _below(cast("Mapping[str, object]", above), own) for name, own in listeners.items()}


def _below(above: Mapping[str, object], listener: object) -> object:
    if not isinstance(listener, Mapping):
        return listener
    own = cast("Mapping[str, object]", listener)
    without = ("bind", *_TLS_KEYS) if own.get("ssl") is False else ("bind",)
    return {**{key: value for key, value in above.items() if key not in without}, **own}


class MqttSection(Section):
    """The engine's limits, name by name those of `broker.settings.MqttSettings`, where each is explained."""

    max_packet_size: Annotated[int, Field(ge=16, le=268_435_460)] = 1_048_576
    connect_timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 15.0
    keepalive_multiplier: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.5
    max_keepalive: Annotated[int, Field(ge=1, le=65_535)] = 65_535
    max_clientid_len: Annotated[int, Field(ge=23, le=65_535)] = 65_535
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
    max_inflight: Annotated[int, Field(ge=1, le=65_535)] = 32
    max_awaiting_rel: Annotated[int, Field(ge=1, le=65_535)] = 1_000
    max_mqueue_len: Count = 1_000
    max_mqueue_bytes: Count = 16_777_216
    mqueue_drop: Literal["oldest", "newest"] = "oldest"
    max_retained: Count = 100_000
    max_retained_bytes: Count = 268_435_456
    max_retained_payload: Count = 1_048_576
    max_outgoing_bytes: Positive = 8_388_608
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


class ApiSection(Section):
    """The management API's listener, and what `mgmt_api.settings.ApiSettings` holds, where each is explained."""

    bind: Address = "127.0.0.1:18083"
    node_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+@[A-Za-z0-9_.:-]+$", max_length=255)] = (
        "wardenmq@127.0.0.1"
    )
    cluster_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=255)] = "wardenmq"
    max_body_size: Positive = 8_388_608
    max_rules: Positive = 100


class LogSection(Section):
    """What goes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
