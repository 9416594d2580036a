"""Who waits for whom, and for how long: the pace that consumers set, against a clock that the test moves."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest
from wardenmq.broker.pace import Pace


class Timer:
    """One thing to do later."""

    def __init__(self, at: float, act: Callable[[], None]) -> None:
        self.at = at
        self.act = act
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """As much of an event loop as the pace needs, at a time that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.timers: list[Timer] = []
        self.soon: list[Callable[[], None]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, act: Callable[..., None], *arguments: object) -> Timer:
        timer = Timer(self.now + delay, lambda: act(*arguments))
        self.timers.append(timer)
        return timer

    def call_soon(self, act: Callable[[], None]) -> None:
        self.soon.append(act)

    def turn(self) -> None:
        """Do what was asked for soon."""
        soon, self.soon = self.soon, []
        for act in soon:
            act()

    def advance(self, seconds: float) -> None:
        """Let time pass, with every timer at its own moment."""
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer.at <= end and not timer.cancelled]:
            first = min(due, key=lambda timer: timer.at)
            self.timers.remove(first)
            self.now = max(self.now, first.at)
            first.act()
        self.now = end
        self.timers = [timer for timer in self.timers if not timer.cancelled]


class Slow:
    """A consumer that takes something only when the test says so."""

    def __init__(self) -> None:
        self.behind = False
        self.slow = False
        self.taken = 0


class Held:
    """A publisher that counts how often it may go on."""

    def __init__(self) -> None:
        self.went_on = 0

    def go_on(self) -> None:
        self.went_on += 1


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def pace(loop: Loop) -> Pace:
    return Pace(cast("asyncio.AbstractEventLoop", loop))


def _held_for(pace: Pace, loop: Loop, consumer: Slow) -> float:
    """Let a consumer fall behind and never catch up; give the seconds until it is given up."""
    start = loop.now
    pace.fall_behind(consumer)
    while not consumer.slow:
        waiting = [timer.at for timer in loop.timers if not timer.cancelled]
        assert len(waiting) == 1, "nothing would ever end this"
        loop.advance(waiting[0] - loop.now)
    return loop.now - start


def test_nobody_is_held_without_somebody_behind(pace: Pace) -> None:
    assert pace.nobody_behind
    assert not pace.met
    assert (pace.episodes, pace.given_up) == (0, 0)


def test_whoever_meets_a_consumer_that_is_behind_is_told_so_each_time(pace: Pace) -> None:
    """The mark is the publisher's to reset; the next message to the same consumer sets it again, another does not."""
    consumer = Slow()
    for _ in range(3):
        pace.fall_behind(consumer)
        assert pace.met
        pace.met = False
    assert consumer.behind
    assert not pace.nobody_behind
    assert pace.episodes == 1


def test_a_publisher_goes_on_when_the_last_consumer_has_caught_up(pace: Pace, loop: Loop) -> None:
    one, other, publisher = Slow(), Slow(), Held()
    pace.fall_behind(one)
    pace.fall_behind(other)
    pace.hold(publisher)
    pace.catch_up(one)
    loop.turn()
    assert (publisher.went_on, one.behind, pace.nobody_behind) == (0, False, False)
    pace.catch_up(other)
    assert publisher.went_on == 0, "not from within what the consumer does"
    loop.turn()
    assert publisher.went_on == 1
    pace.catch_up(other)
    loop.turn()
    loop.advance(100)
    assert publisher.went_on == 1
    assert pace.given_up == 0
    assert not (one.slow or other.slow)


def test_a_consumer_that_takes_nothing_is_given_up_and_holds_nobody_any_more(pace: Pace, loop: Loop) -> None:
    consumer, publisher = Slow(), Held()
    pace.fall_behind(consumer)
    pace.hold(publisher)
    pace.met = False
    loop.advance(60)
    loop.turn()
    assert (consumer.slow, consumer.behind, pace.given_up, publisher.went_on) == (True, False, 1, 1)
    pace.fall_behind(consumer)
    assert pace.nobody_behind
    assert not pace.met
    assert pace.episodes == 1


def test_a_consumer_that_is_no_longer_slow_is_waited_for_again(pace: Pace, loop: Loop) -> None:
    consumer = Slow()
    first = _held_for(pace, loop, consumer)
    consumer.slow = False
    pace.fall_behind(consumer)
    assert consumer.behind
    assert pace.episodes == 2
    assert first > 0


def test_a_consumer_that_takes_something_is_waited_for_longer(pace: Pace, loop: Loop) -> None:
    """One that is stuck for good costs others less than one that is on its way; neither costs them all their time."""
    stuck, busy = Slow(), Slow()
    pace.fall_behind(stuck)
    pace.fall_behind(busy)
    start, given_up_after = loop.now, {}
    while len(given_up_after) < 2:
        assert loop.now - start < 60, "waited for without end"
        busy.taken += 1
        loop.advance(0.25)
        for name, consumer in (("stuck", stuck), ("busy", busy)):
            if consumer.slow:
                given_up_after.setdefault(name, loop.now - start)
    assert given_up_after["stuck"] < given_up_after["busy"]
    assert given_up_after["busy"] >= 2 * given_up_after["stuck"]


def test_a_consumer_that_stops_taking_is_not_waited_for_to_the_end(pace: Pace, loop: Loop) -> None:
    whole = Slow()
    pace.fall_behind(whole)
    start = loop.now
    while not whole.slow:
        whole.taken += 1
        loop.advance(0.25)
    patience = loop.now - start
    stopping = Slow()
    pace.fall_behind(stopping)
    start = loop.now
    stopping.taken += 1
    while not stopping.slow:
        loop.advance(0.25)
    assert loop.now - start < patience


def test_one_that_hesitates_and_catches_up_is_not_given_up(pace: Pace, loop: Loop) -> None:
    consumer = Slow()
    for _ in range(50):
        pace.fall_behind(consumer)
        consumer.taken += 1
        loop.advance(0.5)
        pace.catch_up(consumer)
        loop.advance(0.5)
    assert not consumer.slow
    assert (pace.episodes, pace.given_up) == (50, 0)
    assert loop.timers == []


def test_those_who_were_given_up_shorten_the_patience_with_the_next(pace: Pace, loop: Loop) -> None:
    """A client that connects one stuck consumer after the other does not hold a publisher up for good."""
    times = [_held_for(pace, loop, Slow()) for _ in range(60)]
    assert times[:5] == pytest.approx([times[0]] * 5), "a few are nobody's fault"
    assert times == sorted(times, reverse=True)
    assert times[-1] < times[0] / 4
    assert times[-1] > 0


def test_patience_comes_back_after_a_while(pace: Pace, loop: Loop) -> None:
    first = _held_for(pace, loop, Slow())
    for _ in range(40):
        _held_for(pace, loop, Slow())
    assert _held_for(pace, loop, Slow()) < first / 2
    loop.advance(300)
    assert _held_for(pace, loop, Slow()) == pytest.approx(first)


def test_what_is_known_of_those_who_were_given_up_is_bounded(pace: Pace, loop: Loop) -> None:
    for _ in range(3_000):
        _held_for(pace, loop, Slow())
    assert pace.given_up == 3_000
    assert len(pace._given_up) <= 200
    assert pace.nobody_behind
    assert [timer for timer in loop.timers if not timer.cancelled] == []
