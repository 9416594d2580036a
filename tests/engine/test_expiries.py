"""When to look at what ends: every key in time, and nothing kept of keys that are settled."""

import gc

from hypothesis import given
from hypothesis import strategies as st
from wardenmq.broker.expiries import Expiries

STALE = 300
"""Entries that may be left over whatever the number of keys."""


class Key:
    """A key that is nothing but itself."""


def test_keys_come_when_their_time_has_come_earliest_first() -> None:
    expiries: Expiries[str] = Expiries()
    for key, at in (("c", 30.0), ("a", 10.0), ("b", 20.0), ("late", 31.0)):
        expiries.schedule(key, at)
    assert list(expiries.due(9.9)) == []
    assert list(expiries.due(30.0)) == ["a", "b", "c"]
    assert list(expiries.due(30.0)) == []
    assert list(expiries.due(100.0)) == ["late"]
    assert len(expiries) == 0


def test_the_earliest_time_that_was_said_holds() -> None:
    """Who looks too early says again when to look; looking too late would not do."""
    expiries: Expiries[str] = Expiries()
    for at in (50.0, 20.0, 70.0):
        expiries.schedule("key", at)
    assert list(expiries.due(19.0)) == []
    assert list(expiries.due(60.0)) == ["key"]
    assert list(expiries.due(100.0)) == []


def test_a_key_that_is_cancelled_does_not_come() -> None:
    expiries: Expiries[str] = Expiries()
    expiries.schedule("gone", 10.0)
    expiries.schedule("stays", 10.0)
    expiries.cancel("gone")
    expiries.cancel("gone")
    expiries.cancel("never known")
    assert list(expiries.due(10.0)) == ["stays"]
    expiries.schedule("gone", 20.0)
    assert list(expiries.due(20.0)) == ["gone"]


def test_a_key_that_is_cancelled_and_put_off_comes_at_its_new_time() -> None:
    """What a cancelled time left behind neither wakes anybody early nor doubles the key."""
    expiries: Expiries[str] = Expiries()
    expiries.schedule("key", 10.0)
    expiries.cancel("key")
    expiries.schedule("key", 20.0)
    assert list(expiries.due(15.0)) == []
    assert list(expiries.due(20.0)) == ["key"]


def test_cancelling_leaves_nothing_of_many_keys() -> None:
    """A client that sets and clears without end costs no more than one that does it once."""
    expiries: Expiries[Key] = Expiries()
    keys = [Key() for _ in range(5_000)]
    for key in keys:
        expiries.schedule(key, 1e9)
    assert len(expiries) == 5_000
    for key in keys:
        expiries.cancel(key)
    assert len(expiries) <= STALE
    keys.clear()
    del key
    gc.collect()
    assert sum(type(found) is Key for found in gc.get_objects()) <= STALE


def test_setting_and_clearing_in_turn_stays_bounded() -> None:
    expiries: Expiries[str] = Expiries()
    for number in range(5_000):
        expiries.schedule(f"key {number}", 1e9)
        expiries.cancel(f"key {number}")
        assert len(expiries) <= STALE


def test_bringing_one_key_forward_again_and_again_stays_bounded() -> None:
    expiries: Expiries[str] = Expiries()
    for number in range(5_000):
        expiries.schedule("key", 1e6 - number)
        assert len(expiries) <= STALE
    assert list(expiries.due(1e9)) == ["key"]


def test_a_key_may_be_scheduled_and_others_cancelled_while_due_ones_are_taken() -> None:
    """Who takes a key out clears others with it, so many that the rest is sorted anew meanwhile."""
    expiries: Expiries[int] = Expiries()
    for number in range(2_000):
        expiries.schedule(number, float(number))
    seen: list[int] = []
    for number in expiries.due(1_999.0):
        seen.append(number)
        if number == 0:
            for other in range(1, 1_990):
                expiries.cancel(other)
        if number == 1_995:
            expiries.schedule(number, 5_000.0)
    assert seen == [0, *range(1_990, 2_000)]
    assert len(expiries) == 1
    assert list(expiries.due(5_000.0)) == [1_995]


STEPS = st.lists(
    st.tuples(st.sampled_from(["schedule", "cancel", "due"]), st.integers(0, 5), st.integers(0, 20)), max_size=60
)


@given(STEPS)
def test_agrees_with_a_plain_table(steps: list[tuple[str, int, int]]) -> None:
    expiries: Expiries[int] = Expiries()
    table: dict[int, float] = {}
    for step, key, at in steps:
        if step == "schedule":
            expiries.schedule(key, at)
            table[key] = min(at, table.get(key, at))
        elif step == "cancel":
            expiries.cancel(key)
            table.pop(key, None)
        else:
            found = list(expiries.due(at))
            assert sorted(found) == sorted(key for key, when in table.items() if when <= at)
            times = [table.pop(key) for key in found]
            assert times == sorted(times)
