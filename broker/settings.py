"""The engine's own settings: what the broker enforces whatever listener a client came through."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Hold the limits and intervals of the MQTT engine; sizes in bytes, times in seconds, 0 for no bound where said."""

    max_packet_size: int = 1_048_576
    """Largest packet accepted, fixed header included."""
    connect_timeout: float = 15.0
    """From accept to a complete CONNECT."""
    shutdown_timeout: float = 5.0
    """How long a stop may take to empty queues; what is left then is cut off."""
    keepalive_multiplier: float = 1.5
    """A connection silent for this many keep-alive intervals is closed [MQTT-3.1.2-24]."""
    max_keepalive: int = 65_535
    """Longest keep-alive; MQTT 5 clients that ask for more or none are told this one, others are refused."""
    server_keepalive: int = 0
    """The keep-alive that MQTT 5 clients are told instead of their own; 0 leaves them theirs."""
    max_clientid_len: int = 65_535
    use_username_as_clientid: bool = False
    """Whether a client that presents a user name has it as client id, whatever id it sends."""
    ignore_loop_deliver: bool = False
    """Whether 3.1 and 3.1.1 clients are spared what they publish themselves, as MQTT 5 clients can ask for."""
    max_topic_length: int = 65_535
    """Bytes of a topic name or filter."""
    max_topic_levels: int = 128
    max_topic_alias: int = 64
    """Topic aliases that a client may set, and that are set towards a client which allows them; 0 for none."""
    max_qos_allowed: int = 2
    retain_available: bool = True
    wildcard_subscription: bool = True
    shared_subscription: bool = True
    subscription_identifiers: bool = True
    shared_subscription_strategy: str = "round_robin"
    """Which member of a group gets a message: round_robin, random, sticky, hash_clientid or hash_topic."""
    response_information: str = ""
    """Sent to MQTT 5 clients that ask for response information."""
    max_subscriptions: int = 10_000
    """Subscriptions per session; 0 for no bound."""
    max_filters: int = 10_000
    """Topic filters in one SUBSCRIBE or UNSUBSCRIBE; 0 for no bound."""
    max_subscription_bytes: int = 16_777_216
    """What the filters of one session may cost in memory, by a cautious estimate; 0 for no bound."""
    max_inflight: int = 32
    """Unacknowledged QoS 1 and 2 messages towards one client."""
    max_awaiting_rel: int = 1_000
    """QoS 2 messages of one client that wait for their PUBREL; one more closes the connection."""
    max_mqueue_len: int = 1_000
    """Messages queued for one session; past it one is dropped and counted. 0 for no bound."""
    max_mqueue_bytes: int = 16_777_216
    """Payloads, properties and topics queued for one session, with the same consequence. 0 for no bound."""
    mqueue_drop: str = "oldest"
    """Which message a full queue drops: oldest or newest."""
    max_queued_memory: int = 268_435_456
    """Payloads of stored sessions kept in memory, in all; what is past it stays on disk alone. 0 for none kept."""
    max_retained: int = 100_000
    """Retained messages in all; past it a new topic's is not stored and counted. 0 for no bound."""
    max_retained_bytes: int = 536_870_912
    """What all retained messages and their topics hold in memory, with the same consequence. 0 for no bound."""
    max_retained_payload: int = 1_048_576
    """Largest payload that is retained. 0 for no bound."""
    max_delayed_bytes: int = 268_435_456
    """What all messages hold in memory that wait on `$delayed/...` topics; one more is dropped. 0 for no bound."""
    max_outgoing_bytes: int = 8_388_608
    """Bytes waiting for one socket; past it QoS 0 messages to it are dropped and counted."""
    max_unwritten_bytes: int = 67_108_864
    """What may wait for the disk, in all; past it publishers that owe durable state are not read."""
    max_message_rate: float = 0.0
    """Messages per second that one client may publish; 0 for no bound."""
    max_byte_rate: float = 0.0
    """Bytes per second that one client may send; 0 for no bound."""
    rate_exceeded: str = "pause"
    """What a client over its rate meets: pause (it is read more slowly) or disconnect."""
    max_connect_rate: float = 5_000.0
    """Connections per second that one listener accepts, in bursts of twice as many; 0 for no bound."""
    max_connect_rate_per_address: float = 2_000.0
    """The same for one client address, in bursts of five times as many; 0 for no bound."""
    max_connections: int = 50_000
    """Connections in all; past it new ones are refused. 0 for no bound."""
    max_sessions: int = 100_000
    """Stored sessions in all; past it a new client is answered "server unavailable". 0 for no bound."""
    session_expiry_interval: float = 7_200.0
    """How long the session of a disconnected 3.1 or 3.1.1 client is kept; 0 for ever."""
    max_session_expiry_interval: float = 0.0
    """Longest time that an MQTT 5 client may have its session kept; 0 for no bound."""
    password_wait_limit: int = 10_000
    """CONNECTs that may wait for a password check at a time; past it the answer is "server unavailable"."""
    scram_iterations: int = 600_000
    """What deriving a password's SCRAM-SHA-256 keys costs the server once and the client at each login; 0 for no SCRAM,
    else at least 4,096."""
