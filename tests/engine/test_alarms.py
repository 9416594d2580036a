"""Alarms: raised once, over once, remembered for a while, whatever the clock does."""

import logging
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.broker.alarms import JOURNAL_NOT_WRITABLE, MAX_HISTORY, MAX_HISTORY_AGE, SESSIONS_SET_ASIDE, Alarms
from wardenmq.broker.broker import Broker

START = 1_900_000_000.0


class Clock:
    """A clock on the wall that can be set, and the steady one behind it that cannot."""

    def __init__(self) -> None:
        self.wall = START
        self.steady = 50.0

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


def alarms_at(clock: Clock) -> Alarms:
    return Alarms(clock=lambda: clock.wall, steady_clock=lambda: clock.steady)


def names(alarms: Alarms) -> tuple[list[str], list[str]]:
    """Name the alarms that are active and those that are over."""
    return [alarm.name for alarm in alarms.active()], [alarm.name for alarm in alarms.history()]


def test_an_alarm_is_active_until_it_is_over_and_remembered_then() -> None:
    clock = Clock()
    alarms = alarms_at(clock)
    assert (names(alarms), alarms.is_active("a")) == (([], []), False)
    clock.pass_by(10)
    alarms.activate("a", "Something is wrong.", {"reason": "x", "since": START})
    assert alarms.is_active("a")
    [active] = alarms.active()
    assert (active.name, active.message, active.details) == (
        "a",
        "Something is wrong.",
        {"reason": "x", "since": START},
    )
    assert (active.activated_at, active.deactivated_at) == (START + 10, None)
    assert (active.duration(START + 10), active.duration(START + 12.5)) == (0.0, 2.5)
    assert alarms.history() == []

    clock.pass_by(30)
    alarms.deactivate("a")
    assert not alarms.is_active("a")
    assert alarms.active() == []
    [over] = alarms.history()
    assert (over.name, over.message, over.details) == (active.name, active.message, active.details)
    assert (over.activated_at, over.deactivated_at) == (START + 10, START + 40)
    assert over.duration(START + 1_000) == 30.0


def test_an_active_alarm_is_not_raised_again(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    alarms = alarms_at(clock)
    alarms.activate("a", "First.", {"attempt": 1})
    before = alarms.active()
    clock.pass_by(5)
    alarms.activate("a", "Second.", {"attempt": 2})
    assert alarms.active() == before
    assert [record.getMessage() for record in caplog.records] == ["Alarm a: First."]
    alarms.deactivate("a")
    alarms.activate("a", "Third.")
    assert [alarm.message for alarm in alarms.active()] == ["Third."]
    assert [alarm.message for alarm in alarms.history()] == ["First."]


def test_what_is_not_active_cannot_be_over(caplog: pytest.LogCaptureFixture) -> None:
    alarms = Alarms()
    alarms.deactivate("a")
    alarms.activate("a", "Wrong.")
    alarms.deactivate("a")
    caplog.clear()
    alarms.deactivate("a")
    assert names(alarms) == ([], ["a"])
    assert caplog.records == []


def test_the_log_says_what_is_wrong_and_for_how_long_it_was(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    alarms = alarms_at(clock)
    with caplog.at_level(logging.WARNING):
        alarms.activate("a", "100 % of the disk is in use.")
        clock.pass_by(61.25)
        alarms.deactivate("a")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "Alarm a: 100 % of the disk is in use."),
        ("WARNING", "Alarm a is over after 61.2 s."),
    ]


def test_active_alarms_are_listed_as_they_came_and_past_ones_newest_first() -> None:
    alarms = Alarms()
    for name in "abcd":
        alarms.activate(name, "Wrong.")
    for name in "cab":
        alarms.deactivate(name)
    alarms.activate("a", "Again.")
    assert names(alarms) == (["d", "a"], ["b", "a", "c"])
    alarms.deactivate("a")
    assert names(alarms) == (["d"], ["a", "b", "a", "c"])


def test_clearing_the_history_leaves_what_is_active() -> None:
    alarms = Alarms()
    alarms.clear_history()
    for name in "ab":
        alarms.activate(name, "Wrong.")
    alarms.deactivate("a")
    alarms.clear_history()
    assert names(alarms) == (["b"], [])
    alarms.deactivate("b")
    assert names(alarms) == ([], ["b"])


