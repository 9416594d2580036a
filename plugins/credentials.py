"""Authentication by the credential store, as a plugin of the broker or of a plain amqtt broker."""

from collections.abc import Awaitable
from dataclasses import dataclass
from inspect import isawaitable

from amqtt.contexts import BaseContext
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

from ..broker.access import Accept, ConnectRequest, Refuse
from ..broker.protocol.reason_codes import ReasonCode
from ..store.authentication import Outcome, Verdict
from .directory_context import directory_of

_REASONS = {
    Outcome.WRONG: ReasonCode.BAD_USER_NAME_OR_PASSWORD,
    Outcome.NOT_ALLOWED: ReasonCode.NOT_AUTHORIZED,
    Outcome.OVERLOADED: ReasonCode.SERVER_UNAVAILABLE,
}


class CredentialAuthPlugin(BaseAuthPlugin):
    """Admit the clients whose login the directory knows."""

    @dataclass
    class Config(BaseAuthPlugin.Config):
        """Configure the plugin."""

        allow_anonymous: bool = False
        """Admit clients that present no user name and whose client id is no login."""

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self._directory = directory_of(context, self)
        self._allow_anonymous = bool(self._get_config_option("allow_anonymous", False))

    def authenticate_connect(self, request: ConnectRequest) -> Accept | Refuse | Awaitable[Accept | Refuse]:
        """Decide on a CONNECT, at once where no password has to be hashed."""
        verdict = self._directory.authenticate(
            request.client_id, request.username, request.password, allow_anonymous=self._allow_anonymous
        )
        return _translate(verdict) if isinstance(verdict, Verdict) else _translate_later(verdict)

    async def authenticate(self, *, session: Session) -> bool | None:
        """Decide for a plain amqtt broker, which knows neither reason codes nor superusers."""
        password = session.password
        verdict = self._directory.authenticate(
            session.client_id or "",
            session.username,
            None if password is None else password.encode(),
            allow_anonymous=self._allow_anonymous,
        )
        if isawaitable(verdict):
            verdict = await verdict
        if verdict.outcome is not Outcome.ACCEPTED:
            self.context.logger.info("client %r refused: %s", session.client_id, verdict.log)
            return False
        session.is_anonymous = verdict.principal is None
        return True


def _translate(verdict: Verdict) -> Accept | Refuse:
    if verdict.outcome is not Outcome.ACCEPTED:
        return Refuse(_REASONS[verdict.outcome], verdict.log)
    return Accept(verdict.principal, verdict.superuser, verdict.confined, verdict.valid_until)


async def _translate_later(verdict: Awaitable[Verdict]) -> Accept | Refuse:
    return _translate(await verdict)
