"""Authentication by the credential store, as a plugin of the broker or of a plain amqtt broker."""

from collections.abc import Awaitable
from dataclasses import dataclass
from inspect import isawaitable

from amqtt.contexts import BaseContext
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

from ..broker.access import Accept, AuthExchange, Challenge, ConnectRequest, Identity, Refuse
from ..broker.protocol.reason_codes import ReasonCode
from ..store.admission import Outcome, Verdict
from ..store.credentials.scram import METHOD
from ..store.credentials.scram_login import ScramExchange
from .directory_context import directory_of

_REASONS = {
    Outcome.WRONG: ReasonCode.BAD_USER_NAME_OR_PASSWORD,
    Outcome.NOT_ALLOWED: ReasonCode.NOT_AUTHORIZED,
    Outcome.CLIENT_ID: ReasonCode.NOT_AUTHORIZED,
    Outcome.BANNED: ReasonCode.BANNED,
    Outcome.MALFORMED: ReasonCode.NOT_AUTHORIZED,
    Outcome.OVERLOADED: ReasonCode.SERVER_UNAVAILABLE,
}
_OTHER_NAME = Refuse(
    ReasonCode.BAD_USER_NAME_OR_PASSWORD, "the user name is not the one that the client's certificate proved"
)


class CredentialAuthPlugin(BaseAuthPlugin):
    """Admit the clients whose login the directory knows."""

    @dataclass
    class Config(BaseAuthPlugin.Config):
        """Configure the plugin."""

        allow_anonymous: bool = False
        """Admit clients that present no user name and whose client id is no login."""
        certificate_login: bool = True
        """Admit the login that a client certificate names without a password; False asks for both.

        A password that is presented must be right in either case.
        """

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self._directory = directory_of(context, self)
        self._allow_anonymous = bool(self._get_config_option("allow_anonymous", False))
        self._certificate_login = bool(self._get_config_option("certificate_login", True))

    def authenticate_connect(self, request: ConnectRequest) -> Accept | Refuse | Awaitable[Accept | Refuse]:
        """Decide on a CONNECT, at once where no password has to be hashed.

        The name that a certificate proved, which only a listener that was told so gives, is the only one to be used;
        an empty one, from a listener that lets in nobody without a name, is no login's.
        """
        certified, username = request.certificate_name, request.username
        if certified is not None:
            if username not in (None, certified):
                return _OTHER_NAME
            return self._authenticate_certified(certified, request)
        verdict = self._directory.authenticate(
            request.client_id,
            username,
            request.password,
            peer_host=request.peer_host,
            allow_anonymous=self._allow_anonymous,
        )
        return _translate(verdict) if isinstance(verdict, Verdict) else _translate_later(verdict)

    def _authenticate_certified(
        self, certified: str, request: ConnectRequest
    ) -> Accept | Refuse | Awaitable[Accept | Refuse]:
        directory, client_id, peer_host = self._directory, request.client_id, request.peer_host
        if self._certificate_login and request.password is None:
            return _translate(directory.authenticate_certified(certified, client_id=client_id, peer_host=peer_host))
        if directory.login("username", certified) is None:
            client_id = ""  # or the login of the client id would count
        verdict = directory.authenticate(client_id, certified, request.password, peer_host=peer_host)
        if isinstance(verdict, Verdict):
            return _translate(verdict, certified)
        return _translate_later(verdict, certified)

    def admit_unchecked(self, request: ConnectRequest) -> Accept | Refuse | None:
        """Keep out of a listener that asks for no proof who is banned; None for who would take a login's place."""
        username = request.username if request.certificate_name is None else request.certificate_name
        verdict = self._directory.admit_unchecked(request.client_id, username, peer_host=request.peer_host)
        return None if verdict is None else _translate(verdict)

    def exchange(self, request: ConnectRequest, method: str) -> AuthExchange | None:
        """Begin a SCRAM-SHA-256 login, whose user name must be the one that the client otherwise presented."""
        if method != METHOD:
            return None
        presented = [name for name in (request.username, request.certificate_name) if name is not None]
        exchange = self._directory.begin_scram(presented, client_id=request.client_id, peer_host=request.peer_host)
        return None if exchange is None else _ScramAnswers(exchange)

    def renew(self, client: Identity) -> None:
        """Take what the client's login may do now; nothing beside its rules where there is none any more."""
        if client.principal is not None:
            login = self._directory.login_by_id(client.principal)
            client.superuser = login is not None and login.superuser
            client.confined = login.confined if login is not None else client.confined

    def exists(self, client: Identity) -> bool:
        """Tell whether the client's login is there still."""
        return client.principal is None or self._directory.login_by_id(client.principal) is not None

    async def authenticate(self, *, session: Session) -> bool | None:
        """Decide for a plain amqtt broker, which knows neither reason codes nor superusers."""
        password = session.password
        verdict = self._directory.authenticate(
            session.client_id or "",
            session.username,
            None if password is None else password.encode(),
            peer_host=session.remote_address or "",
            allow_anonymous=self._allow_anonymous,
        )
        if isawaitable(verdict):
            verdict = await verdict
        if verdict.outcome is not Outcome.ACCEPTED:
            self.context.logger.info("client %r refused: %s", session.client_id, verdict.log)
            return False
        session.is_anonymous = verdict.principal is None
        return True


class _ScramAnswers:
    """Put an exchange's answers into the engine's words."""

    def __init__(self, exchange: ScramExchange) -> None:
        self._exchange = exchange

    def respond(self, data: bytes | None) -> Challenge | Accept | Refuse | Awaitable[Accept | Refuse]:
        answer = self._exchange.respond(data)
        if isinstance(answer, bytes):
            return Challenge(answer)
        return _translate(answer) if isinstance(answer, Verdict) else _translate_later(answer)


def _translate(verdict: Verdict, username: str | None = None) -> Accept | Refuse:
    if verdict.outcome is not Outcome.ACCEPTED:
        return Refuse(_REASONS[verdict.outcome], verdict.log)
    return Accept(
        verdict.principal,
        verdict.superuser,
        verdict.confined,
        verdict.valid_until,
        auth_data=verdict.answer,
        username=verdict.username or username,
        rights=verdict.rights,
    )


async def _translate_later(verdict: Awaitable[Verdict], username: str | None = None) -> Accept | Refuse:
    return _translate(await verdict, username)
