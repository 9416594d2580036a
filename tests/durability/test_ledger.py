"""The crash tests' own judgement: each thing that a server may not do is seen, and nothing else is."""

import pytest

from .ledger import SMALLEST, Audience, Key, Ledger, Publication, Reception, key_of, payload_of

FIRST, SECOND, THIRD = Key(0, 1), Key(0, 2), Key(0, 3)


def sent(ledger: Ledger, key: Key, *, topic: str = "t", size: int = 40, qos: int = 1, done: bool = True) -> Publication:
    publication = ledger.publish(key, topic, size, qos, retain=topic.startswith("r"))
    if done:
        ledger.acknowledge(publication)
    return publication


def got(ledger: Ledger, audience: Audience, key: Key, *, qos: int = 1, topic: str = "t", at: int = 1) -> None:
    payload = ledger.publications[key].payload
    ledger.receive(audience, payload, topic, Reception(0, audience.name, at, 1, qos))


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def audience(ledger: Ledger) -> Audience:
    """Give a subscriber to `t` at QoS 2, from the beginning on."""
    audience = ledger.audience("s", {"t": 2})
    audience.subscribed(ledger.tick())
    return audience


def test_payloads_are_all_different_and_tell_whose_they_are() -> None:
    payloads = {payload_of(Key(p, n), size) for p in range(3) for n in range(50) for size in (SMALLEST, 64, 1_000)}
    assert len(payloads) == 450
    for size in (SMALLEST, 63, 64, 65, 20_000):
        payload = payload_of(Key(65_535, 2**32 - 1), size)
        assert len(payload) == size
        assert key_of(payload) == (65_535, 2**32 - 1)
    assert payload_of(FIRST, 0) == b""


# -- what was acknowledged and must arrive


def test_what_arrived_is_not_missing(ledger: Ledger, audience: Audience) -> None:
    sent(ledger, FIRST)
    got(ledger, audience, FIRST)
    ledger.assert_kept()
    assert not audience.lacking


def test_what_was_acknowledged_and_did_not_arrive_is_missing(ledger: Ledger, audience: Audience) -> None:
    publication = sent(ledger, FIRST)
    assert ledger.missing(audience) == [publication] == [*audience.lacking.values()]
    with pytest.raises(AssertionError, match="s lacks 1"):
        ledger.assert_kept()


def test_what_was_not_acknowledged_may_be_lost(ledger: Ledger, audience: Audience) -> None:
    sent(ledger, FIRST, done=False)
    assert not ledger.all_acknowledged
    ledger.assert_kept()


def test_it_may_arrive_before_it_is_acknowledged(ledger: Ledger, audience: Audience) -> None:
    publication = sent(ledger, FIRST, done=False)
    got(ledger, audience, FIRST)
    ledger.acknowledge(publication)
    assert ledger.all_acknowledged
    assert not audience.lacking
    ledger.assert_kept()


def test_what_was_sent_before_the_subscription_or_elsewhere_is_not_owed(ledger: Ledger) -> None:
    audience = ledger.audience("s", {"t/+": 1})
    early = sent(ledger, FIRST, topic="t/1", done=False)
    audience.subscribed(ledger.tick())
    ledger.acknowledge(early)
    sent(ledger, SECOND, topic="u/1")
    assert ledger.missing(audience) == [] == [*audience.lacking]
    sent(ledger, THIRD, topic="t/2")
    assert [one.key for one in ledger.missing(audience)] == [THIRD] == [*audience.lacking]


def test_who_unsubscribes_is_owed_nothing_more(ledger: Ledger, audience: Audience) -> None:
    sent(ledger, FIRST)
    audience.left()
    sent(ledger, SECOND)
    audience.subscribed(ledger.tick())
    sent(ledger, THIRD)
    assert [one.key for one in ledger.missing(audience)] == [THIRD] == [*audience.lacking]


def test_nothing_is_acknowledged_twice(ledger: Ledger) -> None:
    publication = sent(ledger, FIRST)
    with pytest.raises(AssertionError, match="acknowledged twice"):
        ledger.acknowledge(publication)


# -- what may not arrive


def test_nothing_comes_that_was_not_sent(ledger: Ledger, audience: Audience) -> None:
    for payload in (payload_of(FIRST, 40), b"short"):
        with pytest.raises(AssertionError, match=r"never sent|nobody sent"):
            ledger.receive(audience, payload, "t", Reception(0, "s", 1, 1, 1))


def test_nothing_is_altered(ledger: Ledger, audience: Audience) -> None:
    payload = sent(ledger, FIRST).payload
    for altered in (payload[:-1], payload + b"\0", payload[:20] + b"\0" + payload[21:]):
        with pytest.raises(AssertionError, match="altered"):
            ledger.receive(audience, altered, "t", Reception(0, "s", 1, 1, 1))
    with pytest.raises(AssertionError, match="got Publication"):
        ledger.receive(audience, payload, "u", Reception(0, "s", 1, 1, 1))


@pytest.mark.parametrize(("published", "granted", "right"), [(1, 2, 1), (2, 1, 1), (2, 2, 2)])
def test_the_qos_is_the_lower_of_the_two(ledger: Ledger, published: int, granted: int, right: int) -> None:
    audience = ledger.audience("s", {"t": granted})
    sent(ledger, FIRST, qos=published)
    with pytest.raises(AssertionError, match="Reception"):
        got(ledger, audience, FIRST, qos=3 - right)
    got(ledger, audience, FIRST, qos=right)


