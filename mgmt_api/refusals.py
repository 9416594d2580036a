"""Callers that were turned away: all of them counted, some of them logged, for whoever guesses keys does so often."""

from logging import getLogger

_logger = getLogger(__name__)
_INTERVAL = 1.0
_MAX_PATH = 200


class RefusalLog:
    """Count refused callers and log at most one a second; sees neither header nor key, so it cannot tell them."""

    def __init__(self) -> None:
        self.count = 0
        self._suppressed = 0
        self._next = float("-inf")

    def note(self, now: float, peer: str | None, path: str, code: str) -> None:
        """Take note of one refusal; `now` is the loop's time, seconds."""
        self.count += 1
        if now < self._next:
            self._suppressed += 1
            return
        # %a: the path is the caller's and must not be able to end a line of the log.
        _logger.warning(
            "API caller %s refused: %a: %s (%d more since the last such line)",
            peer or "of unknown address",
            path[:_MAX_PATH],
            code,
            self._suppressed,
        )
        self._suppressed = 0
        self._next = now + _INTERVAL
