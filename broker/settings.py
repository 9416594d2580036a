"""The engine's own settings: what the broker enforces whatever listener a client came through."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Hold the limits and intervals of the MQTT engine; sizes in bytes, times in seconds, 0 for no bound where said."""

    max_packet_size: int = 1_048_576
    """Largest packet accepted, fixed header included."""
    connect_timeout: float = 15.0
    """From accept to a complete CONNECT."""
    keepalive_multiplier: float = 1.5
    """A connection silent for this many keep-alive intervals is closed [MQTT-3.1.2-24]."""
    max_clientid_len: int = 65_535
    max_topic_levels: int = 128
    max_subscriptions: int = 10_000
    """Subscriptions per session; 0 for no bound."""
    max_inflight: int = 32
    """Unacknowledged QoS 1 and 2 messages towards one client."""
    max_awaiting_rel: int = 1_000
    """QoS 2 messages of one client that wait for their PUBREL; one more closes the connection."""
    max_mqueue_len: int = 1_000
    """Messages queued for one session; past it the oldest is dropped and counted. 0 for no bound."""
    max_retained: int = 100_000
    """Retained messages in all; past it a new topic's is not stored and counted. 0 for no bound."""
    max_outgoing_bytes: int = 8_388_608
    """Bytes waiting for one socket; past it QoS 0 messages to it are dropped and counted."""
    max_connections: int = 50_000
    """Connections in all; past it new ones are closed at once. 0 for no bound."""
    max_sessions: int = 100_000
    """Stored sessions in all; past it a new client is answered "server unavailable". 0 for no bound."""
    session_expiry_interval: float = 7_200.0
    """How long the session of a disconnected 3.1 or 3.1.1 client is kept; 0 for ever."""
    password_wait_limit: int = 10_000
    """CONNECTs that may wait for a password check at a time; past it the answer is "server unavailable"."""
