"""Which rules count for a client, and in which order they are asked."""

from collections.abc import Iterable

import pytest
from wardenmq.store.credentials.stored_secrets import store_token
from wardenmq.store.directory import Directory
from wardenmq.store.errors import Invalid
from wardenmq.store.records import PUBLISH, RECEIVE, SUBSCRIBE, Operation

from .argon2_gate import Argon2Gate
from .layered import acl, allow, deny
from .restarts import layers_of

CLIENT = "pub-1"


@pytest.fixture
async def house(kept: Directory) -> Directory:
    """Give the publisher `pub-1` something from each layer, and let each layer allow its own topic."""
    await kept.create_login("username", "pub-1", "x", kind="portal_publisher", can_subscribe=False)
    await kept.set_rules("clientid", CLIENT, [allow("clientid")])
    await kept.set_rules("username", "pub-1", [allow("username")])
    await kept.set_rules("all", "", [allow("all")])
    for name in ("role", "grouped"):
        await kept.roles.create(name, acls=[acl("publishClientSend", name)])
    await kept.roles.grant("username", "pub-1", "role")
    await kept.groups.create("group", roles={"grouped": 0}, members={"pub-1": 0})
    return kept


def principal(directory: Directory, name: str = "pub-1", login_type: str = "username") -> str:
    login = directory.login(login_type, name)
    assert login is not None
    return login.id


ORDER = [
    ("clientid", CLIENT),
    ("username", "pub-1"),
    ("derived", "pub-1"),
    ("role", "role"),
    ("group", "group/grouped"),
    ("all", ""),
]


async def test_the_layers_come_in_the_order_of_the_model(house: Directory) -> None:
    assert layers_of(house, CLIENT, "pub-1", principal(house)) == ORDER
    # Each is there because of one thing alone.
    assert layers_of(house, "other", "pub-1", principal(house)) == ORDER[1:]
    await house.delete_rules("username", "pub-1")
    assert layers_of(house, "other", "pub-1", principal(house)) == ORDER[2:]
    await house.update_login("username", "pub-1", can_publish=False)
    assert layers_of(house, "other", "pub-1", principal(house)) == ORDER[3:]
    await house.roles.revoke("username", "pub-1", "role")
    assert layers_of(house, "other", "pub-1", principal(house)) == ORDER[4:]
    await house.groups.remove_member("group", "pub-1")
    assert layers_of(house, "other", "pub-1", principal(house)) == ORDER[5:]
    await house.delete_rules("all")
    assert layers_of(house, "other", "pub-1", principal(house)) == []


@pytest.mark.parametrize("first", range(6))
async def test_the_first_layer_that_says_something_decides(house: Directory, first: int) -> None:
    """From `first` on, each layer says the opposite of the one before it about the same topic."""
    topic = f"{house.tenants.required('default').id}/pub-1/x"  # what the derived rules allow, whatever comes after them
    verdicts = {
        kind: (place % 2 == 0) if kind != "derived" else True for place, (kind, _) in enumerate(ORDER) if place >= first
    }
    for kind, subject in (("clientid", CLIENT), ("username", "pub-1"), ("all", "")):
        if kind in verdicts:
            await house.set_rules(kind, subject, [allow(topic) if verdicts[kind] else deny(topic)])
    if "derived" not in verdicts:
        await house.update_login("username", "pub-1", can_publish=False)
    for kind, name in (("role", "role"), ("group", "grouped")):
        if kind in verdicts:
            await house.roles.add_acl(name, acl("publishClientSend", topic, verdicts[kind]))
    access = house.access(CLIENT, "pub-1", principal(house))
    explained = access.explain(PUBLISH, topic, 0, False)
    decides = ORDER[first][0]
    assert (explained.decided_by, explained.allowed) == (decides, verdicts[decides])
    assert access.decide(PUBLISH, topic, 0, False) is verdicts[decides]


async def test_an_operator_can_carve_a_hole_or_plug_one(house: Directory) -> None:
    own = house.tenants.required("default").id + "/pub-1"
    await house.set_rules("username", "pub-1", [deny(f"{own}/closed", "publish"), allow("elsewhere", "publish")])
    access = house.access("c", "pub-1", principal(house))
    topics = (f"{own}/closed", f"{own}/open", "elsewhere", "somewhere")
    assert [access.decide(PUBLISH, topic, 0, False) for topic in topics] == [False, True, True, False]


