"""Rules that follow from what a principal is: its own prefix and nothing else, whatever its names look like."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.broker.routing.topics import InvalidTopic, check_name
from wardenmq.store.acl.client_facts import ClientFacts
from wardenmq.store.acl.explanation import LayerKind
from wardenmq.store.credentials.stored_secrets import store_token
from wardenmq.store.derivation import derive
from wardenmq.store.directory import Directory
from wardenmq.store.errors import AlreadyExists, Invalid
from wardenmq.store.records import PUBLISH, RECEIVE, SUBSCRIBE, Login, LoginKind

from .layered import access, layer
from .restarts import assert_refused, decide

DERIVED: LayerKind = "derived"
PUBLISHER = Login("1", "username", "pub-1", kind="portal_publisher", tenant="A", confined=True)
SHARED = replace(PUBLISHER, clientid_mode="per_connection")
SUBSCRIBER = replace(PUBLISHER, kind="portal_subscriber", login="sub-1", can_publish=False)
KEY = Login("K", "username", "K", kind="haltian_key", tenant="A", confined=True, can_publish=False)


def answers(login: Login, operation: int, *topics: str, client_id: str = "c1", readable: tuple[str, ...] = ()) -> str:
    """Say of each topic whether a login of a tenant may: `y` or `-`."""
    layers = [layer(DERIVED, derive(login, readable))]
    client = access(*layers, facts=ClientFacts(client_id, login.login), confined=True, no_match=True)
    return "".join("y" if client.decide(operation, topic, 0, False) else "-" for topic in topics)


def test_a_publisher_has_the_prefix_of_its_name() -> None:
    own = ("A/pub-1", "A/pub-1/x", "A/pub-1/x/y")
    strange = ("A", "A/pub-2/x", "B/pub-1/x", "A/pub-10", "pub-1/x", "/A/pub-1", "$SYS/x", "A/c1/x")
    for operation in (PUBLISH, RECEIVE, SUBSCRIBE):
        assert answers(PUBLISHER, operation, *own) == "yyy"
        assert answers(PUBLISHER, operation, *strange) == "-" * len(strange)
    wide = ("A/pub-1/#", "A/pub-1/+", "$share/g/A/pub-1/#", "A/+/x", "A/#", "#", "+/pub-1/#", "$share/g/A/#")
    assert answers(PUBLISHER, SUBSCRIBE, *wide) == "yyy-----"


@pytest.mark.parametrize(
    ("can_publish", "can_subscribe", "expected"),
    [(True, True, "yyy"), (True, False, "y--"), (False, True, "-yy"), (False, False, "---")],
)
def test_a_publisher_does_what_its_flags_say(can_publish: bool, can_subscribe: bool, expected: str) -> None:
    for login in (PUBLISHER, SHARED):
        flagged = replace(login, can_publish=can_publish, can_subscribe=can_subscribe)
        own = "A/c1/x" if login is SHARED else "A/pub-1/x"
        assert "".join(answers(flagged, operation, own) for operation in (PUBLISH, RECEIVE, SUBSCRIBE)) == expected


def test_a_shared_login_has_the_prefix_of_each_client_id() -> None:
    topics = ("A/c1/x", "A/c2/x", "A/pub-1/x", "A/${clientid}/x", "A/x")
    assert answers(SHARED, PUBLISH, *topics) == "y----"
    assert answers(SHARED, PUBLISH, *topics, client_id="c2") == "-y---"
    assert answers(SHARED, SUBSCRIBE, "A/c1/#", "A/c2/#", "A/+/#", "A/#") == "y---"


@pytest.mark.parametrize("client_id", ["", "+", "#", "a/b", "c1/#"])
def test_a_client_id_that_is_no_level_gives_nothing(client_id: str) -> None:
    topics = ("A/x", f"A/{client_id}/x", "A//x", "A/+/x", "A/#", "A/c1/x")
    for operation in (PUBLISH, SUBSCRIBE):
        assert answers(SHARED, operation, *topics, client_id=client_id) == "-" * len(topics)


def test_a_subscriber_reads_all_of_its_tenant_and_writes_nothing() -> None:
    assert answers(SUBSCRIBER, SUBSCRIBE, "A/#", "A/+/x", "A/pub-1/x", "A", "#", "B/#", "+/#") == "yyyy---"
    assert answers(SUBSCRIBER, RECEIVE, "A/x", "A", "B/x", "AB/x") == "yy--"
    assert answers(SUBSCRIBER, PUBLISH, "A/x", "A/sub-1/x", "A") == "---"
    # Its flag is not what keeps it from publishing.
    assert answers(replace(SUBSCRIBER, can_publish=True), PUBLISH, "A/x", "A/sub-1/x") == "--"


def test_a_key_reads_its_own_events_of_what_it_is_linked_to() -> None:
    topics = (
        "haltian-iot/events/I1/K/x",
        "haltian-iot/events/I2/K/x",
        "haltian-iot/events/I3/K/x",
        "haltian-iot/events/I1/L/x",
        "A/x",
    )
    linked = ("I1", "I2")
    assert answers(KEY, SUBSCRIBE, *topics, readable=linked) == "yy---"
    assert answers(KEY, RECEIVE, *topics, readable=linked) == "yy---"
    assert answers(KEY, PUBLISH, *topics, readable=linked) == "-----"
    assert answers(KEY, SUBSCRIBE, *topics) == "-----"
    wide = ("haltian-iot/events/I1/K/#", "haltian-iot/events/+/K/#", "haltian-iot/events/I1/#", "#")
    assert answers(KEY, SUBSCRIBE, *wide, readable=linked) == "y---"


def test_a_plain_login_has_no_such_rules() -> None:
    assert derive(replace(PUBLISHER, kind="mqtt_client"), ("I1",)) == ()


# What could be taken for something else than the text that it is.
level = st.text(st.sampled_from("a$%{}cu\\ "), min_size=1, max_size=6) | st.sampled_from(
    ["${clientid}", "${username}", "${$}", "%c", "%u", "$share", "$SYS", "x${clientid}", "${", "$}{"]
)


KINDS: list[LoginKind] = ["portal_publisher", "portal_subscriber", "haltian_key"]


@given(kind=st.sampled_from(KINDS), tenant=level, name=level, other=level)
def test_names_are_taken_as_they_stand(kind: LoginKind, tenant: str, name: str, other: str) -> None:
    login = replace(PUBLISHER, kind=kind, tenant=tenant, login=name, id=name)
    prefix = {
        "portal_publisher": f"{tenant}/{name}",
        "portal_subscriber": tenant,
        "haltian_key": f"haltian-iot/events/{tenant}/{name}",
    }[kind]
    rules = derive(login, (tenant,))
    client = access(layer(DERIVED, rules), facts=ClientFacts("c1", "c2"), confined=True)
    for topic in (prefix, f"{prefix}/x", f"{tenant}/{other}", f"{other}/{name}", "c1/c2", f"{tenant}/c1", other):
        try:
            check_name(topic)
        except InvalidTopic:
            continue
        inside = topic == prefix or topic.startswith(f"{prefix}/")
        assert client.decide(RECEIVE, topic, 0, False) is inside, topic


async def test_a_name_that_is_no_level_is_refused(kept: Directory) -> None:
    for kind in ("portal_publisher", "portal_subscriber"):
        for name in ("a/b", "+", "#", "pub-#", "a+"):
            await assert_refused(kept, Invalid, kept.create_login("username", name, "x", kind=kind, confined=True))


async def test_an_id_that_is_no_level_is_refused(kept: Directory) -> None:
    """The id of a key is a level of its topics: `+` would let it read the events of all others."""
    for bad in ("+", "#", "a/b", "a\0", "x" * 70_000):
        attempt = kept.create_login("username", "key", None, kind="haltian_key", id=bad, secret=store_token("t"))
        await assert_refused(kept, Invalid, attempt)


async def test_an_id_is_taken_once(kept: Directory) -> None:
    await kept.create_login("username", "one", None, kind="haltian_key", id="K", secret=store_token("1"))
    attempt = kept.create_login("username", "two", None, kind="haltian_key", id="K", secret=store_token("2"))
    await assert_refused(kept, AlreadyExists, attempt)


async def test_the_rules_follow_the_state_at_once(kept: Directory) -> None:
    await kept.tenants.create("acme")
    tenant = kept.tenants.required("acme").id
    login = await kept.create_login(
        "username", "pub-1", "x", kind="portal_publisher", tenant="acme", confined=True, can_subscribe=False
    )
    client, own = ClientFacts("pub-1", "pub-1"), f"{tenant}/pub-1/x"

    def may() -> list[bool]:
        return [decide(kept, client, login.id, operation, own) for operation in (PUBLISH, SUBSCRIBE, RECEIVE)]

    assert may() == [True, False, False]
    await kept.update_login("username", "pub-1", can_subscribe=True)
    assert may() == [True, True, True]
    await kept.update_login("username", "pub-1", can_publish=False)
    assert may() == [False, True, True]
    # Nothing of it is stored.
    assert kept.rules("username", "pub-1") is None
    assert await kept._database.read("SELECT * FROM acl_rule") == []


async def test_the_events_of_a_key_follow_its_links_at_once(kept: Directory) -> None:
    await kept.tenants.create("acme")
    key = await kept.create_login(
        "username", "K", None, kind="haltian_key", tenant="acme", id="K", secret=store_token("t"), confined=True
    )
    integration = await kept.integrations.create("acme")
    topic = f"haltian-iot/events/{integration.id}/K/x"
    client = ClientFacts("K", "K")
    steps = [
        (kept.integrations.link(integration.id, "K"), False),
        (kept.integrations.assign_role("K", "MqttIntegrator"), True),
        (kept.integrations.update(integration.id, state="inactive"), False),
        (kept.integrations.update(integration.id, state="active"), True),
        (kept.integrations.unassign_role("K", "MqttIntegrator"), False),
        (kept.integrations.assign_role("K", "MqttIntegrator"), True),
        (kept.integrations.unlink(integration.id, "K"), False),
        (kept.integrations.link(integration.id, "K"), True),
        (kept.integrations.delete(integration.id), False),
    ]
    for number, (step, readable) in enumerate(steps):
        await step
        assert decide(kept, client, key.id, SUBSCRIBE, topic) is readable, number
        assert not decide(kept, client, key.id, PUBLISH, topic)


async def test_what_was_compiled_stays_until_it_would_be_another(kept: Directory) -> None:
    login = await kept.create_login("username", "pub-1", "x", kind="portal_publisher", confined=True)
    before = kept.access("c", "pub-1", login.id)
    await kept.update_login("username", "pub-1", label="new")
    await kept.create_login("username", "pub-2", "x", kind="portal_publisher", confined=True)
    assert kept.access("c", "pub-1", login.id).layers[0].policy is before.layers[0].policy
    await kept.update_login("username", "pub-1", can_publish=False)
    assert kept.access("c", "pub-1", login.id).layers[0].policy is not before.layers[0].policy
    # Of those who are gone nothing is kept.
    await kept.delete_login("username", "pub-1")
    assert [*kept._layers._derived] == []
