"""The login limiter: who is suspected, who never is, and what it remembers."""

import pytest
from wardenmq.store.credentials.login_limiter import LoginLimiter
from wardenmq.store.networks import network_of

HERE, THERE = "192.0.2.1", "198.51.100.7"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> LoginLimiter:
    return LoginLimiter(clock, 5, size=100)


def suspect(limiter: LoginLimiter, address: str, *names: str) -> bool:
    return limiter.suspect(network_of(address), names)


def fail(limiter: LoginLimiter, address: str, *names: str, times: int = 1) -> None:
    for _ in range(times):
        limiter.failed(network_of(address), names)


def succeed(limiter: LoginLimiter, address: str, *names: str) -> None:
    limiter.succeeded(network_of(address), names)


def test_a_name_is_suspect_after_so_many_failures_from_anywhere(limiter: LoginLimiter) -> None:
    for number in range(5):
        assert not suspect(limiter, f"192.0.2.{number}", "alice")
        fail(limiter, f"192.0.2.{number}", "alice")
    assert suspect(limiter, "203.0.113.1", "alice")
    assert not suspect(limiter, "203.0.113.1", "bob")


def test_an_address_is_suspect_after_so_many_failures_under_any_name(limiter: LoginLimiter) -> None:
    for number in range(50):
        assert not suspect(limiter, HERE, f"user {number}")
        fail(limiter, HERE, f"user {number}")
    assert suspect(limiter, HERE, "alice")
    assert not suspect(limiter, THERE, "alice")


def test_who_was_there_before_is_not_suspect_for_what_others_do(limiter: LoginLimiter) -> None:
    succeed(limiter, HERE, "alice")
    fail(limiter, THERE, "alice", times=1_000)
    fail(limiter, HERE, "mallory", times=1_000)
    assert not suspect(limiter, HERE, "alice")
    # The same name from elsewhere and another name from here are.
    assert suspect(limiter, THERE, "alice")
    assert suspect(limiter, "203.0.113.1", "alice")
    assert suspect(limiter, HERE, "bob")


def test_who_was_there_before_has_a_budget_too(limiter: LoginLimiter) -> None:
    succeed(limiter, HERE, "alice")
    fail(limiter, HERE, "alice", times=5)
    assert suspect(limiter, HERE, "alice")
    fail(limiter, HERE, "alice")
    # Only what goes beyond it counts for others: five of alice's own mistakes make nobody else wait.
    assert not suspect(limiter, THERE, "alice")
    succeed(limiter, THERE, "alice")
    fail(limiter, HERE, "alice", times=60)
    assert suspect(limiter, "203.0.113.1", "alice")
    assert suspect(limiter, HERE, "bob")


def test_a_login_of_ones_own_wipes_out_no_guesses(limiter: LoginLimiter) -> None:
    for _ in range(5):
        fail(limiter, HERE, "alice")
        succeed(limiter, HERE, "mallory")
    assert suspect(limiter, HERE, "alice")
    for number in range(45):
        fail(limiter, HERE, f"user {number}")
        succeed(limiter, HERE, "mallory")
    assert suspect(limiter, HERE, "bob")
    assert not suspect(limiter, HERE, "mallory")


def test_half_is_forgotten_each_minute(limiter: LoginLimiter, clock: Clock) -> None:
    fail(limiter, HERE, "alice", times=16)
    assert suspect(limiter, HERE, "alice")
    fail(limiter, HERE, "alice")
    clock.now += 60  # 8.5 are left
    assert suspect(limiter, THERE, "alice")
    clock.now += 60  # 4.25
    assert not suspect(limiter, THERE, "alice")


def test_a_burst_is_as_many_failures_as_it_has(limiter: LoginLimiter, clock: Clock) -> None:
    for _ in range(5):
        fail(limiter, HERE, "alice")
        clock.now += 0.5
    assert suspect(limiter, HERE, "alice")


def test_a_clock_that_is_set_back_forgets_and_adds_nothing(limiter: LoginLimiter, clock: Clock) -> None:
    fail(limiter, HERE, "alice", times=4)
    clock.now -= 1_000_000
    assert not suspect(limiter, HERE, "alice")
    fail(limiter, HERE, "alice")
    assert suspect(limiter, HERE, "alice")


