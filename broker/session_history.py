"""When sessions have ended, for as long as somebody wants to count them."""

from collections import OrderedDict
from time import time

from .session import Session
from .session_watch import SessionWatch

_MOST = 100_000
"""Sessions that are remembered at most."""


class SessionHistory(SessionWatch):
    """Remember the ends of sessions for a while; of a client id that is back, none."""

    def __init__(self) -> None:
        self.retained = 0.0
        """Seconds for which an end is remembered; 0 for none at all."""
        self._ended: OrderedDict[str, float] = OrderedDict()
        """When sessions ended, by client id, in the order of that."""

    def connected(self, session: Session) -> None:
        """Take note of a client that is back."""
        if self._ended:
            self._ended.pop(session.client_id, None)

    def session_ended(self, session: Session) -> None:
        """Take note of a session that is no more."""
        if self.retained:
            self._ended.pop(session.client_id, None)
            self._ended[session.client_id] = time()
            self._forget()

    def ended_since(self, moment: float) -> int:
        """Count the sessions that have ended since a moment and are not back; seconds since the epoch."""
        self._forget()
        count = 0
        for ended in reversed(self._ended.values()):
            if ended < moment:
                break
            count += 1
        return count

    def _forget(self) -> None:
        ended, oldest = self._ended, time() - self.retained
        while ended and (len(ended) > _MOST or next(iter(ended.values())) < oldest):
            ended.popitem(last=False)
