"""Renew the authentication of a connected MQTT 5 client (MQTT 5.0, 4.12.1)."""

from collections.abc import Awaitable
from inspect import isawaitable

from .access import Accept, AuthExchange, Challenge, Identity, Refuse
from .admission import Refused
from .protocol.reason_codes import ReasonCode


class Reauthentication:
    """Carry one exchange of a client that is connected; who it is may not change by it."""

    def __init__(self, exchange: AuthExchange | None, identity: Identity) -> None:
        self._exchange = exchange
        self._identity = identity

    def respond(self, data: bytes | None) -> Challenge | Accept | Awaitable[Accept]:
        """Take the client's next word; raises `Refused`, always as not authorised: DISCONNECT has no finer code."""
        if self._exchange is None:
            raise Refused(ReasonCode.NOT_AUTHORIZED, "the authentication method is not offered any more")
        decision = self._exchange.respond(data)
        if isawaitable(decision):
            return self._accept_later(decision)
        return decision if isinstance(decision, Challenge) else self._accept(decision)

    async def _accept_later(self, decision: Awaitable[Accept | Refuse]) -> Accept:
        return self._accept(await decision)

    def _accept(self, decision: Accept | Refuse) -> Accept:
        if isinstance(decision, Refuse):
            raise Refused(ReasonCode.NOT_AUTHORIZED, decision.log)
        identity = self._identity
        username = identity.username if decision.username is None else decision.username
        if decision.principal != identity.principal or username != identity.username:
            raise Refused(ReasonCode.NOT_AUTHORIZED, "re-authenticated as somebody else")
        return decision
