"""Wills: checked like any publish of their client, sent at once or after their delay."""

import asyncio
from collections.abc import Callable, Coroutine
from logging import getLogger
from time import time
from typing import Any

from amqtt.contexts import Action
from amqtt.session import Session as AmqttSession

from .access import PUBLISH, Identity
from .access_control import AccessControl
from .detours import Detours
from .message import Message
from .protocol.packets import Will
from .routing.topics import InvalidTopic
from .session import Session

_logger = getLogger(__name__)


class Wills:
    """Publish what clients left to be said."""

    def __init__(
        self,
        access: AccessControl,
        detours: Detours,
        publish: Callable[[Message], int],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._access = access
        self._detours = detours
        self._publish = publish
        self._spawn = spawn
        self.published = 0
        self.denied = 0

    def lay(self, session: Session, will: Will, lives_on: bool) -> None:
        """Publish a will, after its delay where the session lives on that long."""
        if will.delay and lives_on:  # [MQTT5-3.1.3-9]
            session.delayed_will = will
            session.will_due = time() + will.delay
            session.touch()
            loop = asyncio.get_running_loop()
            session.will_timer = loop.call_later(will.delay, self.execute, session)
        else:
            self._check_and_publish(session, will)

    def resume(self, session: Session) -> None:
        """Have a restored will wait on; one whose connection was lost with the broker waits from now on."""
        will = session.delayed_will
        if will is None:
            return
        if session.will_due is None:
            session.will_due = time() + will.delay
            session.touch()
        loop = asyncio.get_running_loop()
        session.will_timer = loop.call_later(max(0.0, session.will_due - time()), self.execute, session)

    def execute(self, session: Session) -> None:
        """Publish a will that waits, because its delay is over or its session has ended."""
        will = session.delayed_will
        self.forget(session)
        if will is not None:
            self._check_and_publish(session, will)

    @staticmethod
    def forget(session: Session) -> None:
        """Drop a will that waits: its client is back in time [MQTT5-3.1.3-9]."""
        if session.delayed_will is not None:
            session.delayed_will = session.will_due = None
            session.touch()
        if session.will_timer is not None:
            session.will_timer.cancel()
            session.will_timer = None

    def _check_and_publish(self, session: Session, will: Will) -> None:
        identity = session.identity  # the next connection's is another
        if not self._may(identity, will):
            self._deny(identity, will)
        elif self._access.waits:
            self._spawn(self._publish_when_allowed(identity, session.view, will))
        else:
            self._send(identity, will)

    def _may(self, identity: Identity, will: Will) -> bool:
        """Ask for the publish that a will is; `$` topics are the server's [MQTT-4.7.2-1]."""
        topic = self._topic_of(will)
        return not topic.startswith("$") and self._access.authorize(identity, PUBLISH, topic, will.qos, will.retain)

    def _topic_of(self, will: Will) -> str:
        """Give the topic that a will has in the end: of `$delayed/SECONDS/TOPIC` the last part."""
        delays = self._detours.delay_of(will.topic)
        try:
            found = None if delays is None else delays.read(will.topic)
        except InvalidTopic:
            found = None
        return will.topic if found is None else found[1]

    def _deny(self, identity: Identity, will: Will) -> None:
        self.denied += 1
        _logger.info("will of client %r not published: %r is denied", identity.client_id, will.topic)

    async def _publish_when_allowed(self, identity: Identity, view: AmqttSession | None, will: Will) -> None:
        """Ask foreign topic plugins too, and because that takes its time, our own once more."""
        allowed = view is not None and await self._access.consult(view, Action.PUBLISH, self._topic_of(will))
        if allowed and self._may(identity, will):
            self._send(identity, will)
        else:
            self._deny(identity, will)

    def _send(self, identity: Identity, will: Will) -> None:
        topic, rewriter = will.topic, self._detours.rewriter
        if rewriter is not None:
            real = self._topic_of(will)
            topic = topic.removesuffix(real) + rewriter.publish_topic(real, identity.client_id, identity.username)
        message = Message(
            topic,
            will.payload,
            will.qos,
            will.retain,  # [MQTT-3.1.2-16], [MQTT-3.1.2-17], [MQTT5-3.1.2-14], [MQTT5-3.1.2-15]
            sender=identity.client_id,
            properties=will.properties,
            expires_at=None if will.message_expiry is None else time() + will.message_expiry,
        )
        try:
            self._publish(message)
        except InvalidTopic as error:
            _logger.info("will of client %r not published: %s", message.sender, error)
            return
        self.published += 1
