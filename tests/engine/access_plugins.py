"""Authentication and topic plugins for the tests, in both contracts: the engine's synchronous one and amqtt's."""

import asyncio
from dataclasses import dataclass, field

from amqtt.contexts import Action, BaseContext
from amqtt.plugins.base import BaseAuthPlugin, BasePlugin, BaseTopicPlugin
from amqtt.session import Session
from wardenmq.broker.access import PUBLISH, RECEIVE, SUBSCRIBE, Accept, ConnectRequest, Identity, Refuse
from wardenmq.broker.protocol.reason_codes import ReasonCode

USERS = {"alice": "secret", "bob": "hunter2"}


class SlowPasswords(BaseAuthPlugin):
    """Check user names the way any amqtt plugin does."""

    async def authenticate(self, *, session: Session) -> bool | None:
        await asyncio.sleep(0)
        return session.username is not None and self.config.users.get(session.username) == session.password

    @dataclass
    class Config:
        users: dict[str, str] = field(default_factory=lambda: dict(USERS))


class FastPasswords(SlowPasswords):
    """Check user names through the engine's contract, waiting as a password hash would."""

    async def authenticate_connect(self, request: ConnectRequest) -> Accept | Refuse | None:
        await asyncio.sleep(0)
        expected = self.config.users.get(request.username or "")
        if expected is None or request.password != expected.encode():
            return Refuse(ReasonCode.BAD_USER_NAME_OR_PASSWORD, "wrong password")
        return Accept(principal=request.username)


@dataclass
class Denials:
    """Name the exact topics and filters that are denied."""

    publish: list[str] = field(default_factory=list)
    subscribe: list[str] = field(default_factory=list)
    receive: list[str] = field(default_factory=list)


class SlowRules(BaseTopicPlugin):
    """Deny by amqtt's `topic_filtering`."""

    Config = Denials

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool | None:
        await asyncio.sleep(0)
        denied = {
            Action.PUBLISH: self.config.publish,
            Action.SUBSCRIBE: self.config.subscribe,
            Action.RECEIVE: self.config.receive,
        }
        return action is not None and topic not in denied[action]


class FastRules(SlowRules):
    """Deny by the engine's synchronous contract."""

    def authorize(self, client: Identity, operation: int, topic: str, qos: int, retain: bool) -> bool | None:
        denied = {PUBLISH: self.config.publish, SUBSCRIBE: self.config.subscribe, RECEIVE: self.config.receive}
        return topic not in denied[operation]

    def checks_delivery(self, client: Identity) -> bool:
        return bool(self.config.receive)


class Recorder(BasePlugin[BaseContext]):
    """Write down the events that the broker fires, as amqtt names them."""

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self.events: list[tuple[str, object]] = []

    async def on_broker_client_connected(self, *, client_id: str, client_session: Session) -> None:
        self.events.append(("connected", (client_id, client_session.username)))

    async def on_broker_client_disconnected(self, *, client_id: str, client_session: Session) -> None:
        self.events.append(("disconnected", client_id))

    async def on_broker_client_subscribed(self, *, client_id: str, topic: str, qos: int) -> None:
        self.events.append(("subscribed", (client_id, topic, qos)))

    async def on_broker_client_unsubscribed(self, *, client_id: str, topic: str) -> None:
        self.events.append(("unsubscribed", (client_id, topic)))

    async def on_broker_message_received(self, *, client_id: str, message: object) -> None:
        self.events.append(("received", (client_id, message.topic, bytes(message.data), message.qos)))  # pyright: ignore

    async def on_broker_pre_start(self) -> None:
        self.events.append(("pre_start", None))

    async def on_broker_post_shutdown(self) -> None:
        self.events.append(("post_shutdown", None))


class ReverseDelay(BaseTopicPlugin):
    """Answer the first publishes later than those after them: an engine that does not wait would reorder them."""

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self.asked: list[str] = []

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool | None:
        if action is Action.PUBLISH:
            self.asked.append(topic or "")
            await asyncio.sleep(0.02 / len(self.asked))
        return True


class Gatekeeper(BaseTopicPlugin):
    """Let a publish pass only once the test has opened the gate."""

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self.gate = asyncio.Event()
        self.waiting = 0

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool | None:
        if action is Action.PUBLISH:
            self.waiting += 1
            await self.gate.wait()
        return True