async def test_who_is_confined_is_held_to_its_own_layers(house: Directory) -> None:
    await house.create_login("username", "kept in", "x", confined=True)
    await house.roles.grant("username", "kept in", "role")
    await house.groups.add_member("group", "kept in")
    await house.set_rules("all", "", [allow("#")])
    operations: Iterable[Operation] = ("publish", "subscribe", "receive")
    await house.set_default_access(dict.fromkeys(operations, True))
    login = principal(house, "kept in")
    assert layers_of(house, "c", "kept in", login) == [("role", "role"), ("group", "group/grouped")]
    access = house.access("c", "kept in", login)
    assert access.confined
    assert access.decide(PUBLISH, "role", 0, False)
    for operation in (PUBLISH, SUBSCRIBE, RECEIVE):
        assert not access.decide(operation, "all", 0, False)
    # An explicit rule of the operator's counts for it as for others.
    await house.set_rules("username", "kept in", [allow("all")])
    assert house.access("c", "kept in", login).decide(PUBLISH, "all", 0, False)
    assert not house.access("c", "kept in", login).decide(PUBLISH, "other", 0, False)


async def test_anonymous_clients_have_their_group_and_what_holds_for_all(house: Directory) -> None:
    everyone = [("all", "")]
    assert layers_of(house, "c", None, None) == everyone
    await house.groups.set_anonymous("group")
    assert layers_of(house, "c", None, None) == [("group", "group/grouped"), *everyone]
    assert layers_of(house, CLIENT, None, None) == [("clientid", CLIENT), ("group", "group/grouped"), *everyone]
    # Who has a name is not anonymous, though the name may be none of ours, as where another plugin admitted it.
    assert layers_of(house, "c", "stranger", None) == everyone
    assert layers_of(house, "c", "", None) == everyone
    # Nor is who has a login, even if it is in no group.
    await house.create_login("clientid", "device", "x")
    await house.create_login("username", "alice", "x")
    assert layers_of(house, "device", None, principal(house, "device", "clientid")) == everyone
    assert layers_of(house, "c", "alice", principal(house, "alice")) == everyone


async def test_a_name_that_another_plugin_proved_has_its_rules(house: Directory) -> None:
    await house.set_rules("username", "stranger", [allow("s/${username}")])
    assert layers_of(house, "c", "stranger", None) == [("username", "stranger"), ("all", "")]
    assert house.access("c", "stranger").decide(PUBLISH, "s/stranger", 0, False)


async def test_a_user_name_beside_a_client_ids_password_gives_nothing(house: Directory) -> None:
    """Nobody proved it: whoever holds a device's password could be anybody by it."""
    device = await house.create_login("clientid", "device", "x")
    await house.set_rules("all", "", [allow("u/${username}/#"), allow("c/${clientid}/#")])
    await house.set_rules("username", "admin", [allow("#")])
    await house.roles.grant("clientid", "device", "role")
    for username in ("pub-1", "admin", None):
        assert layers_of(house, "device", username, device.id) == [("role", "role"), ("all", "")]
        access = house.access("device", username, device.id)
        assert access.facts.username is None
        assert not access.decide(PUBLISH, f"u/{username}/x", 0, False)
        assert not access.decide(PUBLISH, "anything", 0, False)
        assert access.decide(PUBLISH, "c/device/x", 0, False)
    # The condition of a rule cannot be met by it either.
    await house.roles.add_acl("role", acl("publishClientSend", "r/%u"))
    assert not house.access("device", "pub-1", device.id).decide(PUBLISH, "r/pub-1", 0, False)


async def test_who_is_no_more_may_do_nothing(house: Directory) -> None:
    login = principal(house)
    await house.set_no_match("allow")
    before = house.access(CLIENT, "pub-1", login)
    await house.delete_login("username", "pub-1")
    access = house.access(CLIENT, "pub-1", login, previous=before)
    assert access.layers == ()
    for operation in (PUBLISH, SUBSCRIBE, RECEIVE):
        assert not access.decide(operation, "clientid", 0, False)
    # Under a new login of the name it is not the same one.
    await house.create_login("username", "pub-1", "x")
    assert not house.access(CLIENT, "pub-1", login, previous=access).decide(PUBLISH, "clientid", 0, False)


