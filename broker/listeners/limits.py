"""What bounds new connections at the door: how many there are, and how fast they come."""

import ipaddress
from collections import Counter

from ..protocol.reason_codes import ReasonCode
from ..rates import AddressRates, TokenBucket
from ..settings import MqttSettings
from .policy import ListenerPolicy

_LISTENER_BURST = 2
_ADDRESS_BURST = 5
"""Seconds' worth that may come at once."""
_EXPLANATIONS = 20.0
"""Handshakes per second, five times as many at once, that are gone through only to tell a client why it is refused."""


class BrokerLimits:
    """Bound the connections of a whole broker; its listeners share one."""

    def __init__(self, settings: MqttSettings) -> None:
        self.open = 0
        """Sockets accepted and not gone, those included that are still in a handshake."""
        self.cut_off = 0
        """Sockets closed before they could be told why."""
        self.change(settings)

    def change(self, settings: MqttSettings) -> None:
        """Keep to these bounds from now on; the rates begin anew."""
        self.max_connections = settings.max_connections
        self.max_connect_rate = settings.max_connect_rate
        rate = settings.max_connect_rate_per_address
        self._addresses = AddressRates(rate, max(1.0, rate * _ADDRESS_BURST)) if rate > 0 else None

    @property
    def full(self) -> bool:
        """Tell whether there is no room for another connection."""
        return 0 < self.max_connections <= self.open

    def address_may(self, host: str, now: float) -> bool:
        """Count a connection of an address, unless it had its share."""
        return self._addresses is None or self._addresses.allow(_network(host), now)


class ListenerLimits:
    """Bound the connections of one listener, within the broker's bounds; `max_connections` 0 for no bound of its own.

    `policy` says who may come at all, and how fast where that is not the broker's rate. `turned_away` counts those that
    were refused, by reason.
    """

    def __init__(self, max_connections: int, broker: BrokerLimits, policy: ListenerPolicy | None = None) -> None:
        self.broker = broker
        self.open = 0
        self.turned_away: Counter[ReasonCode] = Counter()
        self._explanations = TokenBucket(_EXPLANATIONS, _EXPLANATIONS * _ADDRESS_BURST)
        self.change(max_connections, policy or ListenerPolicy())

    def change(self, max_connections: int, policy: ListenerPolicy) -> None:
        """Keep to these bounds from now on, and to what is the broker's now; the rate begins anew."""
        self.max_connections = max_connections
        self.policy = policy
        rate = self.broker.max_connect_rate if policy.max_connect_rate is None else policy.max_connect_rate
        self._rate = TokenBucket(rate, max(1.0, rate * _LISTENER_BURST)) if rate > 0 else None

    @property
    def full(self) -> bool:
        """Tell whether there is no room for another connection, here or in the whole broker."""
        return 0 < self.max_connections <= self.open or self.broker.full

    def check_address(self, host: str, now: float) -> ReasonCode | None:
        """Count a connection of an address; give the reason if it is to be turned away."""
        if not self.policy.admits(host):
            return self._turn_away(ReasonCode.NOT_AUTHORIZED)
        if self.broker.address_may(host, now):
            return None
        return self._turn_away(ReasonCode.CONNECTION_RATE_EXCEEDED)

    def check_room(self, now: float) -> ReasonCode | None:
        """Count a connection of this listener; give the reason if it is to be turned away."""
        if self._rate is not None and not self._rate.allow(1, now):
            return self._turn_away(ReasonCode.CONNECTION_RATE_EXCEEDED)
        if self.full:
            return self._turn_away(ReasonCode.QUOTA_EXCEEDED)
        return None

    def check(self, host: str, now: float) -> ReasonCode | None:
        """Do both; an address over its rate takes nothing from the others at the listener."""
        return self.check_address(host, now) or self.check_room(now)

    def may_explain(self, now: float) -> bool:
        """Tell whether a refused client is worth a handshake; otherwise it is cut off, and counted as such."""
        if self._explanations.allow(1, now):
            return True
        self.broker.cut_off += 1
        return False

    def cut_off(self, reason: ReasonCode) -> None:
        """Count a client that is refused without a word."""
        self._turn_away(reason)
        self.broker.cut_off += 1

    def enter(self) -> None:
        """Count a socket in."""
        self.open += 1
        self.broker.open += 1

    def leave(self) -> None:
        """Count a socket out."""
        self.open -= 1
        self.broker.open -= 1

    def _turn_away(self, reason: ReasonCode) -> ReasonCode:
        self.turned_away[reason] += 1
        return reason


def _network(host: str) -> str:
    """Give what shares one rate: an IPv4 address, or the /64 that one IPv6 subscriber has to choose addresses from."""
    if ":" not in host:
        return host
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:  # a Unix socket
        return host
    return str(ipaddress.IPv6Address(int(address) >> 64 << 64))