def test_the_history_is_bounded() -> None:
    alarms = Alarms()
    for number in range(MAX_HISTORY + 5):
        alarms.activate("a", f"Number {number}.")
        alarms.deactivate("a")
    messages = [alarm.message for alarm in alarms.history()]
    assert len(messages) == MAX_HISTORY == 1_000
    assert (messages[0], messages[-1]) == ("Number 1004.", "Number 5.")


def test_an_alarm_is_remembered_for_a_day_from_its_end() -> None:
    clock = Clock()
    alarms = alarms_at(clock)
    alarms.activate("long", "Wrong.")
    alarms.activate("longer", "Wrong.")
    clock.pass_by(3 * MAX_HISTORY_AGE)
    alarms.deactivate("long")
    clock.pass_by(MAX_HISTORY_AGE / 2)
    alarms.deactivate("longer")
    assert names(alarms) == ([], ["longer", "long"])
    clock.pass_by(MAX_HISTORY_AGE / 2)
    assert names(alarms) == ([], ["longer", "long"])
    clock.pass_by(0.5)
    assert names(alarms) == ([], ["longer"])
    clock.pass_by(MAX_HISTORY_AGE)
    assert names(alarms) == ([], [])


def test_a_clock_that_is_set_neither_empties_nor_keeps_the_history() -> None:
    clock = Clock()
    alarms = alarms_at(clock)
    alarms.activate("a", "Wrong.")
    alarms.deactivate("a")
    for year in (2_000_000_000.0, 0.0):
        clock.wall = year
        assert names(alarms) == ([], ["a"])
    clock.steady += MAX_HISTORY_AGE + 1
    assert names(alarms) == ([], [])


def test_a_clock_that_is_set_back_makes_no_negative_duration(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    alarms = alarms_at(clock)
    alarms.activate("a", "Wrong.")
    clock.wall -= 3_600
    [active] = alarms.active()
    assert active.duration(clock.wall) == 0.0
    alarms.deactivate("a")
    [over] = alarms.history()
    assert (over.activated_at, over.deactivated_at, over.duration(clock.wall)) == (START, START, 0.0)
    assert caplog.records[-1].getMessage() == "Alarm a is over after 0.0 s."


def test_an_alarm_does_not_change() -> None:
    alarms = Alarms()
    details = {"reason": "x"}
    alarms.activate("a", "Wrong.", details)
    details["reason"] = "y"
    [active] = alarms.active()
    assert active.details == {"reason": "x"}
    with pytest.raises(FrozenInstanceError):
        active.message = "Right."  # type: ignore[misc]
    alarms.active().clear()
    assert alarms.is_active("a")
    alarms.deactivate("a")
    alarms.history().clear()
    assert active.deactivated_at is None
    assert len(alarms.history()) == 1


@given(st.lists(st.tuples(st.sampled_from(["on", "off", "clear"]), st.sampled_from("abc"), st.integers(-9, 9))))
def test_whatever_happens_every_alarm_is_in_one_place(steps: list[tuple[str, str, int]]) -> None:
    """Compare with the plainest account of it, under a clock that is set forward and back."""
    clock = Clock()
    alarms = alarms_at(clock)
    active: list[str] = []
    over: list[str] = []
    for what, name, seconds in steps:
        clock.wall += seconds
        clock.steady += 1
        if what == "on":
            alarms.activate(name, "Wrong.")
            active += [name] if name not in active else []
        elif what == "off":
            alarms.deactivate(name)
            if name in active:
                active.remove(name)
                over.insert(0, name)
        else:
            alarms.clear_history()
            over.clear()
        assert names(alarms) == (active, over)
        for alarm in (*alarms.active(), *alarms.history()):
            assert alarm.duration(clock.wall) >= 0
            assert alarm.deactivated_at is None or alarm.deactivated_at >= alarm.activated_at


async def test_each_broker_has_alarms_of_its_own() -> None:
    config = {"listeners": {"default": {"type": "external"}}, "plugins": {}}
    one, other = Broker(config), Broker(config)
    one.alarms.activate(JOURNAL_NOT_WRITABLE, "The disk is full.")
    assert names(one.alarms) == ([JOURNAL_NOT_WRITABLE], [])
    assert names(other.alarms) == ([], [])
    assert JOURNAL_NOT_WRITABLE != SESSIONS_SET_ASIDE
