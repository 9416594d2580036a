"""What the engine asks of authentication and authorisation plugins, beyond amqtt's asynchronous contract.

A plugin that offers these methods is asked through them; any other amqtt plugin is asked through amqtt's own
`authenticate` and `topic_filtering`, a slower path that is taken only while such a plugin is loaded.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from .protocol.reason_codes import ReasonCode

PUBLISH = 1
RECEIVE = 2
SUBSCRIBE = 4


class ConnectRequest(NamedTuple):
    """Describe a client that wants to connect, before any session is looked up."""

    client_id: str
    """As sent; empty where the client leaves the choice to the server."""
    username: str | None
    password: bytes | None
    """Never shown."""
    peer_host: str
    peer_port: int
    listener: str
    protocol_version: int
    """3, 4 or 5."""
    certificate_name: str | None = None
    """The user name that a TLS client certificate proved, where the listener takes user names from there.

    Empty where it requires a certificate and the client's names nobody.
    """

    def __repr__(self) -> str:
        return f"ConnectRequest({self.client_id!r}, {self.username!r}, from {self.peer_host}:{self.peer_port})"


class TokenRights(Protocol):
    """Hold what a token allows; what it is, only the authoriser knows."""

    @property
    def text(self) -> str:
        """The same in a form that can be stored, for `RightsReader.read_rights`."""
        ...


@dataclass(slots=True)
class Identity:
    """Name an authenticated client; `policy` is the authoriser's to fill and read, nobody else's."""

    client_id: str
    username: str | None
    principal: str | None
    """Id of the credential store's principal, None for an anonymous client."""
    peer_host: str
    listener: str = ""
    superuser: bool = False
    confined: bool = False
    certificate_name: str | None = None
    """The user name that a TLS client certificate proved."""
    policy: object | None = field(default=None, repr=False)
    former: object | None = field(default=None, repr=False, compare=False)
    """The `policy` of the session's earlier connection, whose address or token may have been another."""
    rights: TokenRights | None = field(default=None, repr=False)
    """What a token allows that the client presented, for the authoriser; None without a token."""


class Accept(NamedTuple):
    """Admit a client."""

    principal: str | None = None
    superuser: bool = False
    confined: bool = False
    valid_until: float | None = None
    """Seconds since the epoch at which the live session ends."""
    auth_data: bytes | None = None
    """The server's last word in an authentication exchange, for CONNACK or AUTH; never shown."""
    username: str | None = None
    """The user name that was proved, where it is not simply the one presented."""
    rights: TokenRights | None = None
    """What a token allows, for the authoriser; None where none was presented."""

    def __repr__(self) -> str:
        return f"Accept({self.principal!r}, username={self.username!r}, valid_until={self.valid_until!r})"


