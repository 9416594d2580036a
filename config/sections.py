"""The sections of the configuration, as pydantic models: names, defaults and bounds."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from .address import split_address


def _checked_address(text: str) -> str:
    split_address(text)
    return text


Address = Annotated[str, AfterValidator(_checked_address)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
NodeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+@[A-Za-z0-9_.:-]+$", max_length=255)]


class Section(BaseModel):
    """Refuse what it does not know and never change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ListenerSection(Section):
    """One listener, with the keys of amqtt's `ListenerConfig`."""

    type: Literal["tcp", "ws", "external"] = "tcp"
    bind: Address | None = None
    max_connections: Count = 0
    ssl: bool = False
    cafile: str | None = None
    capath: str | None = None
    cadata: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    reader: str | None = None
    writer: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> "ListenerSection":
        if self.type != "external" and self.bind is None:
            raise ValueError("needs 'bind: HOST:PORT'")
        if (self.certfile is None) is not (self.keyfile is None):
            raise ValueError("needs both 'certfile' and 'keyfile', or neither")
        if self.ssl and self.certfile is None:
            raise ValueError("needs 'certfile' and 'keyfile' where 'ssl' is true")
        return self

    def for_amqtt(self) -> dict[str, Any]:
        """Give the keys that were set, as amqtt's configuration takes them."""
        return self.model_dump(exclude_none=True)


class MqttSection(Section):
    """The engine's limits, name by name those of `broker.settings.MqttSettings`, where each is explained."""

    max_packet_size: Annotated[int, Field(ge=16, le=268_435_460)] = 1_048_576
    connect_timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 15.0
    keepalive_multiplier: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.5
    max_clientid_len: Annotated[int, Field(ge=23, le=65_535)] = 65_535
    max_topic_levels: Annotated[int, Field(ge=0, le=65_536)] = 128
    max_subscriptions: Count = 10_000
    max_inflight: Annotated[int, Field(ge=1, le=65_535)] = 32
    max_awaiting_rel: Annotated[int, Field(ge=1, le=65_535)] = 1_000
    max_mqueue_len: Count = 1_000
    max_retained: Count = 100_000
    max_outgoing_bytes: Positive = 8_388_608
    max_connections: Count = 50_000
    max_sessions: Count = 100_000
    session_expiry_interval: Seconds = 7_200.0
    password_wait_limit: Positive = 10_000


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
