"""Authorisation by the credential store's rules, as a plugin of the broker or of a plain amqtt broker."""

from dataclasses import dataclass

from amqtt.contexts import Action, BaseContext
from amqtt.plugins.base import BaseTopicPlugin
from amqtt.session import Session

from ..broker.access import PUBLISH, RECEIVE, SUBSCRIBE, Identity
from ..store.acl.access import ClientAccess
from ..store.authenticators.token_rights import TokenRights, TokenRightsReader
from .directory_context import directory_of

_OPERATIONS = {Action.PUBLISH: PUBLISH, Action.SUBSCRIBE: SUBSCRIBE, Action.RECEIVE: RECEIVE}


class TopicAclPlugin(BaseTopicPlugin):
    """Hold clients to the directory's rules, layer by layer, then to the defaults."""

    @dataclass
    class Config(BaseTopicPlugin.Config):
        """Configure the plugin; it has no options."""

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self._directory = directory_of(context, self)
        self._rights = TokenRightsReader()

    def authorize(self, client: Identity, operation: int, topic: str, qos: int, retain: bool) -> bool | None:
        """Decide on a topic name, or for SUBSCRIBE on a topic filter.

        For RECEIVE by what the client's standing was found to be last, which the engine asks for whenever something is
        written about the client: a write about anybody else shall not cost something for each of many receivers.
        """
        if client.superuser:
            return True
        access = client.policy
        if type(access) is not ClientAccess or (
            access.generation != self._directory.generation and operation != RECEIVE
        ):
            access = self._access(client)
        return access.decide(operation, topic, qos, retain)

    def checks_delivery(self, client: Identity) -> bool:
        """Tell whether some rule may hide single deliveries from the client."""
        return not client.superuser and self._access(client).checks_delivery

    def standing(self, client: Identity) -> object:
        """Give what stays the same as long as the client's rules, facts and defaults do."""
        return self._access(client).standing

    def read_rights(self, text: str) -> TokenRights:
        """Give the rights of a token whose client's session was stored."""
        return self._rights.restore(text)

    @property
    def deny_action(self) -> str:
        """What a client meets that does what it may not."""
        return self._directory.sources.deny_action

    @property
    def decided(self) -> tuple[int, int, int]:
        """How often a source of rules allowed something, how often one denied it, and how often none had an answer."""
        return self._directory.sources.decided

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool | None:
        """Decide for a plain amqtt broker, which tells neither QoS nor retain flag: those of a QoS 0 message."""
        if session is None or not topic or action is None:
            return None
        directory, client_id, username = self._directory, session.client_id or "", session.username
        operation = _OPERATIONS[action]
        if directory.is_superuser(client_id, username):
            return True
        principal = directory.principal_of(client_id, username)
        access = directory.access(client_id, username, principal, peer_host=session.remote_address or "")
        if operation == RECEIVE and not access.checks_delivery:
            return True
        return access.decide(operation, topic, 0, False)

    def _access(self, client: Identity) -> ClientAccess:
        """Return what the client may do as of now, made anew if something was written since it was last asked for."""
        known = client.policy if isinstance(client.policy, ClientAccess) else None
        if known is not None and known.generation == self._directory.generation:
            return known
        if known is None:
            known = client.former if isinstance(client.former, ClientAccess) else None
            client.former = None
        rights = client.rights
        access = client.policy = self._directory.access(
            client.client_id,
            client.username,
            client.principal,
            peer_host=client.peer_host,
            listener=client.listener,
            previous=known,
            rights=rights if isinstance(rights, TokenRights) else None,
        )
        return access
