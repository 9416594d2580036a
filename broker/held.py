"""Answers that wait until the journal is written, and those behind them, so that their order holds."""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from .link import Journal

_MOST = 4_096
"""Answers that may wait for one connection before it is read no more."""
_TOGETHER = 64
"""Acknowledgements of one answer: it waits for the last of their messages."""


class Answering(Protocol):
    """The outgoing half of a connection."""

    closed: bool
    held: "HeldAnswers | None"

    def send_acks(self, first_two: bytes, packet_type: int, packet_ids: bytes, reason: int = 0) -> None:
        """Send an acknowledgement for each packet identifier of a column."""
        ...


class Answer:
    """Hold what waits together: acknowledgements of one kind, or one other packet."""

    __slots__ = ("batch", "call", "first_two", "holder", "packet_ids", "packet_type", "reason", "settled", "unsettled")

    def __init__(self) -> None:
        self.holder: HeldAnswers | None = None
        """None until it is held."""
        self.batch = 0
        """The batch after which it may be given."""
        self.unsettled = 0
        """What sessions are owed of the messages, as long as it is neither settled nor written."""
        self.settled = False
        """Whether it may be given, too, once nothing of that is left."""
        self.call: Callable[[], None] | None = None
        self.first_two = b""
        self.packet_type = 0
        self.packet_ids = bytearray()
        self.reason = 0

    def settle(self) -> None:
        """Take note that a session is owed nothing of it any more."""
        self.unsettled -= 1
        if not self.unsettled and self.holder is not None and self.settled:
            self.holder.advance(0)


class _Nowhere:
    """Answer nobody."""

    closed = True
    held: "HeldAnswers | None" = None

    def send_acks(self, first_two: bytes, packet_type: int, packet_ids: bytes, reason: int = 0) -> None:
        pass


_NOWHERE = _Nowhere()


class HeldAnswers:
    """Hold one connection's answers in their order."""

    __slots__ = ("_answers", "_out", "_waits_for")

    def __init__(self, out: Answering) -> None:
        self._out = out
        self._answers: deque[Answer] = deque()
        self._waits_for = 0

    def __len__(self) -> int:
        return len(self._answers)

    def begin(self, journal: Journal) -> Answer:
        """Give the answer that a message is to have which comes now: one that waits already where that has room."""
        last = self._answers[-1] if self._answers else None
        if last is None or not last.settled or last.batch != journal.number or len(last.packet_ids) >= 2 * _TOGETHER:
            last = Answer()
        last.unsettled += 1  # the message itself, until it is held: what is delivered now may settle all before it
        return last

    def hold(
        self,
        journal: Journal | None,
        answer: Answer,
        first_two: bytes,
        packet_type: int,
        packet_ids: bytes,
        reason: int,
        settled: bool,
    ) -> None:
        """Hold acknowledgements until all is written that the journal has; without one only for those before them.

        `settled` is whether they may be given as well once nothing is owed any more of what `answer` was begun for.
        """
        if settled and journal is not None:
            answer.unsettled -= 1
        if answer.holder is not None and (answer.packet_type != packet_type or answer.reason != reason):
            # It turned out to be of another kind than what it was to join, which waits for this one's messages, too.
            answer, settled = Answer(), False
        answer.packet_ids.extend(packet_ids)
        if answer.holder is None:
            answer.holder, answer.batch, answer.settled = self, self._batch(journal), settled
            answer.first_two, answer.packet_type, answer.reason = first_two, packet_type, reason
            self._answers.append(answer)
        if settled and not answer.unsettled:
            self.advance(0)

    def hold_call(self, journal: Journal | None, call: Callable[[], None]) -> None:
        """Do the same with any other answer."""
        answer = Answer()
        answer.holder, answer.batch, answer.call = self, self._batch(journal), call
        self._answers.append(answer)

    @property
    def too_many(self) -> bool:
        """Tell whether more waits than should, so that the client is to be read no more until less does."""
        return len(self._answers) > _MOST

    def _batch(self, journal: Journal | None) -> int:
        if journal is not None and self._waits_for < journal.number:
            self._waits_for = journal.wait(self)
        return self._waits_for

    @property
    def waits(self) -> bool:
        """Tell whether there is anything to be told for."""
        return len(self._answers) > 0

    def let_go(self) -> None:
        """Forget all: the connection is lost."""
        self._answers.clear()
        self._out = _NOWHERE

    def stalled(self) -> None:
        """Wait on: nothing may be said before it is so."""

    def written(self, committed: int) -> None:
        """Send what waited for this batch and those before."""
        self.advance(committed)

    def advance(self, committed: int) -> None:
        """Send what waited for a batch up to this one, or for what is settled by now, as far as the order lets it."""
        answers, out = self._answers, self._out
        while answers and not out.closed:
            answer = answers[0]
            if answer.batch > committed and (answer.unsettled or not answer.settled):
                break
            answers.popleft()
            answer.holder = None
            if answer.call is not None:
                answer.call()
            else:
                out.send_acks(answer.first_two, answer.packet_type, bytes(answer.packet_ids), answer.reason)
        if not answers or out.closed:
            answers.clear()
            if out.held is self:
                out.held = None