def test_attempts_under_way_make_nobody_suspect(limiter: LoginLimiter) -> None:
    """After a restart a whole fleet comes at once, maybe under one name or from one address."""
    for number in range(1_000):
        assert not suspect(limiter, f"192.0.2.{number % 250}", "shared")
        assert not suspect(limiter, HERE, f"user {number}")
    # Nor is anything kept of those who only asked.
    assert [len(table) for table in (limiter._networks, limiter._names, limiter._proved)] == [0, 0, 0]


def test_each_name_of_an_attempt_is_charged_and_judged(limiter: LoginLimiter) -> None:
    """Whichever of them is a login, or none is."""
    for number in range(5):
        fail(limiter, f"192.0.2.{number}", f"u:made up {number}", "c:device")
    assert suspect(limiter, THERE, "u:made up again", "c:device")
    assert suspect(limiter, THERE, "c:device")
    assert not suspect(limiter, THERE, "u:made up again", "c:other")
    for number in range(5):
        fail(limiter, f"192.0.2.{number}", "u:alice", f"c:made up {number}")
    assert suspect(limiter, THERE, "u:alice", "c:made up again")
    assert not suspect(limiter, THERE, "c:alice")


def test_an_attempt_without_any_name_is_charged_to_its_network(limiter: LoginLimiter) -> None:
    fail(limiter, HERE, times=50)
    succeed(limiter, HERE)
    assert suspect(limiter, HERE)
    assert not suspect(limiter, THERE)


def test_what_was_proved_excuses_no_guess_at_another_login(limiter: LoginLimiter) -> None:
    # A login by user name, whatever client id comes with it.
    succeed(limiter, HERE, "u:alice")
    # A login by client id, which the user name beside it belongs to.
    succeed(limiter, HERE, "u:any", "c:device")
    fail(limiter, HERE, "u:x", times=50)
    for excused in (("u:alice",), ("u:alice", "c:1"), ("u:alice", "c:device"), ("u:any", "c:device")):
        assert not suspect(limiter, HERE, *excused)
    for names in (("c:device",), ("u:bob", "c:device"), ("u:any",), ("u:any", "c:other"), ("c:alice",)):
        assert suspect(limiter, HERE, *names)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:0DB8:0001:0002::2", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", True),
        ("2001:db8:1:2::1", "2001:db8:2:2::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("", "", True),
        ("", "192.0.2.1", False),
        ("", "/run/broker.sock", True),
    ],
)
def test_what_counts_as_one_address(limiter: LoginLimiter, one: str, other: str, same: bool) -> None:
    for number in range(50):
        fail(limiter, one, f"user {number}")
    assert suspect(limiter, other, "alice") is same


def test_success_is_known_by_network_as_well(limiter: LoginLimiter) -> None:
    """Privacy extensions give a client another address each day."""
    succeed(limiter, "2001:db8:1:2::1", "alice")
    fail(limiter, THERE, "alice", times=100)
    assert not suspect(limiter, "2001:db8:1:2::aaaa", "alice")


def test_what_is_remembered_is_bounded_and_short(clock: Clock) -> None:
    limiter = LoginLimiter(clock, 5, size=10)
    fail(limiter, THERE, "early", times=5)
    succeed(limiter, THERE, "early too")
    for number in range(50):
        fail(limiter, f"192.0.2.{number}", f"{number}" * 60_000)
        succeed(limiter, f"192.0.2.{number}", f"friend {number}")
    tables = (limiter._networks, limiter._names, limiter._proved)
    assert [len(table) for table in tables] == [10, 10, 10]
    assert max(len(key) for table in tables for key in table._tallies) < 100
    # The one that was not heard of for longest is forgotten first.
    assert not suspect(limiter, "203.0.113.1", "early")
    fail(limiter, HERE, "alice", times=5)
    for number in range(200):
        fail(limiter, f"198.51.100.{number}", f"user {number}")
        assert suspect(limiter, "203.0.113.1", "alice")


def test_any_text_is_a_name(limiter: LoginLimiter) -> None:
    for name in ("", "\ud800", "\0", "grün"):
        fail(limiter, HERE, name, times=4)
        assert not suspect(limiter, THERE, name)
        fail(limiter, THERE, name)
        assert suspect(limiter, "203.0.113.1", name)


def test_nobody_is_suspect_where_it_is_off(clock: Clock) -> None:
    limiter = LoginLimiter(clock, 0)
    fail(limiter, HERE, "alice", times=10_000)
    assert not suspect(limiter, HERE, "alice")
    succeed(limiter, HERE, "alice")
    assert [len(table) for table in (limiter._networks, limiter._names, limiter._proved)] == [0, 0, 0]
