"""The fair queue: turns of groups, order within them, and who makes room."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st
from wardenmq.store.credentials.fair_queue import FairQueue


def filled(*groups: str) -> FairQueue[str]:
    """Put in items that are named by group and number: `a0`, `a1`, `b0`."""
    queue: FairQueue[str] = FairQueue()
    numbers: dict[str, int] = defaultdict(int)
    for group in groups:
        queue.put(group, f"{group}{numbers[group]}")
        numbers[group] += 1
    return queue


def drained(queue: FairQueue[str]) -> str:
    items: list[str] = []
    while (item := queue.take()) is not None:
        items.append(item)
    return " ".join(items)


def test_groups_are_served_by_turns_and_in_order_within() -> None:
    assert drained(filled(*"aaaabbc")) == "a0 b0 c0 a1 b1 a2 a3"


def test_a_newcomer_waits_for_one_item_of_every_other_group() -> None:
    queue = filled(*"a" * 1_000, *"b" * 1_000)
    assert [queue.take(), queue.take(), queue.take()] == ["a0", "b0", "a1"]
    queue.put("c", "late")
    assert [queue.take(), queue.take(), queue.take()] == ["b1", "a2", "late"]


def test_leaving_and_coming_back_gains_nothing() -> None:
    queue = filled("a", "b", "c")
    assert queue.take() == "a0"
    queue.put("a", "again")
    assert drained(queue) == "b0 c0 again"
    queue = filled("a", "b")
    queue.remove("a", "a0")
    queue.put("a", "again")
    assert drained(queue) == "b0 again"


def test_the_newest_of_the_longest_line_makes_room() -> None:
    queue = filled(*"aabbbc")
    assert queue.displace("new") == "b2"
    # Where several are as long, only somebody of a shorter line displaces one.
    assert queue.displace("a") is None
    assert queue.displace("b") is None
    assert queue.displace("c") in ("a1", "b1")
    assert queue.displace("c") in ("a1", "b1")
    assert queue.displace("c") is None
    assert queue.displace("new") is not None
    assert len(queue) == 2


def test_an_empty_queue_has_nothing_to_give() -> None:
    queue: FairQueue[str] = FairQueue()
    assert queue.take() is None
    assert queue.displace("a") is None
    queue.remove("a", "nothing")
    queue.put("a", "one")
    queue.remove("a", "other")
    queue.remove("b", "one")
    assert len(queue) == 1
    assert queue.take() == "one"


@given(
    st.lists(st.tuples(st.sampled_from(["put", "put", "put", "take", "remove", "displace"]), st.sampled_from("abcd")))
)
def test_it_does_what_a_plain_list_does(steps: list[tuple[str, str]]) -> None:
    queue: FairQueue[int] = FairQueue()
    lines: dict[str, list[int]] = {}  # in the order of their turns
    for number, (step, group) in enumerate(steps):
        match step:
            case "put":
                queue.put(group, number)
                lines.setdefault(group, []).append(number)
            case "take":
                expected = None
                if lines:
                    first = next(iter(lines))
                    line = lines.pop(first)
                    expected = line.pop(0)
                    lines[first] = line
                assert queue.take() == expected
            case "remove":
                item = lines.get(group, [-1])[len(lines.get(group, [-1])) // 2]
                queue.remove(group, item)
                if group in lines:
                    lines[group].remove(item)
            case _:
                longest = max(map(len, lines.values()), default=0)
                item = queue.displace(group)
                if item is None:
                    assert len(lines.get(group, [])) == longest
                else:
                    [loser] = [name for name, line in lines.items() if item in line]
                    assert len(lines[loser]) == longest > len(lines.get(group, []))
                    assert lines[loser].pop() == item
        lines = {name: line for name, line in lines.items() if line}
        assert len(queue) == sum(map(len, lines.values()))
