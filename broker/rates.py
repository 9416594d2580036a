"""Rates: how much of something may happen in a time, with room for bursts. Time comes in as a number of seconds."""

from collections import OrderedDict


class TokenBucket:
    """Allow `rate` units per second on average and `burst` at once; begins full."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        if rate <= 0 or burst <= 0:
            raise ValueError("a rate and its burst must be greater than 0")
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at: float | None = None

    def take(self, amount: float, now: float) -> float:
        """Spend an amount whatever is left, and return the seconds until the debt is paid; 0 if there is none.

        For work that is already done, such as bytes received: who waits that long keeps to the rate.
        """
        self._refill(now)
        self._tokens -= amount
        return -self._tokens / self._rate if self._tokens < 0 else 0.0

    def allow(self, amount: float, now: float) -> bool:
        """Spend an amount if so much is left; what is refused costs nothing."""
        self._refill(now)
        if amount > self._tokens:
            return False
        self._tokens -= amount
        return True

    def _refill(self, now: float) -> None:
        # A clock that went back neither gives nor takes, and time gone through twice is not counted twice.
        if self._at is None:
            self._at = now
        elif now > self._at:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
            self._at = now


class AddressRates:
    """Hold one bucket for each address, for so many addresses as were seen last."""

    __slots__ = ("_buckets", "_burst", "_max_addresses", "_rate")

    def __init__(self, rate: float, burst: float, max_addresses: int = 16_384) -> None:
        if max_addresses < 1:
            raise ValueError("there must be room for an address")
        self._rate = rate
        self._burst = burst
        self._max_addresses = max_addresses
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def allow(self, address: str, now: float) -> bool:
        """Count one event of an address, unless it had its share.

        An address that fell out of the map begins with a full bucket again; the rate over all addresses, which is the
        listener's, keeps that from being a way around.
        """
        buckets = self._buckets
        bucket = buckets.get(address)
        if bucket is None:
            if len(buckets) >= self._max_addresses:
                buckets.popitem(last=False)
            bucket = buckets[address] = TokenBucket(self._rate, self._burst)
        else:
            buckets.move_to_end(address)
        return bucket.allow(1, now)


class ClientRates:
    """Hold what one client may send: messages and bytes per second, in bursts of a second's worth; 0 for no bound."""

    __slots__ = ("_bytes", "_messages", "_messages_seen")

    def __init__(self, messages: float, size: float) -> None:
        self._messages = TokenBucket(messages, max(1.0, messages)) if messages else None
        self._bytes = TokenBucket(size, max(1.0, size)) if size else None
        self._messages_seen = 0

    def take(self, size: int, messages: int, now: float) -> float:
        """Count bytes that came and all messages so far; return the seconds until both are within their rates."""
        debt = 0.0 if self._bytes is None else self._bytes.take(size, now)
        if self._messages is not None:
            debt = max(debt, self._messages.take(messages - self._messages_seen, now))
            self._messages_seen = messages
        return debt