def test_qos_2_comes_once(ledger: Ledger, audience: Audience) -> None:
    sent(ledger, FIRST, qos=2)
    got(ledger, audience, FIRST, qos=2)
    with pytest.raises(AssertionError, match="twice"):
        got(ledger, audience, FIRST, qos=2, at=2)


def test_qos_2_comes_once_to_all_members_of_a_group(ledger: Ledger) -> None:
    audience = ledger.audience("g", {"t": 2}, shared=True)
    assert ledger.audience("g", {"t": 2}, shared=True) is audience
    sent(ledger, FIRST, qos=2)
    ledger.receive(audience, payload_of(FIRST, 40), "t", Reception(0, "member-0", 1, 1, 2))
    with pytest.raises(AssertionError, match="twice"):
        ledger.receive(audience, payload_of(FIRST, 40), "t", Reception(0, "member-1", 1, 1, 2))


def test_nothing_comes_once_everything_has_come(ledger: Ledger, audience: Audience) -> None:
    sent(ledger, FIRST)
    got(ledger, audience, FIRST)
    ledger.close()
    with pytest.raises(AssertionError, match="nothing was owed"):
        got(ledger, audience, FIRST)


def test_nothing_comes_that_was_sent_between_two_subscriptions(ledger: Ledger, audience: Audience) -> None:
    before = sent(ledger, Key(1, 1), done=False)
    audience.begin_gap(ledger.tick())
    inside = sent(ledger, FIRST)
    late = sent(ledger, SECOND, done=False)
    with pytest.raises(AssertionError, match="not subscribed"):
        got(ledger, audience, FIRST)
    audience.end_gap(ledger.tick())
    ledger.acknowledge(before)
    ledger.acknowledge(late)
    sent(ledger, THIRD)
    with pytest.raises(AssertionError, match="not subscribed"):
        got(ledger, audience, inside.key)
    for key in (before.key, late.key, THIRD):  # the server may have taken each of them outside of the gap
        got(ledger, audience, key)


def test_nothing_comes_back_of_a_session_that_has_ended(ledger: Ledger, audience: Audience) -> None:
    sent(ledger, FIRST)
    sent(ledger, SECOND, done=False)
    audience.born_at = ledger.tick()
    got(ledger, audience, SECOND)
    with pytest.raises(AssertionError, match="had ended"):
        got(ledger, audience, FIRST)


# -- order


def test_the_first_receptions_are_in_order(ledger: Ledger, audience: Audience) -> None:
    for key in (FIRST, SECOND, THIRD):
        sent(ledger, key)
    for key in (FIRST, SECOND, FIRST, SECOND, THIRD, SECOND):
        got(ledger, audience, key)
    ledger.assert_kept()


def test_a_message_before_its_predecessor_is_out_of_order(ledger: Ledger, audience: Audience) -> None:
    for key in (FIRST, SECOND, THIRD):
        sent(ledger, key)
    for key in (FIRST, THIRD, SECOND):
        got(ledger, audience, key)
    with pytest.raises(AssertionError, match=r"number=2.* after .*number=3"):
        ledger.assert_kept()


def test_what_was_sent_before_the_subscription_may_come_again_after_it(ledger: Ledger) -> None:
    audience = ledger.audience("s", {"t": 1})
    sent(ledger, FIRST, done=False)
    audience.subscribed(ledger.tick())
    sent(ledger, SECOND, done=False)
    sent(ledger, THIRD)
    for key in (SECOND, FIRST, THIRD):  # the first was not for the subscriber before the publisher sent all again
        got(ledger, audience, key)
    ledger.assert_kept()


def test_each_publisher_and_each_topic_has_an_order_of_its_own(ledger: Ledger) -> None:
    audience = ledger.audience("s", {"#": 1})
    audience.subscribed(ledger.tick())
    for key, topic in ((FIRST, "a"), (SECOND, "b"), (Key(1, 1), "a")):
        sent(ledger, key, topic=topic)
    for key, topic in ((Key(1, 1), "a"), (SECOND, "b"), (FIRST, "a")):
        got(ledger, audience, key, topic=topic)
    ledger.assert_kept()


# -- retained messages


def test_what_is_retained_is_the_last_acknowledged_or_a_later_one(ledger: Ledger) -> None:
    first = sent(ledger, FIRST, topic="r")
    second = sent(ledger, SECOND, topic="r")
    third = sent(ledger, THIRD, topic="r", done=False)
    at = ledger.tick()
    for possible in (second, third):
        ledger.check_retained("r", possible.payload, at)
    for impossible in (first.payload, None, b"something else"):
        with pytest.raises(AssertionError, match="r retains"):
            ledger.check_retained("r", impossible, at)


def test_before_the_first_acknowledgement_nothing_may_be_retained(ledger: Ledger) -> None:
    at = ledger.tick()
    first = sent(ledger, FIRST, topic="r")
    ledger.check_retained("r", None, at)
    ledger.check_retained("r", first.payload, at)
    with pytest.raises(AssertionError, match="r retains None"):
        ledger.check_retained("r", None, ledger.tick())


def test_what_was_deleted_stays_deleted(ledger: Ledger) -> None:
    first = sent(ledger, FIRST, topic="r")
    sent(ledger, SECOND, topic="r", size=0)
    at = ledger.tick()
    ledger.check_retained("r", None, at)
    with pytest.raises(AssertionError, match="r retains"):
        ledger.check_retained("r", first.payload, at)
