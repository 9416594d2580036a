"""All loaded authentication and authorisation plugins behind two questions: who is this, and may they."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import isawaitable
from logging import getLogger

from amqtt.contexts import Action
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session as AmqttSession

from .access import (
    Accept,
    AuthExchange,
    ConnectAuthenticator,
    ConnectRequest,
    DecisionCounter,
    DenialSettler,
    EnhancedAuthenticator,
    Identity,
    Refuse,
    RightsKeeper,
    RightsReader,
    StandingAuthorizer,
    TokenRights,
    TopicAuthorizer,
    UncheckedAdmitter,
)
from .protocol.reason_codes import ReasonCode

_logger = getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _UnreadRights:
    """Keep rights that no plugin knows to read."""

    text: str


class AccessControl:
    """Ask the plugins, ours at once and foreign ones through amqtt's coroutines."""

    def __init__(self) -> None:
        self._deny_action = "ignore"
        self._authenticators: list[ConnectAuthenticator] = []
        self._foreign_auth: list[BaseAuthPlugin] = []
        self._enhanced: list[EnhancedAuthenticator] = []
        self._rights: list[RightsKeeper] = []
        self._authorizers: list[TopicAuthorizer] = []
        self._standing: list[StandingAuthorizer] | None = []
        """The authorizers again, unless one of them cannot tell whether it still decides alike."""
        self._foreign_topic: list[BaseTopicPlugin] = []
        self._decide: Callable[[Identity, int, str, int, bool], bool | None] | None = None
        """How to ask our own topic plugins; None where there is none."""
        self.authenticating: tuple[str, ...] = ()
        """The classes of the plugins that decide on clients."""
        self.authorizing: tuple[str, ...] = ()
        """The classes of the plugins that decide on topics."""
        self.superuser = 0
        """How often there was nothing to decide, for a superuser asked; in `allowed`, too."""
        self.allowed = 0
        self.denied = 0

    def load(self, auth_plugins: list[BaseAuthPlugin], topic_plugins: list[BaseTopicPlugin]) -> None:
        """Take the plugins that amqtt's plugin manager has loaded."""
        for auth in auth_plugins:
            if isinstance(auth, ConnectAuthenticator):
                self._authenticators.append(auth)
            else:
                self._foreign_auth.append(auth)
            if isinstance(auth, EnhancedAuthenticator):
                self._enhanced.append(auth)
            if isinstance(auth, RightsKeeper):
                self._rights.append(auth)
        self.authenticating = tuple(map(_name_of, auth_plugins))
        self.authorizing = tuple(map(_name_of, topic_plugins))
        self._authenticators.sort(key=lambda each: isinstance(each, RightsKeeper))
        for topic in topic_plugins:
            if isinstance(topic, TopicAuthorizer):
                self._authorizers.append(topic)
            else:
                self._foreign_topic.append(topic)
        standing: list[StandingAuthorizer] = [
            each for each in self._authorizers if isinstance(each, StandingAuthorizer)
        ]
        self._standing = standing if len(standing) == len(self._authorizers) else None
        if self._authorizers:
            self._decide = self._authorizers[0].authorize if len(self._authorizers) == 1 else self._ask_all

    @property
    def deny_action(self) -> str:
        """What a client meets that does what it may not, `ignore` or `disconnect`: what was set, or a plugin says."""
        if any(isinstance(each, DenialSettler) and each.deny_action == "disconnect" for each in self._authorizers):
            return "disconnect"
        return self._deny_action

    @deny_action.setter
    def deny_action(self, action: str) -> None:
        self._deny_action = action

    @property
    def decided(self) -> tuple[int, int, int]:
        """How often rules allowed something, how often they denied it, and how often none fitted."""
        counted = [each.decided for each in self._authorizers if isinstance(each, DecisionCounter)]
        allowed, denied, unmatched = ([row[column] for row in counted] for column in range(3))
        return sum(allowed), sum(denied), sum(unmatched)

    @property
    def waits(self) -> bool:
        """Whether topic decisions need coroutines, because a foreign topic plugin is loaded."""
        return bool(self._foreign_topic)

    def authenticate(
        self, request: ConnectRequest, view: AmqttSession | None
    ) -> Accept | Refuse | Awaitable[Accept | Refuse]:
        """Decide on a CONNECT: all that have an opinion must agree, and one must have one; `view` is for amqtt's."""
        if len(self._authenticators) == 1 and not self._foreign_auth:
            decision = self._authenticators[0].authenticate_connect(request)
            if isinstance(decision, (Accept, Refuse)):
                return decision
            return _nobody_decided() if decision is None else self._first_alone(decision)
        return self._authenticate_all(request, view)

    def admit_unchecked(self, request: ConnectRequest) -> Accept | Refuse | None:
        """Decide on a client that need not prove anything; None where a plugin wants it to prove who it is."""
        for authenticator in self._authenticators:
            if isinstance(authenticator, UncheckedAdmitter):
                decision = authenticator.admit_unchecked(request)
                if not isinstance(decision, Accept):
                    return decision
        return Accept()

    @property
    def needs_view(self) -> bool:
        """Whether a plugin is loaded that wants amqtt's session object."""
        return bool(self._foreign_auth or self._foreign_topic)

    async def _first_alone(self, decision: Awaitable[Accept | Refuse | None]) -> Accept | Refuse:
        return await decision or _nobody_decided()

    async def _authenticate_all(self, request: ConnectRequest, view: AmqttSession | None) -> Accept | Refuse:
        """Ask foreign plugins first and the credential store last: its word must not be old when the client gets in."""
        accepted: Accept | None = None
        for plugin in self._foreign_auth:
            allowed = await plugin.authenticate(session=view) if view is not None else False
            if allowed is not None and not allowed:
                return Refuse(ReasonCode.BAD_USER_NAME_OR_PASSWORD, f"{type(plugin).__name__} refused the client")
            if allowed and accepted is None:
                accepted = Accept()
        for authenticator in self._authenticators:
            decision = authenticator.authenticate_connect(request)
            if isawaitable(decision):
                decision = await decision
            if isinstance(decision, Refuse):
                return decision
            accepted = decision or accepted
        return accepted or _nobody_decided()

    def exchange(self, request: ConnectRequest, method: str) -> AuthExchange | None:
        """Begin an enhanced authentication; None where the method is not offered.

        None is offered while several authentication plugins are loaded: all must agree to every client, but an
        exchange is one plugin's alone, and the others could only be asked with a password that nobody has.
        """
        if len(self._enhanced) != 1 or len(self._authenticators) + len(self._foreign_auth) != 1:
            return None
        return self._enhanced[0].exchange(request, method)

    def renew(self, client: Identity) -> None:
        """Bring what was found out when a client was admitted up to date."""
        for keeper in self._rights:
            keeper.renew(client)

    def exists(self, client: Identity) -> bool:
        """Tell whether the principal that a client was admitted as is there still."""
        return all(keeper.exists(client) for keeper in self._rights)

    def read_rights(self, text: str) -> TokenRights:
        """Give the rights of a token that were stored as text."""
        for authorizer in self._authorizers:
            if isinstance(authorizer, RightsReader):
                return authorizer.read_rights(text)
        return _UnreadRights(text)

    def authorize(self, client: Identity, operation: int, topic: str, qos: int, retain: bool) -> bool:
        """Decide by our own plugins; with none loaded everything is allowed, as in amqtt."""
        if client.superuser:
            self.superuser += 1
            self.allowed += 1
            return True
        decide = self._decide
        if decide is None:
            self.allowed += 1
            return True
        try:
            if decide(client, operation, topic, qos, retain):
                self.allowed += 1
                return True
        except Exception:  # the plugin dispatcher: a broken plugin denies and is heard of
            names = " or ".join(type(authorizer).__name__ for authorizer in self._authorizers)
            _logger.exception("topic plugin %s failed", names)
        self.denied += 1
        return False  # nobody deciding means deny

    def _ask_all(self, client: Identity, operation: int, topic: str, qos: int, retain: bool) -> bool:
        """Ask several plugins: all that have an opinion must agree, and one must have one."""
        decisions = [authorizer.authorize(client, operation, topic, qos, retain) for authorizer in self._authorizers]
        return any(decisions) and False not in decisions

    def checks_delivery(self, client: Identity) -> bool:
        """Tell whether deliveries to this client need a decision of their own."""
        for authorizer in self._authorizers:  # noqa: SIM110 - a generator would cost more than the plugin's answer
            if authorizer.checks_delivery(client):
                return True
        return False

    def standing(self, client: Identity) -> tuple[object, ...] | None:
        """Give what is equal to what was given before only if all that is decided on a client stayed the same.

        None where that cannot be told. What the client was found to be must be as of now: see `renew`.
        """
        if self._standing is None:
            return None
        if client.superuser:
            return (True,)
        return (False, *[authorizer.standing(client) for authorizer in self._standing])

    async def consult(self, view: AmqttSession, action: Action, topic: str) -> bool:
        """Ask the foreign topic plugins; each must answer True, as in amqtt."""
        for plugin in self._foreign_topic:
            try:
                if not await plugin.topic_filtering(session=view, topic=topic, action=action):
                    return False
            except Exception:  # the plugin dispatcher: a broken plugin denies and is heard of
                _logger.exception("topic plugin %s failed", type(plugin).__name__)
                return False
        return True


def _name_of(plugin: object) -> str:
    return f"{type(plugin).__module__}.{type(plugin).__qualname__}"


def _nobody_decided() -> Refuse:
    return Refuse(ReasonCode.NOT_AUTHORIZED, "no authentication plugin admitted the client")
