"""Plugins written against amqtt's contract alone: they run on stock amqtt as they do here."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from amqtt.broker import BrokerContext, RetainedApplicationMessage
from amqtt.contexts import Action, BaseContext
from amqtt.mqtt.packet import MQTTPacket
from amqtt.plugins.base import BaseAuthPlugin, BasePlugin, BaseTopicPlugin
from amqtt.session import ApplicationMessage, Session


def path_of(plugin: type) -> str:
    """Name a plugin class as a configuration does."""
    return f"{plugin.__module__}.{plugin.__qualname__}"


class AdmitAll(BaseAuthPlugin):
    """Let everybody in without calling anybody anonymous, which amqtt's own plugin does and then keeps no session."""

    async def authenticate(self, *, session: Session) -> bool | None:
        return True


class EventRecorder(BasePlugin[BrokerContext]):
    """Write down every event of the broker with all that its arguments say."""

    def __init__(self, context: BrokerContext) -> None:
        super().__init__(context)
        self.events: list[tuple[Any, ...]] = []

    async def on_broker_pre_start(self) -> None:
        self.events.append(("pre_start",))

    async def on_broker_post_start(self) -> None:
        self.events.append(("post_start",))

    async def on_broker_pre_shutdown(self) -> None:
        self.events.append(("pre_shutdown",))

    async def on_broker_post_shutdown(self) -> None:
        self.events.append(("post_shutdown",))

    async def on_broker_client_connected(self, *, client_id: str, client_session: Session) -> None:
        self.events.append(("connected", client_id, describe(client_session)))

    async def on_broker_client_disconnected(self, *, client_id: str, client_session: Session) -> None:
        self.events.append(("disconnected", client_id, describe(client_session)))

    async def on_broker_client_subscribed(self, *, client_id: str, topic: str, qos: int) -> None:
        self.events.append(("subscribed", client_id, topic, qos))

    async def on_broker_client_unsubscribed(self, *, client_id: str, topic: str) -> None:
        self.events.append(("unsubscribed", client_id, topic))

    async def on_broker_message_received(self, *, client_id: str, message: ApplicationMessage) -> None:
        self.events.append(("received", client_id, *_describe_message(message)))

    async def on_broker_message_broadcast(self, *, client_id: str, message: ApplicationMessage) -> None:
        self.events.append(("broadcast", client_id, *_describe_message(message)))

    async def on_broker_retained_message(
        self, *, client_id: str | None, retained_message: RetainedApplicationMessage
    ) -> None:
        source = retained_message.source_session
        self.events.append(
            (
                "retained",
                client_id,
                None if source is None else source.client_id,
                retained_message.topic,
                bytes(retained_message.data),
                retained_message.qos,
                retained_message.retain,
            )
        )


def describe(session: Session) -> dict[str, Any]:
    """Give what plugins read of a session."""
    return {
        "client_id": session.client_id,
        "username": session.username,
        "password": session.password,
        "clean_session": session.clean_session,
        "keep_alive": session.keep_alive,
        "remote_address": session.remote_address,
        "has_port": (session.remote_port or 0) > 0,
        "will": (session.will_flag, session.will_topic, session.will_message, session.will_qos, session.will_retain),
        "parent": session.parent,
        "is_anonymous": session.is_anonymous,
        "state": session.transitions.state,
        "attributes": dict(session.attributes),
    }


def _describe_message(message: ApplicationMessage) -> tuple[Any, ...]:
    packet = message.publish_packet
    assert packet is not None
    shown = (packet.topic_name, packet.data, packet.qos, packet.retain_flag, packet.dup_flag, packet.packet_id)
    return (message.topic, bytes(message.data), message.qos, message.retain, message.packet_id, shown)


Packet = MQTTPacket[Any, Any, Any]


class PacketRecorder(BasePlugin[BrokerContext]):
    """Write down every packet: its class, its bytes, and whose it is."""

    def __init__(self, context: BrokerContext) -> None:
        super().__init__(context)
        self.received: list[tuple[str | None, str, bytes]] = []
        self.sent: list[tuple[str | None, str, bytes]] = []
        self.packets: list[Packet] = []

    async def on_mqtt_packet_received(self, *, packet: Packet, session: Session | None = None) -> None:
        self.packets.append(packet)
        self.received.append((_client(session), type(packet).__name__, packet.to_bytes()))

    async def on_mqtt_packet_sent(self, *, packet: Packet, session: Session | None = None) -> None:
        self.packets.append(packet)
        self.sent.append((_client(session), type(packet).__name__, packet.to_bytes()))


def _client(session: Session | None) -> str | None:
    return None if session is None else session.client_id


class Broken(BasePlugin[BrokerContext]):
    """Fail at every event, whatever a plugin can do wrong."""

    async def on_broker_pre_start(self) -> None:
        raise RuntimeError("broken")

    async def on_broker_post_start(self) -> None:
        raise RuntimeError("broken")

    async def on_broker_client_connected(self, **_: object) -> None:
        raise RuntimeError("broken")

    async def on_broker_client_subscribed(self) -> None:
        """Take none of the arguments."""

    async def on_broker_message_received(self, **_: object) -> None:
        raise asyncio.CancelledError

    async def on_broker_message_broadcast(self, **_: object) -> None:
        raise RuntimeError("broken")

    async def on_broker_retained_message(self, **_: object) -> None:
        raise RuntimeError("broken")

    async def on_mqtt_packet_received(self, **_: object) -> None:
        raise RuntimeError("broken")

    async def on_mqtt_packet_sent(self, **_: object) -> None:
        raise RuntimeError("broken")

    async def on_broker_pre_shutdown(self) -> None:
        raise RuntimeError("broken")

    async def on_broker_post_shutdown(self) -> None:
        raise RuntimeError("broken")

    async def close(self) -> None:
        raise RuntimeError("broken")


class Gate(BasePlugin[BrokerContext]):
    """Hold the events on one topic until the test opens the gate."""

    def __init__(self, context: BrokerContext) -> None:
        super().__init__(context)
        self.open = asyncio.Event()
        self.waiting = 0
        self.seen: list[bytes] = []

    async def on_broker_message_received(self, *, client_id: str, message: ApplicationMessage) -> None:
        if message.topic == "held":
            self.waiting += 1
            await self.open.wait()
        self.seen.append(bytes(message.data))


class Denials(BaseTopicPlugin):
    """Deny by topic and action."""

    @dataclass
    class Config:
        publish: list[str] = field(default_factory=list)
        subscribe: list[str] = field(default_factory=list)
        receive: list[str] = field(default_factory=list)

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self.asked: list[tuple[str | None, str | None, Action | None]] = []

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool | None:
        self.asked.append((None if session is None else session.client_id, topic, action))
        return topic not in getattr(self.config, str(action))


class EverFaster(BaseTopicPlugin):
    """Decide about receivers more quickly each time: a broker that does not wait its turn reorders messages."""

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self.asked = 0

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool | None:
        if action is Action.RECEIVE:
            self.asked += 1
            await asyncio.sleep(0.02 / self.asked)
        return True
