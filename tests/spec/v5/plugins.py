"""Plugins for the tests: an authentication method that asks for words back to front, and a rule about receiving."""

from dataclasses import dataclass
from time import time

from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session
from wardenmq.broker.access import RECEIVE, Accept, Challenge, ConnectRequest, Identity, Refuse
from wardenmq.broker.protocol.reason_codes import ReasonCode


def answer(challenge: bytes) -> bytes:
    """Give the right answer to a challenge."""
    return challenge[::-1]


class Exchange:
    """Take the client's name first, then the answers to so many challenges."""

    def __init__(self, rounds: int, valid_for: float, principals: bool) -> None:
        self._left = rounds
        self._valid_for = valid_for
        self._principals = principals
        self._name: str | None = None
        self._expected = b""

    def respond(self, data: bytes | None) -> Challenge | Accept | Refuse:
        if self._name is None:
            self._name = (data or b"").decode()
            if self._name == "banned":
                return Refuse(ReasonCode.BANNED, "a name that nobody may have")
        elif data != self._expected:
            return Refuse(ReasonCode.NOT_AUTHORIZED, "a wrong answer")
        if not self._left:
            return Accept(
                principal=self._name if self._principals else None,
                valid_until=time() + self._valid_for if self._valid_for else None,
                auth_data=b"welcome",
                username=self._name,
            )
        challenge = b"challenge %d" % self._left
        self._expected = answer(challenge)
        self._left -= 1
        return Challenge(challenge)


class BackToFront(BaseAuthPlugin):
    """Offer the methods `one`, `two` and `none`, named for the number of challenges; admit others by their name."""

    def exchange(self, request: ConnectRequest, method: str) -> Exchange | None:
        rounds = {"none": 0, "one": 1, "two": 2}.get(method)
        return None if rounds is None else Exchange(rounds, self.config.valid_for, self.config.principals)

    def authenticate_connect(self, request: ConnectRequest) -> Accept | Refuse | None:
        if request.username is None and not self.config.anonymous:
            return Refuse(ReasonCode.NOT_AUTHORIZED, "no name")
        valid_until = time() + self.config.valid_for if self.config.valid_for else None
        return Accept(principal=request.username, valid_until=valid_until)

    async def authenticate(self, *, session: Session) -> bool | None:
        return True

    @dataclass
    class Config:
        anonymous: bool = True
        valid_for: float = 0.0
        """Seconds that a name is good for, 0 for ever; by the methods, each time anew."""
        principals: bool = True
        """Whether who is proved by a method is a principal, or has a user name only."""


class Deaf(BaseTopicPlugin):
    """Let the client `deaf` receive nothing."""

    def authorize(self, client: Identity, operation: int, topic: str, qos: int, retain: bool) -> bool | None:
        return operation != RECEIVE or client.client_id != "deaf"

    def checks_delivery(self, client: Identity) -> bool:
        return client.client_id == "deaf"
