"""The root `sys_topics`: how often, and of what, the broker speaks under `$SYS`."""

from ....broker.sys_topics import SysTopicsSettings
from ...configuration import Governed, Root
from ...limits import Body
from ...quantities import DurationOrDisabled, interval


class EventMessages(Body):
    """Say which events of clients are told."""

    client_connected: bool = True
    client_disconnected: bool = True
    client_subscribed: bool = False
    client_unsubscribed: bool = False


class SystemTopics(Body):
    """Say how often the broker speaks, and of which events."""

    sys_msg_interval: DurationOrDisabled = "1m"
    sys_heartbeat_interval: DurationOrDisabled = "30s"
    sys_event_messages: EventMessages = EventMessages()


def _apply(governed: Governed, value: SystemTopics) -> None:
    governed.broker.sys_topics.configure(
        SysTopicsSettings(
            message_interval=interval(value.sys_msg_interval),
            heartbeat_interval=interval(value.sys_heartbeat_interval),
            **value.sys_event_messages.model_dump(),
        )
    )


SYS_TOPICS: Root[SystemTopics] = Root("sys_topics", SystemTopics, lambda _: SystemTopics(), _apply)