async def test_roles_come_before_groups_each_by_priority_then_name(kept: Directory) -> None:
    for name in ("a", "b", "c", "d"):
        await kept.roles.create(name, acls=[acl("publishClientSend", "t")])
    await kept.create_login("username", "alice", "x", roles={"c": -50})
    await kept.groups.create("low", roles={"a": 1, "b": 2}, members={"alice": 1})
    await kept.groups.create("high", roles={"d": -1, "b": 7}, members={"alice": 99})
    await kept.groups.create("also high", roles={"a": 5, "d": 5}, members={"alice": 99})
    expected = ["also high/a", "also high/d", "high/b", "high/d", "low/b", "low/a"]
    found = layers_of(kept, "x", "alice", principal(kept, "alice"))
    assert found == [("role", "c"), *(("group", name) for name in expected)]


async def test_a_role_of_ones_own_beats_one_through_a_group(kept: Directory) -> None:
    """As in Mosquitto, whatever the priorities are."""
    await kept.roles.create("yes", acls=[acl("publishClientSend", "t", True, 1)])
    await kept.roles.create("no", acls=[acl("publishClientSend", "t", False, 1_000)])
    await kept.create_login("username", "alice", "x", roles={"yes": -1})
    await kept.groups.create("group", roles={"no": 1_000}, members={"alice": 1_000})
    assert kept.access("x", "alice", principal(kept, "alice")).decide(PUBLISH, "t", 0, False)


async def test_roles_that_say_nothing_are_not_asked(kept: Directory) -> None:
    await kept.roles.create("empty")
    await kept.roles.create("guard", allow_wildcard_subs=False)
    await kept.create_login("username", "alice", "x", roles={"empty": 1, "guard": 1})
    assert layers_of(kept, "x", "alice", principal(kept, "alice")) == [("role", "guard")]
    await kept.set_no_match("allow")
    access = kept.access("x", "alice", principal(kept, "alice"))
    assert [access.decide(SUBSCRIBE, topic, 0, False) for topic in ("a/#", "a/+", "a/b")] == [False, False, True]


async def test_keys_have_roles_and_rules_beside_what_they_may_read(kept: Directory) -> None:
    await kept.tenants.create("acme")
    key = await kept.create_login(
        "username", "K", None, kind="haltian_key", tenant="acme", id="K", secret=store_token("t"), confined=True
    )
    integration = await kept.integrations.create("acme")
    await kept.integrations.link(integration.id, "K")
    await kept.roles.create("more", acls=[acl("subscribePattern", "more/#")])
    await kept.roles.grant("username", "K", "more")
    assert layers_of(kept, "c", "K", key.id) == [("role", "more")]
    await kept.integrations.assign_role("K", "MqttIntegrator")
    assert layers_of(kept, "c", "K", key.id) == [("derived", "K"), ("role", "more")]


async def test_deliveries_follow_the_subscribe_rules_unless_told_otherwise(gate: Argon2Gate) -> None:
    for enforced in (True, False):
        directory = await Directory.open(":memory:", enforce_on_delivery=enforced)
        await directory.set_rules("all", "", [deny("t/secret"), allow("t/#")])
        access = directory.access("c", None)
        assert access.decide(SUBSCRIBE, "t/#", 0, False)
        assert access.decide(RECEIVE, "t/secret", 0, False) is not enforced
        assert access.checks_delivery is enforced
        await directory.close()


async def test_what_a_client_was_given_before_is_never_taken_for_another_client(house: Directory) -> None:
    login = principal(house)
    own = house.access(CLIENT, "pub-1", login)
    assert own.decide(PUBLISH, "clientid", 0, False)
    for client_id, username, which in (("other", "pub-1", login), (CLIENT, None, None), ("other", None, None)):
        access = house.access(client_id, username, which, previous=own)
        expected = client_id == CLIENT
        assert access.decide(PUBLISH, "clientid", 0, False) is expected
        assert access.decide(PUBLISH, "username", 0, False) is (username == "pub-1")


async def test_a_default_is_true_or_false(directory: Directory) -> None:
    before = directory.default_access
    for value in ("false", None, 2):
        with pytest.raises(Invalid, match="true or false"):
            await directory.set_default_access({"publish": value})  # type: ignore[dict-item]
    assert directory.default_access == before
