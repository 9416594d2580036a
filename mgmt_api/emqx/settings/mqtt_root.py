"""The roots of EMQX's `global_zone`: what the engine allows its clients, and what EMQX has beside that.

Keys without a counterpart take the one value that describes what this broker does; any other is refused, for it would
have no effect.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from ....broker.settings import MqttSettings
from ...configuration import Governed, Root
from ...errors import ApiError
from ...limits import Body
from ...quantities import ByteSize, Duration, PositiveDuration, seconds, size
from .flapping_root import FLAPPING_DETECT

Infinity = Literal["infinity"]
Disabled = Literal["disabled"]
_MANY = 100_000_000
_MOST_MULTIPLIER = 100
Count = Annotated[int, Field(ge=0, le=_MANY)]
Strategy = Literal["random", "round_robin", "round_robin_per_group", "sticky", "local", "hash_topic", "hash_clientid"]
_STRATEGIES: Mapping[str, str] = {"local": "random", "round_robin_per_group": "round_robin"}
"""With one node every member is local."""


class Mqtt(Body):
    """What the engine allows its clients."""

    idle_timeout: PositiveDuration = "15s"
    max_packet_size: ByteSize = "1MB"
    max_clientid_len: Annotated[int, Field(ge=23, le=65_535)] = 65_535
    max_topic_levels: Annotated[int, Field(ge=0, le=65_535)] = 128
    max_topic_alias: Annotated[int, Field(ge=0, le=65_535)] = 64
    retain_available: bool = True
    wildcard_subscription: bool = True
    shared_subscription: bool = True
    shared_subscription_strategy: Strategy = "round_robin"
    shared_subscription_initial_sticky_pick: Literal["random"] = "random"
    exclusive_subscription: Literal[False] = False
    ignore_loop_deliver: bool = False
    strict_mode: Literal[False] = False
    response_information: Annotated[str, Field(max_length=1_024)] = ""
    server_keepalive: Annotated[int, Field(ge=1, le=65_535)] | Disabled = "disabled"
    keepalive_multiplier: Annotated[float, Field(ge=1, le=_MOST_MULTIPLIER, allow_inf_nan=False)] = 1.5
    keepalive_check_interval: Literal["30s"] = "30s"
    retry_interval: Infinity = "infinity"
    use_username_as_clientid: bool = False
    peer_cert_as_username: Disabled = "disabled"
    peer_cert_as_clientid: Disabled = "disabled"
    client_attrs_init: Annotated[list[dict[str, str]], Field(max_length=0)] = Field(
        default_factory=list[dict[str, str]]
    )
    session_expiry_interval: PositiveDuration | Infinity = "2h"
    message_expiry_interval: Infinity = "infinity"
    max_awaiting_rel: Annotated[int, Field(ge=0, le=65_535)] | Infinity = 1_000
    max_qos_allowed: Annotated[int, Field(ge=0, le=2)] = 2
    mqueue_priorities: Disabled = "disabled"
    mqueue_default_priority: Literal["lowest"] = "lowest"
    mqueue_store_qos0: Literal[False] = False
    max_mqueue_len: Count | Infinity = 1_000
    max_inflight: Annotated[int, Field(ge=1, le=65_535)] = 32
    max_subscriptions: Annotated[int, Field(ge=1, le=_MANY)] | Infinity = 10_000
    upgrade_qos: Literal[False] = False
    await_rel_timeout: Literal["300s"] = "300s"

    @field_validator("max_packet_size")
    @classmethod
    def _possible_size(cls, value: str) -> str:
        if not 16 <= size(value) <= 268_435_460:
            raise ValueError("must be between 16B and 256MB")
        return value


_FIELDS: Mapping[str, str] = {"connect_timeout": "idle_timeout"}
"""EMQX's names of the settings that are called otherwise here."""


def _unless(value: int, none: int, word: Any) -> Any:
    return word if value == none else value


def describe(settings: MqttSettings) -> Mqtt:
    """Put the engine's settings into EMQX's words, what is beyond their bounds as the nearest that is not."""
    kept = settings.session_expiry_interval
    return Mqtt(
        idle_timeout=_duration(settings.connect_timeout),
        max_packet_size=_size(settings.max_packet_size),
        max_clientid_len=settings.max_clientid_len,
        max_topic_levels=min(settings.max_topic_levels, 65_535),
        max_topic_alias=settings.max_topic_alias,
        retain_available=settings.retain_available,
        wildcard_subscription=settings.wildcard_subscription,
        shared_subscription=settings.shared_subscription,
        shared_subscription_strategy=settings.shared_subscription_strategy,  # pyright: ignore[reportArgumentType]
        ignore_loop_deliver=settings.ignore_loop_deliver,
        response_information=settings.response_information,
        server_keepalive=_unless(settings.server_keepalive, 0, "disabled"),
        keepalive_multiplier=min(settings.keepalive_multiplier, _MOST_MULTIPLIER),
        use_username_as_clientid=settings.use_username_as_clientid,
        session_expiry_interval=_duration(kept) if kept else "infinity",
        max_awaiting_rel=_unless(settings.max_awaiting_rel, 65_535, "infinity"),
        max_qos_allowed=settings.max_qos_allowed,
        max_mqueue_len=_unless(min(settings.max_mqueue_len, _MANY), 0, "infinity"),
        max_inflight=settings.max_inflight,
        max_subscriptions=_unless(min(settings.max_subscriptions, _MANY), 0, "infinity"),
    )