@dataclass(frozen=True, slots=True)
class Challenge:
    """Ask the client for its next step in an authentication exchange."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refuse:
    """Turn a client away: a wire meaning for the peer, a sentence for the log (never a secret)."""

    reason: ReasonCode
    log: str


@runtime_checkable
class ConnectAuthenticator(Protocol):
    """Decide on a CONNECT; None is no opinion. Answers at once where it can, with an awaitable where it must wait."""

    def authenticate_connect(
        self, request: ConnectRequest
    ) -> "Accept | Refuse | Awaitable[Accept | Refuse | None] | None": ...


@runtime_checkable
class UncheckedAdmitter(Protocol):
    """Know whom not even a listener lets in that asks for no proof."""

    def admit_unchecked(self, request: ConnectRequest) -> "Accept | Refuse | None":
        """Decide on a client that need not prove anything; None where it must, for it comes as somebody."""
        ...


class AuthExchange(Protocol):
    """Hold one enhanced authentication between CONNECT and CONNACK, or one re-authentication [MQTT-4.12.0-2]."""

    def respond(self, data: bytes | None) -> "Challenge | Accept | Refuse | Awaitable[Accept | Refuse]":
        """Answer the authentication data of the client's next CONNECT or AUTH, with an awaitable where it must wait.

        After an Accept or Refuse, awaited or not, it is over.
        """
        ...


@runtime_checkable
class EnhancedAuthenticator(Protocol):
    """Offer authentication methods of MQTT 5."""

    def exchange(self, request: ConnectRequest, method: str) -> AuthExchange | None:
        """Begin an exchange; None where the method is not offered."""
        ...


@runtime_checkable
class TopicAuthorizer(Protocol):
    """Decide synchronously on a topic; None is no opinion.

    `operation` is PUBLISH, RECEIVE or SUBSCRIBE; `topic` is a topic name, or for SUBSCRIBE a topic filter.
    """

    def authorize(self, client: Identity, operation: int, topic: str, qos: int, retain: bool) -> bool | None: ...

    def checks_delivery(self, client: Identity) -> bool:
        """Tell whether deliveries to this client must be checked one by one (operation RECEIVE)."""
        ...


@runtime_checkable
class DenialSettler(Protocol):
    """Know what a client meets that does what it may not."""

    @property
    def deny_action(self) -> str:
        """Say `ignore` or `disconnect`."""
        ...


@runtime_checkable
class DecisionCounter(Protocol):
    """Know how decisions came about that were not remembered ones."""

    @property
    def decided(self) -> tuple[int, int, int]:
        """How often a rule allowed something, how often one denied it, and how often none fitted."""
        ...


@runtime_checkable
class RightsKeeper(Protocol):
    """Know what else than topics a principal may do, and for how long it may at all."""

    def renew(self, client: Identity) -> None:
        """Bring `superuser` and `confined` of a client that was admitted before up to date."""
        ...

    def exists(self, client: Identity) -> bool:
        """Tell whether the principal that a client was admitted as is there still; True where it had none."""
        ...


@runtime_checkable
class RightsReader(Protocol):
    """Know what the rights of tokens are whose sessions were stored."""

    def read_rights(self, text: str) -> TokenRights:
        """Give the rights that were this text; must not raise."""
        ...


@runtime_checkable
class StandingAuthorizer(Protocol):
    """Know whether its decisions on a client are still what they were."""

    def standing(self, client: Identity) -> object:
        """Give what is equal to what was given before only if all decisions since then, and now, are the same."""
        ...


BanTest = Callable[[str, str | None, str], bool]
"""Tell of a client id, a user name and a peer's address whether they are banned."""


class AccessChange(Protocol):
    """Say whose access a write to the credential store changed."""

    @property
    def end_principals(self) -> Collection[str]:
        """Principals that are no more: their live sessions are to be closed, their stored ones to end."""
        ...

    @property
    def close_principals(self) -> Collection[str]:
        """Principals whose live sessions are to be closed."""
        ...

    @property
    def close_anonymous(self) -> bool:
        """Whether the live sessions that have neither principal nor user name are to be closed."""
        ...

    @property
    def banned_client_ids(self) -> Collection[str]:
        """Client ids whose live sessions are to be closed."""
        ...

    @property
    def banned_usernames(self) -> Collection[str]:
        """User names whose live sessions are to be closed."""
        ...

    @property
    def required_client_ids(self) -> Mapping[str, str]:
        """The only client ids that principals may have: their live sessions with others are to be closed."""
        ...

    @property
    def reserved_client_ids(self) -> Mapping[str, str]:
        """The principals whose alone client ids are: live sessions of others with these are to be closed."""
        ...

    @property
    def banned(self) -> BanTest | None:
        """The test by which other live sessions are to be closed, asked about each."""
        ...

    @property
    def principals(self) -> Collection[str]:
        """Principals whose sessions are to be decided on again."""
        ...

    @property
    def usernames(self) -> Collection[str]:
        """User names whose sessions are to be decided on again."""
        ...

    @property
    def client_ids(self) -> Collection[str]:
        """Client ids whose sessions are to be decided on again."""
        ...

    @property
    def anonymous(self) -> bool:
        """Whether the sessions that have neither principal nor user name are to be decided on again."""
        ...

    @property
    def everyone(self) -> bool:
        """Whether every session is to be decided on again."""
        ...

    @property
    def valid_until(self) -> Mapping[str, float | None]:
        """When live sessions end from now on, by principal: seconds since the epoch, None for never."""
        ...
