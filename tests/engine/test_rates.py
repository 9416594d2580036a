"""Token buckets against the promise that they make: never more than the burst and the rate in any stretch of time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.broker.rates import AddressRates, TokenBucket

STEPS = st.floats(0, 3, allow_nan=False)


def test_begins_full_and_fills_again() -> None:
    bucket = TokenBucket(rate=2, burst=4)
    assert [bucket.allow(1, 100.0) for _ in range(5)] == [True] * 4 + [False]
    assert bucket.allow(1, 100.4) is False
    assert bucket.allow(1, 100.5) is True
    assert [bucket.allow(1, 1_000.0) for _ in range(5)] == [True] * 4 + [False]


def test_what_is_refused_costs_nothing() -> None:
    bucket = TokenBucket(rate=1, burst=3)
    assert bucket.allow(4, 0.0) is False
    assert bucket.allow(3, 0.0) is True


def test_a_debt_is_paid_in_time() -> None:
    bucket = TokenBucket(rate=10, burst=5)
    assert bucket.take(5, 0.0) == 0.0
    assert bucket.take(20, 0.0) == 2.0
    assert bucket.take(0, 1.5) == 0.5
    assert bucket.take(10, 1.5) == 1.5
    assert bucket.take(0, 3.0) == 0.0
    assert bucket.allow(1, 3.0) is False
    assert bucket.allow(1, 3.125) is True


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(rate=1, burst=1)
    assert bucket.allow(1, 100.0) is True
    assert bucket.allow(1, 50.0) is False
    assert bucket.allow(1, 100.0) is False
    assert bucket.allow(1, 101.0) is True


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (1, 0), (-1, 1), (1, -1)])
def test_refuses_a_rate_that_allows_nothing(rate: float, burst: float) -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        TokenBucket(rate, burst)


@given(st.floats(0.1, 100), st.floats(1, 100), st.lists(st.tuples(STEPS, st.floats(0.1, 10)), min_size=1, max_size=30))
def test_no_stretch_of_time_gets_more_than_burst_and_rate(
    rate: float, burst: float, steps: list[tuple[float, float]]
) -> None:
    bucket = TokenBucket(rate, burst)
    now, allowed = 0.0, list[tuple[float, float]]()
    for pause, amount in steps:
        now += pause
        if bucket.allow(amount, now):
            allowed.append((now, amount))
    for first, (begin, _) in enumerate(allowed):
        total = 0.0
        for end, amount in allowed[first:]:
            total += amount
            assert total <= burst + rate * (end - begin) + 1e-6


@given(st.floats(0.1, 100), st.floats(1, 100), st.lists(st.floats(0.1, 500), min_size=1, max_size=20))
def test_who_waits_as_told_keeps_to_the_rate(rate: float, burst: float, amounts: list[float]) -> None:
    bucket = TokenBucket(rate, burst)
    now = total = 0.0
    for amount in amounts:
        total += amount
        wait = bucket.take(amount, now)
        assert (wait > 0) is (total > burst + rate * now + 1e-6) or abs(total - burst - rate * now) < 1e-3
        now += wait
        assert total <= burst + rate * now + 1e-3


def test_each_address_has_a_share_of_its_own() -> None:
    rates = AddressRates(rate=1, burst=2)
    assert [rates.allow("a", 0.0) for _ in range(3)] == [True, True, False]
    assert [rates.allow("b", 0.0) for _ in range(3)] == [True, True, False]
    assert rates.allow("a", 1.0) is True


def test_remembers_the_addresses_seen_last() -> None:
    rates = AddressRates(rate=1, burst=1, max_addresses=2)
    assert rates.allow("a", 0.0) is True
    assert rates.allow("b", 0.0) is True
    assert rates.allow("a", 0.0) is False  # refused, but seen
    assert rates.allow("c", 0.0) is True
    assert len(rates) == 2
    assert rates.allow("a", 0.0) is False
    assert rates.allow("b", 0.0) is True  # had fallen out


@given(st.lists(st.integers(0, 50), max_size=200), st.integers(1, 10))
def test_the_map_is_bounded(addresses: list[int], room: int) -> None:
    rates = AddressRates(1, 1, room)
    for address in addresses:
        rates.allow(str(address), 0.0)
        assert len(rates) <= room
    assert len(rates) == min(room, len(set(addresses)))


def test_refuses_a_map_without_room() -> None:
    with pytest.raises(ValueError, match="room"):
        AddressRates(1, 1, 0)
