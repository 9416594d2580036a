"""Who has guessed wrong so often of late that further guesses are paced?

Nobody is refused here: a suspect is checked in a slow lane of its own, which serves networks by turns. So a wrong
suspicion costs the rightful client a wait, and an attacker cannot keep it out by guessing under its name or from its
network. What succeeded before, the same name from the same network, has a budget of its own that no failure of others
is charged to.

Only failures count. Tries under way say nothing, for after a restart a whole fleet comes at once; whoever begins many
guesses at once is asked about again when their turn comes.
"""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

_PER_NETWORK = 10
"""Behind one address there may be many clients."""
_ROUNDING = 0.5
"""What may be forgotten of the failures in a burst before they are counted as fewer."""


@dataclass(slots=True)
class _Tally:
    """Count, and forget half of it with each half-life."""

    at: float
    failures: float = 0.0

    def decay(self, now: float, half_life: float) -> None:
        # A clock that was set back makes no count grow.
        self.failures *= 0.5 ** (max(0.0, now - self.at) / half_life)
        self.at = now


class _Tallies:
    """Hold a bounded number of tallies; the one that was not touched for longest goes first."""

    def __init__(self, max_failures: int, half_life: float, size: int) -> None:
        self._max_failures = max_failures
        self._half_life = half_life
        self._size = size
        self._tallies: OrderedDict[bytes, _Tally] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tallies)

    def find(self, key: bytes, now: float) -> _Tally | None:
        tally = self._tallies.get(key)
        if tally is not None:
            self._tallies.move_to_end(key)
            tally.decay(now, self._half_life)
        return tally

    def touch(self, key: bytes, now: float) -> _Tally:
        """Return the tally of a key, a new one where it has none."""
        tally = self.find(key, now)
        if tally is None:
            tally = self._tallies[key] = _Tally(now)
            if len(self._tallies) > self._size:
                self._tallies.popitem(last=False)
        return tally

    def exceeded(self, tally: _Tally) -> bool:
        return tally.failures >= self._max_failures - _ROUNDING


class LoginLimiter:
    """Count failed attempts by network and by name.

    To be asked about whatever is not known to be right without a check: the right token and a login that was verified
    before are no guesses and cost nothing. The network is what `network_of` makes of an address. Each attempt has
    all names that it may be a guess at, in the order in which they are looked for; all of them are charged.
    """

    def __init__(
        self, clock: Callable[[], float], max_failures: int = 20, *, half_life: float = 60.0, size: int = 50_000
    ) -> None:
        """Suspect a name after `max_failures`, 0 for never, and a network after ten times as many.

        Half of what is counted is forgotten each `half_life` seconds; at most `size` networks, names and pairs of them
        are kept.
        """
        self._clock = clock
        self._enabled = max_failures > 0
        self._networks = _Tallies(_PER_NETWORK * max_failures, half_life, size)
        self._names = _Tallies(max_failures, half_life, size)
        self._proved = _Tallies(max_failures, half_life, size)
        self._key = secrets.token_bytes(32)

    def suspect(self, network: str, names: Sequence[str]) -> bool:
        """Tell whether an attempt that is to be checked now is suspect; that it is asked about counts for nothing."""
        if not self._enabled:
            return False
        now = self._clock()
        network_key, name_keys = self._keys(network, names)
        if (proved := self._find_proved(network_key, name_keys, now)) is not None:
            return self._proved.exceeded(proved)
        return any(
            (tally := tallies.find(key, now)) is not None and tallies.exceeded(tally)
            for tallies, key in self._charged(network_key, name_keys)
        )

    def failed(self, network: str, names: Sequence[str]) -> None:
        """Note that an attempt was wrong, whatever logins there are."""
        if not self._enabled:
            return
        now = self._clock()
        network_key, name_keys = self._keys(network, names)
        if (proved := self._find_proved(network_key, name_keys, now)) is not None:
            spent = self._proved.exceeded(proved)
            proved.failures += 1
            if not spent:
                return
        for tallies, key in self._charged(network_key, name_keys):
            tallies.touch(key, now).failures += 1

    def succeeded(self, network: str, names: Sequence[str]) -> None:
        """Note that a login was proved: attempts at it from this network are no longer judged by what others do.

        The names are the attempt's up to the one that is the login, so that no guess at another one passes for it.
        No failure is forgotten, or whoever has a login could wipe out his guesses at others with it.
        """
        if self._enabled and names:
            network_key, name_keys = self._keys(network, names)
            self._proved.touch(_pairs(network_key, name_keys)[-1], self._clock())

    def _find_proved(self, network_key: bytes, name_keys: Sequence[bytes], now: float) -> _Tally | None:
        found = (self._proved.find(pair, now) for pair in _pairs(network_key, name_keys))
        return next((tally for tally in found if tally is not None), None)

    def _charged(self, network_key: bytes, name_keys: Sequence[bytes]) -> Iterator[tuple[_Tallies, bytes]]:
        yield self._networks, network_key
        for name_key in name_keys:
            yield self._names, name_key

    def _keys(self, network: str, names: Sequence[str]) -> tuple[bytes, Sequence[bytes]]:
        """Return what stands for the network and the names: short, whatever somebody sends as a name."""
        encoded = (name.encode(errors="surrogatepass") for name in names)
        return network.encode(), [hashlib.blake2b(name, digest_size=16, key=self._key).digest() for name in encoded]


def _pairs(network_key: bytes, name_keys: Sequence[bytes]) -> Sequence[bytes]:
    """Return what stands for the network with the first name, with the first two, and so on."""
    return [names + network_key for names in accumulate(name_keys)]
