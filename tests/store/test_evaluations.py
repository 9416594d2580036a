"""Counters and the rates that are worked out of them."""

from wardenmq.store.evaluations import WINDOW, EvaluationRate


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_rates_are_those_of_seconds_that_are_over() -> None:
    clock = Clock()
    rate = EvaluationRate(clock)
    assert (rate.total, rate.now, rate.last_5_minutes, rate.fastest) == (0, 0.0, 0.0, 0.0)
    for _ in range(6):
        rate.count()
    assert (rate.total, rate.now, rate.fastest) == (6, 0.0, 6.0)
    clock.now += 1
    assert (rate.now, rate.last_5_minutes) == (6.0, 0.02)
    clock.now += 1
    rate.count()
    assert rate.now == 0.0
    clock.now += 1
    assert (rate.now, rate.fastest, rate.total) == (1.0, 6.0, 7)


def test_what_is_long_past_counts_in_the_total_alone() -> None:
    clock = Clock()
    rate = EvaluationRate(clock)
    for _ in range(WINDOW):
        rate.count()
    assert rate.last_5_minutes == 1.0
    clock.now += WINDOW
    assert (rate.total, rate.last_5_minutes, rate.fastest) == (WINDOW, 0.0, WINDOW)


def test_a_clock_that_is_set_back_breaks_nothing() -> None:
    clock = Clock()
    rate = EvaluationRate(clock)
    rate.count()
    clock.now -= 500
    rate.count()
    assert (rate.total, rate.now) == (2, 0.0)
