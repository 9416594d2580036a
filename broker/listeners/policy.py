"""What the management can tell a listener beside what the configuration file can: whom it lets in, and how."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from .options import Network

AUTHENTICATIONS = ("checked", "unchecked", "named")


@dataclass(frozen=True, slots=True)
class AddressRule:
    """Allow or deny the addresses of a network; None is any address."""

    allow: bool
    network: Network | None = None

    def covers(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        """Tell whether the rule speaks of this address."""
        return self.network is None or address in self.network


@dataclass(frozen=True, slots=True)
class ListenerPolicy:
    """Hold what is particular to one listener."""

    authentication: str = "checked"
    """checked: as everywhere; unchecked: anybody gets in who is not banned; who comes under the user
    name or the client id of a login is checked all the same; named: a client
    without a user name is refused before anybody is asked."""
    access: tuple[AddressRule, ...] = ()
    """The first rule that covers a client's address decides; an address that none covers is let in."""
    max_connect_rate: float | None = None
    """Connections per second, 0 for no bound; None for what the settings say."""
    proxy_timeout: float | None = None
    """Seconds that a PROXY header may take within the time limit for all handshakes; None for all of it."""
    path: str | None = None
    """The only path of a WebSocket; None for the usual ones."""
    key_password: str | None = None
    """What the TLS key's file is encrypted with; never shown."""
    tls_versions: tuple[str, ...] = ("tlsv1.3", "tlsv1.2")
    ciphers: tuple[str, ...] = ()
    """OpenSSL's names of the ciphers of TLS 1.2; empty for its choice."""

    def admits(self, host: str) -> bool:
        """Tell whether a client may come from this address; who has none, at a Unix socket, may."""
        if not self.access:
            return True
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return True
        address = getattr(address, "ipv4_mapped", None) or address
        return next((rule.allow for rule in self.access if rule.covers(address)), True)

    def __repr__(self) -> str:
        return f"ListenerPolicy({self.authentication!r}, path={self.path!r})"


def read_access_rules(lines: Sequence[str]) -> tuple[AddressRule, ...]:
    """Read rules of the form `allow all` and `deny 192.0.2.0/24`; raises ValueError."""
    return tuple(_read_rule(line) for line in lines)


def _read_rule(line: str) -> AddressRule:
    verb, _, place = line.strip().partition(" ")
    if verb not in ("allow", "deny") or not place:
        raise ValueError(f"{line!r} is not of the form 'allow all' or 'deny 192.0.2.0/24'")
    place = place.strip()
    if place == "all":
        return AddressRule(verb == "allow")
    try:
        return AddressRule(verb == "allow", ipaddress.ip_network(place, strict=False))
    except ValueError:
        raise ValueError(f"{line!r} names neither 'all' nor an address or network") from None
