"""Things in the order in which they are due, against a sorted list."""

from dataclasses import dataclass
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.broker import due_order
from wardenmq.broker.due_order import DueOrder


@dataclass(frozen=True)
class Thing:
    due: float
    number: int


def ordered(things: dict[int, Thing]) -> list[Thing]:
    return sorted(things.values(), key=lambda thing: (thing.due, thing.number))


STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 40)), max_size=120)


@given(STEPS)
def test_it_is_a_sorted_list(steps: list[tuple[bool, int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(due_order, "_CHUNK", 3)
        order: DueOrder[Thing] = DueOrder()
        known: dict[int, Thing] = {}
        for adds, due, number in steps:
            if adds and number not in known:
                known[number] = Thing(due / 2, number)
                order.add(known[number])
            elif not adds and number in known:
                order.remove(known.pop(number))
            wanted = ordered(known)
            assert len(order) == len(wanted)
            assert order.first == (wanted[0] if wanted else None)
            for place in (0, 1, len(wanted) // 2, len(wanted), len(wanted) + 3):
                assert list(order.from_place(place)) == wanted[place:]
        order.clear()
        assert (len(order), order.first, list(order.from_place(0))) == (0, None, [])


def test_many_of_one_time_keep_their_order() -> None:
    order: DueOrder[Thing] = DueOrder()
    for number in range(5_000):
        order.add(Thing(1.0, number))
    assert [thing.number for thing in order.from_place(4_990)] == list(range(4_990, 5_000))
    taken: list[int] = []
    while (first := order.first) is not None:
        order.remove(first)
        taken.append(first.number)
    assert taken == list(range(5_000))


def test_a_walk_bears_changes() -> None:
    """What is there all the while comes once, in order."""
    order: DueOrder[Thing] = DueOrder()
    things = [Thing(float(number), number) for number in range(3_000)]
    for thing in things:
        order.add(thing)
    walk = order.from_place(0)
    seen = list(islice(walk, 1_000))
    for thing in things[:1_500]:
        order.remove(thing)
    for number in range(10_000, 10_700):
        order.add(Thing(2_000.5, number))
    seen += walk
    assert seen == sorted(seen, key=lambda thing: (thing.due, thing.number))
    assert len(set(seen)) == len(seen)
    assert set(things[1_500:]) <= set(seen)
