"""amqtt's picture of a session: what plugins see of a client.

What amqtt's plugins write into it is carried over to the engine where it means something there.
"""

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from amqtt.errors import BrokerError
from amqtt.session import ApplicationMessage, IncomingApplicationMessage, OutgoingApplicationMessage
from amqtt.session import Session as AmqttSession

from .message import Message

if TYPE_CHECKING:
    from .protocol.packets import Will
    from .session import Session

SUBSCRIBED_QOS = 2
"""The QoS of a message for which amqtt's caller names none: each subscriber gets it at the QoS that it asked for."""


class SessionView(AmqttSession):
    """Look like amqtt's session.

    amqtt's own `__init__` is not called: it builds a state machine and two queues, 0.2 ms for each client. What the
    client said in its CONNECT are plain attributes; what changes is read from the engine's session when asked for.
    """

    # what amqtt's __init__ sets and nothing here differs from
    client_id: str | None = None
    username: str | None = None
    password: str | None = None
    clean_session: bool | None = None
    keep_alive: int = 0
    remote_address: str | None = None
    remote_port: int | None = None
    will_flag: bool = False
    will_message: bytes | bytearray | None = None
    will_qos: int | None = None
    will_retain: bool | None = None
    will_topic: str | None = None
    publish_retry_delay: int = 0
    broker_uri: str | None = None
    cafile: str | None = None
    capath: str | None = None
    cadata: bytes | None = None
    parent: int = 0
    ssl_object: ssl.SSLObject | None = None
    is_anonymous: bool = False
    _packet_id: int = 0

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}
        self.topic_aliases: dict[tuple[bool, int], str] = {}
        """What the packets shown to plugins have set, by direction (True is towards the client) and alias."""
        self._session: Session | None = None

    def bind(self, session: "Session", *, resumed: bool = False) -> None:
        """Have the rest read from the engine's session; one that is resumed keeps what plugins noted on it."""
        earlier = session.view
        if resumed:
            self.parent = 1
            if earlier is not None and earlier is not self:
                self.attributes = {**earlier.attributes, **self.attributes}
        self._session = session

    def __getattr__(self, name: str) -> Any:
        """Answer what amqtt keeps in attributes and the engine knows better."""
        reading = _READINGS.get(name)
        if reading is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return reading(self._session)

    @property
    def inflight_in_count(self) -> int:
        """QoS 2 messages received and not yet released."""
        return 0 if self._session is None else self._session.awaiting_rel_count

    @property
    def inflight_out_count(self) -> int:
        """Messages sent and not yet acknowledged."""
        return 0 if self._session is None else self._session.in_flight_count

    @property
    def retained_messages_count(self) -> int:
        """Messages that wait for the client."""
        return 0 if self._session is None else self._session.queue_length

    def clear_queues(self) -> None:
        """Do nothing: the queue is the engine's."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class _States:
    """Stand for amqtt's state machine of a session."""

    def __init__(self, session: "Session | None") -> None:
        self._session = session

    @property
    def state(self) -> str:
        """`new` before the CONNECT was accepted, then `connected` or `disconnected`."""
        if self._session is None:
            return "new"
        return "connected" if self._session.connected else "disconnected"

    def is_new(self) -> bool:
        return self.state == "new"

    def is_connected(self) -> bool:
        return self.state == "connected"

    def is_disconnected(self) -> bool:
        return self.state == "disconnected"

    def connect(self) -> bool:
        """Do nothing: the engine knows whether a client is connected."""
        return True

    def disconnect(self) -> bool:
        """Do nothing: the engine knows whether a client is connected."""
        return True


class _Queued(asyncio.Queue[ApplicationMessage]):
    """Show amqtt's queue of messages for an absent client: messages can be put, taken only by the client itself."""

    def __init__(self, session: "Session | None") -> None:
        self._session = session
        super().__init__()

    def qsize(self) -> int:
        return 0 if self._session is None else self._session.queue_length

    def empty(self) -> bool:
        return self.qsize() == 0

    def _put(self, item: ApplicationMessage) -> None:
        if self._session is None:
            raise BrokerError("the client's session has not begun")
        qos = SUBSCRIBED_QOS if item.qos is None else item.qos
        self._session.deliver(Message(item.topic, bytes(item.data), qos), qos)

    def _get(self) -> ApplicationMessage:
        raise BrokerError("queued messages are given to their client alone")


def _outgoing(session: "Session | None") -> OrderedDict[int, OutgoingApplicationMessage]:
    deliveries = {} if session is None else session.in_flight
    return OrderedDict(
        (packet_id, OutgoingApplicationMessage(packet_id, message.topic, sent.qos, message.payload, sent.retain))
        for packet_id, sent in deliveries.items()
        if (message := sent.message_of(packet_id)) is not None
    )


def _incoming(session: "Session | None") -> OrderedDict[int, IncomingApplicationMessage]:
    """Name the identifiers of QoS 2 messages that wait for their PUBREL; the messages have been passed on."""
    waiting = () if session is None else session.awaiting_rel
    return OrderedDict((number, IncomingApplicationMessage(number, "", 2, b"", False)) for number in waiting)


def _nothing_received(_session: "Session | None") -> _Queued:
    """Show that no message waits to be passed on: each is when it comes."""
    return _Queued(None)


def _connected_at(session: "Session | None") -> int | None:
    return None if session is None else int(session.connected_at)


def _disconnected_at(session: "Session | None") -> int | None:
    at = None if session is None else session.disconnected_at
    return None if at is None else int(at)


_READINGS: dict[str, Callable[["Session | None"], object]] = {
    "transitions": _States,
    "inflight_out": _outgoing,
    "inflight_in": _incoming,
    "retained_messages": _Queued,
    "delivered_message_queue": _nothing_received,
    "last_connect_time": _connected_at,
    "last_disconnect_time": _disconnected_at,
}


def build_view(
    *,
    client_id: str,
    username: str | None,
    password: bytes | None,
    clean_session: bool,
    keep_alive: int,
    peer_host: str,
    peer_port: int,
    will: "Will | None" = None,
    ssl_object: object | None = None,
) -> SessionView:
    """Build the session object that amqtt's plugins expect; made only where a plugin wants one."""
    view = SessionView()
    view.client_id = client_id
    view.username = username
    view.password = None if password is None else password.decode("utf-8", "surrogateescape")
    view.clean_session = clean_session
    view.keep_alive = keep_alive
    view.remote_address = peer_host
    view.remote_port = peer_port
    view.will_qos, view.will_retain = 0, False  # as amqtt reads them from a CONNECT without a will
    if will is not None:
        view.will_flag = True
        view.will_topic = will.topic
        view.will_message = will.payload
        view.will_qos = will.qos
        view.will_retain = will.retain
    if ssl_object is not None:
        view.ssl_object = cast("ssl.SSLObject", ssl_object)
    return view


def view_of(session: "Session") -> SessionView:
    """Give amqtt's picture of a session, made now if no plugin has needed it before."""
    view = session.view
    if not isinstance(view, SessionView):
        view = build_view(
            client_id=session.client_id,
            username=session.username,
            password=None,
            clean_session=session.clean_start,
            keep_alive=session.keep_alive,
            peer_host=session.peer_host,
            peer_port=session.peer_port,
            will=session.will,
        )
        session.view = view
    view.bind(session)
    return view
