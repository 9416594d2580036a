"""Who is banned: exact names and addresses by one look-up, networks by one for each length, expressions one by one."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import thread_time

from .acl.regular_expressions import MAX_LENGTH, RegularExpression
from .errors import Invalid
from .names import check_identifier, check_text, shown
from .networks import Address, Network, NetworkTable, parse_address, parse_network, read_address
from .records import Ban, BanTest, BanType

EXPRESSION_TYPES: frozenset[BanType] = frozenset({"clientid_re", "username_re"})
_SEARCH_SECONDS = 0.025
"""What the search of all expressions in one text may cost of the thread's time, for the event loop waits for it."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """Hold what a ban is about, ready to be compared."""

    who_type: BanType
    who: str
    """In the one spelling that it is kept by."""
    subject: str | Address | Network | RegularExpression

    @classmethod
    def parse(cls, who_type: BanType, who: str) -> "Target":
        """Read what somebody wrote; raise Invalid."""
        match who_type:
            case "peerhost":
                address = parse_address(who)
                return cls(who_type, str(address), address)
            case "peerhost_net":
                network = parse_network(who)
                return cls(who_type, str(network), network)
            case "clientid_re" | "username_re":
                if not who:
                    raise Invalid("The regular expression must not be empty: it would ban everybody.")
                check_text(who, "regular expression", MAX_LENGTH)
                return cls(who_type, who, RegularExpression(who))
            case "clientid" | "username":
                check_identifier(who, "client id" if who_type == "clientid" else "user name")
                return cls(who_type, who, who)

    def test(self) -> BanTest:
        """Tell of one client after the other whether it is meant, as the index does of a client that connects."""

        def is_meant(client_id: str, username: str | None, peer_host: str) -> bool:
            subject = self.subject
            if isinstance(subject, RegularExpression):
                text = client_id if self.who_type == "clientid_re" else username
                return text is not None and subject.search(text, _SEARCH_SECONDS) is not False
            if isinstance(subject, str):
                return subject == (client_id if self.who_type == "clientid" else username)
            address = read_address(peer_host)
            if address is None:
                return False
            return address in subject if isinstance(subject, Network) else address == subject

        return is_meant


class BanIndex:
    """Find the ban that keeps a client out; one that has ended keeps nobody out, though it is still here."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._names: dict[BanType, dict[str, Ban]] = {"clientid": {}, "username": {}}
        self._addresses: dict[Address, Ban] = {}
        self._networks: NetworkTable[Ban] = NetworkTable()
        self._expressions: dict[BanType, dict[str, tuple[RegularExpression, Ban]]] = {
            "clientid_re": {},
            "username_re": {},
        }
        self._warned: set[tuple[BanType, str]] = set()

    @property
    def expressions(self) -> int:
        """How many regular expressions there are."""
        return sum(map(len, self._expressions.values()))

    def put(self, target: Target, ban: Ban) -> None:
        """Add a ban, in place of one of the same target."""
        self.remove(target)
        subject = target.subject
        if isinstance(subject, RegularExpression):
            self._expressions[target.who_type][target.who] = (subject, ban)
        elif isinstance(subject, str):
            self._names[target.who_type][subject] = ban
        elif isinstance(subject, Network):
            self._networks.put(subject, ban)
        else:
            self._addresses[subject] = ban

    def remove(self, target: Target) -> None:
        """Take a ban out, if it is there."""
        subject = target.subject
        if isinstance(subject, RegularExpression):
            self._expressions[target.who_type].pop(target.who, None)
            self._warned.discard((target.who_type, target.who))
        elif isinstance(subject, str):
            self._names[target.who_type].pop(subject, None)
        elif isinstance(subject, Network):
            self._networks.remove(subject)
        else:
            self._addresses.pop(subject, None)

    def find(self, client_id: str, peer_host: str) -> Ban | None:
        """Return a ban of the client id or of the peer's address."""
        ban = self._names["clientid"].get(client_id)
        if ban is not None and self._holds(ban):
            return ban
        if self._addresses or self._networks:
            address = read_address(peer_host)
            if address is not None:
                ban = self._addresses.get(address)
                if ban is not None and self._holds(ban):
                    return ban
                for ban in self._networks.covering(address):
                    if self._holds(ban):
                        return ban
        return self._search("clientid_re", client_id)

    def find_username(self, username: str) -> Ban | None:
        """Return a ban of the user name."""
        ban = self._names["username"].get(username)
        if ban is not None and self._holds(ban):
            return ban
        return self._search("username_re", username)

    def _holds(self, ban: Ban) -> bool:
        return ban.until is None or self._clock() < ban.until

    def _search(self, who_type: BanType, text: str) -> Ban | None:
        entries = self._expressions[who_type]
        if not entries:
            return None
        # The thread's own time: were it the clock on the wall, a busy machine would ban whoever comes.
        deadline = thread_time() + _SEARCH_SECONDS
        for expression, ban in entries.values():
            if not self._holds(ban):
                continue
            found = expression.search(text, deadline - thread_time())
            if found is None:
                self._warn(ban)
            if found is not False:
                return ban
        return None

    def _warn(self, ban: Ban) -> None:
        """Say once of an expression that it is too expensive, or the log would be the next thing to fill."""
        key = (ban.who_type, ban.who)
        if key not in self._warned:
            self._warned.add(key)
            _logger.warning(
                "The ban by the regular expression %r was not decided in time or the text was too long: "
                "such clients count as banned",
                shown(ban.who),
            )
