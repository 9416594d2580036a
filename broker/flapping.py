"""Clients that come and go all the time: counted, and handed over to be banned."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import TypeAlias

from .engine import Engine
from .session import Session
from .session_watch import SessionWatch

_MOST = 50_000
"""Clients whose ends of connection are counted at a time."""
_NOT_COUNTED = frozenset(("kicked", "banned", "expired", "not_authorized", "shutdown", "discarded", "takenover"))
"""Ends that are not the client's own doing."""

Ban: TypeAlias = Callable[[str, float], None]
"""Ban a client id for so many seconds; must not wait."""


@dataclass(frozen=True, slots=True)
class FlappingSettings:
    """Say how often within how many seconds is too often, and for how many seconds a client is banned then."""

    window: float = 60.0
    max_count: int = 15
    ban_time: float = 300.0


class FlappingDetector(SessionWatch):
    """Count ends of connections by client id; until it is told what is too often, nothing is counted."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._settings: FlappingSettings | None = None
        self._ban: Ban | None = None
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """When a client's window began, and how often it went since; the one counted last comes last."""

    @property
    def counted(self) -> int:
        """How many clients are being counted."""
        return len(self._counts)

    def configure(self, settings: FlappingSettings | None, ban: Ban) -> None:
        """Begin, go on with other settings, or with None end."""
        watches = self._engine.session_watches
        self._settings, self._ban = settings, ban
        if settings is None:
            self._counts.clear()
            if self in watches:
                watches.remove(self)
        elif self not in watches:
            watches.append(self)

    def disconnected(self, session: Session, reason: str) -> None:
        """Count an end that was the client's doing."""
        settings, ban = self._settings, self._ban
        if settings is None or ban is None or reason in _NOT_COUNTED:
            return
        now = self._clock()
        began, count = self._counts.pop(session.client_id, (now, 0))
        if now - began > settings.window:
            began, count = now, 0
        if count + 1 >= settings.max_count:
            ban(session.client_id, settings.ban_time)
            return
        self._counts[session.client_id] = (began, count + 1)
        if len(self._counts) > _MOST:
            self._counts.popitem(last=False)
