"""Who has what, found from both sides; and what several writes in one mean."""

import random

import pytest
from wardenmq.store.database import Statement
from wardenmq.store.memberships import Memberships, clamp, effect
from wardenmq.store.records import MAX_PRIORITY, NO_CHANGE, Change
from wardenmq.store.writer import Write, merge


@pytest.mark.parametrize("seed", range(20))
def test_both_sides_agree_with_a_list_of_pairs(seed: int) -> None:
    """A pair that is left over in one index would give somebody a role, or close sessions of strangers."""
    choose = random.Random(seed)
    memberships = Memberships()
    relation = memberships.roles
    pairs: dict[tuple[str, str], int] = {}
    people, things = [f"p{n}" for n in range(5)], [f"r{n}" for n in range(5)]
    for _ in range(200):
        left, right = choose.choice(people), choose.choice(things)
        match choose.randrange(8):
            case 0 | 1 | 2 | 3:
                pairs[left, right] = priority = choose.randrange(-2, 3)
                relation.put(left, right, priority)
            case 4 | 5:
                pairs.pop((left, right), None)
                relation.take(left, right)
            case 6:
                pairs = {pair: priority for pair, priority in pairs.items() if pair[0] != left}
                relation.forget_left(left)
            case _:
                pairs = {pair: priority for pair, priority in pairs.items() if pair[1] != right}
                relation.forget_right(right)
        for name in people:
            assert relation.of(name) == {pair[1]: priority for pair, priority in pairs.items() if pair[0] == name}
        for name in things:
            assert relation.with_(name) == {pair[0] for pair in pairs if pair[1] == name}
    for name in people:
        relation.forget_left(name)
    # Nothing is kept of what is settled, or names that come and go would fill the memory.
    assert (relation._right, relation._left) == ({}, {})


def filled() -> Memberships:
    """Have p1 with r1; p1 and p2 in g1, which has r1 and r2; p3 in g2, which has r2."""
    memberships = Memberships()
    memberships.roles.put("p1", "r1", 0)
    for group, principal in (("g1", "p1"), ("g1", "p2"), ("g2", "p3")):
        memberships.members.put(group, principal, 0)
    for group, role in (("g1", "r1"), ("g1", "r2"), ("g2", "r2")):
        memberships.group_roles.put(group, role, 0)
    return memberships


@pytest.mark.parametrize(
    ("role", "anonymous_group", "principals", "anonymous"),
    [
        ("r1", None, {"p1", "p2"}, False),
        ("r2", None, {"p1", "p2", "p3"}, False),
        ("r2", "g2", {"p1", "p2", "p3"}, True),
        ("r1", "g2", {"p1", "p2"}, False),
        ("r3", "g2", set[str](), False),
    ],
)
def test_a_role_concerns_those_who_have_it_in_any_way(
    role: str, anonymous_group: str | None, principals: set[str], anonymous: bool
) -> None:
    memberships = filled()
    memberships.anonymous_group = anonymous_group
    told = memberships.effect_on_holders(role, disconnect=False)
    assert told == Change(principals=frozenset(principals), anonymous=anonymous)
    closed = memberships.effect_on_holders(role, disconnect=True)
    # What is stored of them is checked again beside the closing.
    concerned = frozenset(principals)
    assert closed == Change(
        close_principals=concerned, close_anonymous=anonymous, principals=concerned, anonymous=anonymous
    )


def test_a_group_concerns_its_members_and_those_who_are_about_to_be_some() -> None:
    memberships = filled()
    assert memberships.effect_on_members("g1", disconnect=False) == effect(frozenset({"p1", "p2"}))
    memberships.anonymous_group = "g2"
    told = memberships.effect_on_members("g2", "p1", disconnect=True)
    both = frozenset({"p1", "p3"})
    assert told == Change(close_principals=both, close_anonymous=True, principals=both, anonymous=True)


def test_what_is_forgotten_is_in_none_of_the_relations() -> None:
    memberships = filled()
    memberships.forget_principal("p1")
    assert memberships.groups_of("p1") == {}
    assert memberships.roles.of("p1") == {}
    assert memberships.groups_of("p2") == {"g1": 0}
    memberships.forget_role("r2")
    assert memberships.group_roles.of("g2") == {}
    assert memberships.group_roles.of("g1") == {"r1": 0}
    memberships.without_group("g1")()
    assert memberships.groups_of("p2") == {}
    assert memberships.group_roles.with_("r1") == frozenset()
    memberships.roles.put("p3", "r1", 0)
    memberships.forget_role("r1")
    assert memberships.roles.of("p3") == {}


@pytest.mark.parametrize(
    ("priority", "clamped"),
    [
        (0, 0),
        (-1, -1),
        (MAX_PRIORITY, MAX_PRIORITY),
        (MAX_PRIORITY + 1, MAX_PRIORITY),
        (-MAX_PRIORITY, -MAX_PRIORITY),
        (-MAX_PRIORITY - 1, -MAX_PRIORITY),
        (2**80, MAX_PRIORITY),
    ],
)
def test_priorities_are_kept_within_bounds(priority: int, clamped: int) -> None:
    assert clamp(priority) == clamped


def test_several_changes_in_one_concern_all_whom_one_of_them_concerns() -> None:
    one, two = frozenset({"1"}), frozenset({"2"})
    first = Change(
        one,
        one,
        banned_client_ids=one,
        banned_usernames=one,
        required_client_ids={"1": "b", "2": "b"},
        reserved_client_ids={"b": "1"},
        principals=one,
        usernames=one,
        valid_until={"1": 1.0},
    )
    second = Change(
        two,
        two,
        close_anonymous=True,
        banned_client_ids=two,
        banned_usernames=two,
        principals=two,
        required_client_ids={"1": "c"},
        reserved_client_ids={"c": "2"},
        usernames=two,
        client_ids=two,
        anonymous=True,
        everyone=True,
        valid_until={"1": 2.0, "2": None},
    )
    both = one | two
    expected = Change(
        both,
        both,
        close_anonymous=True,
        banned_client_ids=both,
        banned_usernames=both,
        principals=both,
        required_client_ids={"1": "c", "2": "b"},
        reserved_client_ids={"b": "1", "c": "2"},
        usernames=both,
        client_ids=two,
        anonymous=True,
        everyone=True,
        valid_until={"1": 2.0, "2": None},
    )
    assert merge(first, second) == expected
    assert merge(second, NO_CHANGE) == merge(NO_CHANGE, second) == second
    assert merge(NO_CHANGE) == NO_CHANGE


def test_a_ban_by_test_is_not_lost_beside_other_changes() -> None:
    def test(client_id: str, username: str | None, peer_host: str) -> bool:
        return True

    assert merge(Change(banned=test), NO_CHANGE).banned is test
    assert merge(NO_CHANGE, Change(banned=test), Change(everyone=True)).banned is test


def test_joined_writes_are_one_write_in_their_order() -> None:
    applied: list[str] = []

    def write(name: str) -> Write[None]:
        change = Change(principals=frozenset({name}))
        return Write(
            name,
            name,
            [Statement(name, [()])],
            lambda: applied.append(name),
            None,
            change,
            detail={name: 1, "last": name},
        )

    joined = write("a").followed_by(write("b"), write("c"))
    assert (joined.action, joined.target, applied) == ("a", "a", [])
    assert [statement.sql for statement in joined.statements] == ["a", "b", "c"]
    assert joined.change == Change(principals=frozenset("abc"))
    assert joined.detail == {"a": 1, "b": 1, "c": 1, "last": "c"}
    joined.apply()
    assert applied == ["a", "b", "c"]
    assert not joined.derived
