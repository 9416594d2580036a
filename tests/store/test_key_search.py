"""Keys between two others: always in between, and near enough to meet what is left."""

from collections.abc import Iterator
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.store.key_search import Key, between

NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1)
TEXTS = st.text(max_size=40).map(str.encode)
KINDS = [(int,), (bytes,), (int, int), (int, bytes), (bytes, bytes), (bytes, int)]
MOST = 100_000


def parts(kind: type) -> st.SearchStrategy[int] | st.SearchStrategy[bytes]:
    return NUMBERS if kind is int else TEXTS


@st.composite
def ends(draw: st.DrawFn) -> tuple[Key | None, Key | None, tuple[type, ...]]:
    kinds = draw(st.sampled_from(KINDS))
    one, other = (draw(st.tuples(*map(parts, kinds))) for _ in range(2))
    low, high = sorted((one, other))
    return draw(st.sampled_from([low, None])), draw(st.sampled_from([high, None])), kinds


@given(ends())
def test_candidates_lie_between(given_ends: tuple[Key | None, Key | None, tuple[type, ...]]) -> None:
    low, high, kinds = given_ends
    candidates = list(islice(between(low, high, kinds), MOST))
    assert len(candidates) < MOST
    for key in candidates:
        assert low is None or low < key
        assert high is None or key < high
        assert len(key) == len(kinds)
        for part, kind in zip(key, kinds, strict=True):
            assert isinstance(part, kind)
            assert kind is bytes or -(1 << 63) <= part < 1 << 63  # type: ignore[operator]


def test_few_numbers_are_all_tried() -> None:
    assert sorted(between((10,), (20,), (int,))) == [(number,) for number in range(11, 20)]
    assert list(between((10,), (11,), (int,))) == []
    assert list(between((7, 3), (7, 5), (int, int))) == [(7, 4)]


def meets(candidates: Iterator[Key], first: Key, last: Key) -> bool:
    return any(first <= key <= last for key in candidates)


@pytest.mark.parametrize("damaged", [1, 30, 1_000, 100_000])
@pytest.mark.parametrize("left", [0.12, 1.0])
def test_what_is_left_behind_the_damage_is_met(damaged: int, left: float) -> None:
    """From below and from above, however much lies beyond it."""
    size = max(1, int(damaged * left))
    for low, high in (((5,), (1 << 60,)), ((5,), None)):
        assert meets(between(low, high, (int,)), (5 + damaged,), (5 + damaged + size,))
    for low, high in (((-(1 << 60),), (5,)), ((0,), (1 << 40,))):
        end = (high or (0,))[0] - damaged
        assert meets(between(low, high, (int,)), (end - size,), (end,))
    assert meets(between((3, 5), (9, 5), (int, int)), (3, 5 + damaged), (3, 5 + damaged + size))
    assert meets(between((3, 5), (4, 1 << 50), (int, int)), (4, (1 << 50) - damaged - size), (4, (1 << 50) - damaged))


def test_a_session_in_between_is_met() -> None:
    for number in range(4, 50):
        assert meets(between((3, 70), (50, 2), (int, int)), (number, -(1 << 63)), (number, 1_000))


def test_where_nothing_is_known_small_numbers_are_met() -> None:
    candidates = list(between(None, None, (int,)))
    for size in (1, 100, 10_000, 1_000_000):
        assert any(size <= number <= size * 12 // 10 for (number,) in candidates)


@pytest.mark.parametrize(
    ("low", "damaged", "left", "high"),
    [
        ("sensors/0123/a", "sensors/0123/zz", "sensors/0124/a", "sensors/0456/z"),
        ("sensors/0123/a", "sensors/0199/zz", "sensors/0200/z", "sensors/0456/z"),
        ("sensors/0123/a", "sensors/0454/a", "sensors/0455/a", "sensors/0456/z"),
        ("sensors/a", "sensors/z", "shelves", "trains/z"),
        ("sensors/a", "trains/", "trains/m", "trains/z"),
        ("", "c", "m", "z"),
    ],
)
def test_texts_are_met(low: str, damaged: str, left: str, high: str) -> None:
    """Whoever reads upwards from a candidate above the damage comes to what is left."""
    first, last, begin, end = damaged.encode() + b"\0", left.encode(), low.encode(), high.encode()
    assert meets(between((begin,), (end,), (bytes,)), (first,), (last,))
    assert meets(between((7, begin), (7, end), (int, bytes)), (7, first), (7, last))