def changes(value: Mqtt) -> dict[str, Any]:
    """Name the engine's settings that a value means."""
    kept = value.session_expiry_interval
    return {
        "connect_timeout": seconds(value.idle_timeout),
        "max_packet_size": size(value.max_packet_size),
        "max_clientid_len": value.max_clientid_len,
        "max_topic_levels": value.max_topic_levels,
        "max_topic_alias": value.max_topic_alias,
        "retain_available": value.retain_available,
        "wildcard_subscription": value.wildcard_subscription,
        "shared_subscription": value.shared_subscription,
        "shared_subscription_strategy": _STRATEGIES.get(
            value.shared_subscription_strategy, value.shared_subscription_strategy
        ),
        "ignore_loop_deliver": value.ignore_loop_deliver,
        "response_information": value.response_information,
        "server_keepalive": 0 if value.server_keepalive == "disabled" else value.server_keepalive,
        "keepalive_multiplier": value.keepalive_multiplier,
        "use_username_as_clientid": value.use_username_as_clientid,
        "session_expiry_interval": 0.0 if kept == "infinity" else seconds(kept),
        # 0 is no bound in EMQX, too; the protocol's own is what an identifier has room for.
        "max_awaiting_rel": 65_535 if value.max_awaiting_rel == "infinity" else value.max_awaiting_rel or 65_535,
        "max_qos_allowed": value.max_qos_allowed,
        "max_mqueue_len": 0 if value.max_mqueue_len == "infinity" else value.max_mqueue_len,
        "max_inflight": value.max_inflight,
        "max_subscriptions": 0 if value.max_subscriptions == "infinity" else value.max_subscriptions,
    }


def _apply(governed: Governed, value: Mqtt) -> None:
    fixed, present = fixed_settings(governed), _present(governed)
    told = changes(value).items()
    governed.broker.change_settings(
        **{name: each for name, each in told if name not in fixed and each != present[name]}
    )


def _present(governed: Governed) -> dict[str, Any]:
    """Give the engine's settings as values say them: a value that was read and comes back changes nothing."""
    return changes(describe(governed.broker.settings))


def _complete(governed: Governed, value: Mqtt) -> Mqtt:
    """Show what the command line and the environment say where they say something else than what is stored."""
    return value if changes(value) == _present(governed) else describe(governed.broker.settings)


def fixed_settings(governed: Governed) -> frozenset[str]:
    """Name the engine's settings that the command line and the environment decide on."""
    section: Any = governed.fixed.get("mqtt", {})
    return frozenset(section)


def check_fixed(governed: Governed, value: Mqtt) -> None:
    """Raise `ApiError` 403 for a value that the command line or the environment override."""
    present = _present(governed)
    for name, each in changes(value).items():
        sent = _FIELDS.get(name, name) in value.model_fields_set
        if sent and name in fixed_settings(governed) and each != present[name]:
            raise ApiError(403, "UPDATE_FAILED", f"mqtt.{name} is given on the command line or in the environment")


def _duration(value: float) -> str:
    if value and value % 3_600 == 0:
        return f"{int(value // 3_600)}h"
    return f"{int(value)}s" if value == int(value) else f"{max(1, round(value * 1_000))}ms"


def _size(value: int) -> str:
    for unit, factor in (("MB", 1 << 20), ("KB", 1 << 10)):
        if value % factor == 0:
            return f"{value // factor}{unit}"
    return f"{value}B"


class ForceShutdown(Body):
    """Bound the memory of EMQX's processes; here each queue has a bound of its own."""

    enable: Literal[False] = False
    max_mailbox_size: Annotated[int, Field(ge=0, le=1_000_000_000)] = 1_000
    max_heap_size: ByteSize = "32MB"


class ForceGc(Body):
    """Collect the garbage of EMQX's processes; there are none here."""

    enable: Literal[False] = False
    count: Annotated[int, Field(ge=0, le=1_000_000_000)] = 16_000
    bytes: ByteSize = "16MB"


class DurableSessions(Body):
    """EMQX's other kind of sessions; here all that are persistent outlive the broker, by the setting `durability`."""

    enable: Literal[False] = False
    batch_size: Annotated[int, Field(ge=1, le=1_000_000_000)] = 100
    idle_poll_interval: Duration = "10s"
    heartbeat_interval: Duration = "5000ms"
    session_gc_interval: Duration = "10m"
    session_gc_batch_size: Annotated[int, Field(ge=1, le=1_000_000_000)] = 100
    message_retention_period: Duration = "1d"


class SessionRegistryConf(Body):
    """The registry of sessions, which there always is."""

    enable_session_registry: Literal[True] = True
    session_history_retain: Duration = Field(default="0s", description="How long the end of a session is counted")


def _keep_history(governed: Governed, value: SessionRegistryConf) -> None:
    governed.broker.session_history.retained = seconds(value.session_history_retain)


def _nothing(governed: Governed, value: object) -> None:
    """Accept a value whose only effect is to be shown."""


MQTT: Root[Mqtt] = Root(
    "mqtt",
    Mqtt,
    lambda governed: describe(governed.broker.settings),
    _apply,
    complete=_complete,
    partial=True,
)
FORCE_SHUTDOWN: Root[ForceShutdown] = Root("force_shutdown", ForceShutdown, lambda _: ForceShutdown(), _nothing)
FORCE_GC: Root[ForceGc] = Root("force_gc", ForceGc, lambda _: ForceGc(), _nothing)
DURABLE_SESSIONS: Root[DurableSessions] = Root(
    "durable_sessions", DurableSessions, lambda _: DurableSessions(), _nothing
)
BROKER: Root[SessionRegistryConf] = Root("broker", SessionRegistryConf, lambda _: SessionRegistryConf(), _keep_history)
ZONE: Mapping[str, Root[Any]] = {
    root.name: root for root in (MQTT, FLAPPING_DETECT, FORCE_SHUTDOWN, FORCE_GC, DURABLE_SESSIONS)
}
"""The parts of `global_zone`."""
