"""The credential store behind the engine: logins and rules written while clients are connected."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import NamedTuple

import pytest_asyncio
from wardenmq.store.directory import Directory
from wardenmq.store.records import Rule

from .brokers import Clients, serving
from .conditions import until
from .wire import Client, connect, publish

PLUGINS = {
    "wardenmq.plugins.credentials.CredentialAuthPlugin": {},
    "wardenmq.plugins.topic_acl.TopicAclPlugin": {},
}


class Guarded(NamedTuple):
    """A broker with its credential store; `alice` and `bob` have logins and no rules yet."""

    clients: Clients
    directory: Directory

    async def connected(self, username: str, client_id: str = "", *, clean: bool = True) -> Client:
        return await self.clients.connected(client_id or username, username=username, password=b"secret", clean=clean)


@pytest_asyncio.fixture
async def guarded() -> AsyncIterator[Guarded]:
    async with AsyncExitStack() as stack:
        directory = await Directory.open(":memory:")
        stack.push_async_callback(directory.close)
        for username in ("alice", "bob"):
            await directory.create_login("username", username, "secret")
        clients = await stack.enter_async_context(serving(PLUGINS, directory=directory))
        yield Guarded(clients, directory)


async def test_wrong_password_is_4_and_nobody_is_anonymous(guarded: Guarded) -> None:
    """[MQTT-3.2.2-5]: unknown user and wrong password look alike."""
    for username, password in (("alice", b"wrong"), ("nobody", b"secret"), ("alice", None)):
        refused = await guarded.clients.open()
        assert await refused.refused(connect("c1", username=username, password=password)) == 4
    assert await (await guarded.clients.open()).refused(connect("c1")) in (4, 5)


async def test_no_rule_means_no(guarded: Guarded) -> None:
    """[MQTT-3.3.5-2] [MQTT-3.8.4-5]: silence is not consent; the default can be changed and acts at once."""
    alice = await guarded.connected("alice")
    assert await alice.subscribe(("t", 1)) == [0x80]
    await guarded.directory.set_no_match("allow")
    assert await alice.subscribe(("t", 1)) == [1]
    await alice.publish("t", b"x", 1)
    assert (await alice.message()).payload == b"x"


async def test_a_new_rule_acts_on_live_sessions_at_once(guarded: Guarded) -> None:
    """[MQTT-3.3.5-2]: the decision that was cached for the same topic is dropped, both ways."""
    await guarded.directory.set_rules("username", "bob", [Rule("#", "allow", "subscribe")])
    alice, bob = await guarded.connected("alice"), await guarded.connected("bob")
    assert await bob.subscribe(("t", 1)) == [1]
    for verdict in ("deny", "allow", "deny", "allow"):
        await guarded.directory.set_rules("username", "alice", [Rule("t", verdict, "publish")])
        await alice.publish("t", verdict.encode(), 1)
        await alice.publish("t", verdict.encode(), 0)
        if verdict == "allow":
            assert await bob.messages(2) == [b"allow", b"allow"]
        await bob.nothing_came()


async def test_a_withdrawn_rule_ends_a_subscription_at_once(guarded: Guarded) -> None:
    """[MQTT-3.3.5-2]: nothing more is delivered, nor queued for a session that is away."""
    await guarded.directory.set_rules("username", "alice", [Rule("#", "allow", "publish")])
    await guarded.directory.set_rules("username", "bob", [Rule("t/#", "allow", "subscribe")])
    alice, bob = await guarded.connected("alice"), await guarded.connected("bob", clean=False)
    away = await guarded.connected("bob", "away", clean=False)
    for client in (bob, away):
        assert await client.subscribe(("t/a", 1), ("t/b", 1)) == [1, 1]
    await away.disconnect()
    await guarded.directory.set_rules("username", "bob", [Rule("t/b", "allow", "subscribe")])
    for topic in ("t/a", "t/b"):
        await alice.publish(topic, b"x", 1)
    assert (await bob.message()).topic == "t/b"
    await bob.nothing_came()
    away = await guarded.connected("bob", "away", clean=False)
    assert (await away.message()).topic == "t/b"
    await away.nothing_came()


async def test_changes_touch_only_those_concerned(guarded: Guarded) -> None:
    """A rule of one user leaves the subscriptions and connections of the others alone."""
    for username in ("alice", "bob"):
        await guarded.directory.set_rules("username", username, [Rule("t", "allow", "all")])
    alice, bob = await guarded.connected("alice"), await guarded.connected("bob")
    for client in (alice, bob):
        assert await client.subscribe(("t", 0)) == [0]
    await guarded.directory.delete_rules("username", "alice")
    await bob.publish("t", b"x", 1)
    assert (await bob.message()).payload == b"x"
    await alice.nothing_came()


async def test_rules_of_client_id_user_name_and_all_in_this_order(guarded: Guarded) -> None:
    """First match decides; placeholders stand for the client's own names."""
    await guarded.directory.set_rules("clientid", "c1", [Rule("one", "deny", "all")])
    await guarded.directory.set_rules(
        "username", "alice", [Rule("one", "allow", "all"), Rule("two", "allow", "all"), Rule("eq a/+", "allow", "all")]
    )
    everyone = [Rule("two", "deny", "all"), Rule("dev/${clientid}/${username}/#", "allow", "all")]
    await guarded.directory.set_rules("all", "", everyone)
    client = await guarded.connected("alice", "c1")
    codes = await client.subscribe(
        ("one", 0), ("two", 0), ("a/+", 0), ("a/b", 0), ("dev/c1/alice/x", 0), ("dev/c2/alice/x", 0), ("dev/#", 0)
    )
    assert codes == [0x80, 0, 0, 0x80, 0, 0x80, 0x80]


async def test_a_rule_does_not_cover_a_wider_filter(guarded: Guarded) -> None:
    """`t/+` allows neither `t/#` nor `#`; `t/#` allows `t/+`."""
    await guarded.directory.set_rules("username", "alice", [Rule("t/+", "allow", "subscribe")])
    alice = await guarded.connected("alice")
    assert await alice.subscribe(("t/+", 0), ("t/x", 0), ("t/#", 0), ("#", 0), ("+/+", 0)) == [0, 0, 128, 128, 128]
    await guarded.directory.set_rules("username", "alice", [Rule("t/#", "allow", "subscribe")])
    assert await alice.subscribe(("t/#", 0), ("t/+/x", 0), ("t", 0), ("+", 0)) == [0, 0, 0, 128]


async def test_denied_topics_are_hidden_from_a_wider_subscription(guarded: Guarded) -> None:
    """Neither live nor retained."""
    await guarded.directory.set_rules("username", "alice", [Rule("#", "allow", "publish")])
    rules = [Rule("t/secret", "deny", "subscribe"), Rule("t/#", "allow", "subscribe")]
    await guarded.directory.set_rules("username", "bob", rules)
    alice, bob = await guarded.connected("alice"), await guarded.connected("bob")
    codes = await bob.subscribe(("t/secret", 0))
    assert codes == [0x80]
    assert await bob.subscribe(("t/#", 1)) == [1]
    for topic in ("t/secret", "t/open"):
        await alice.publish(topic, b"x", 1, retain=True)
    assert (await bob.message()).topic == "t/open"
    await bob.nothing_came()
    late = await guarded.connected("bob", "late")
    await late.subscribe(("t/#", 1))
    assert (await late.message()).topic == "t/open"
    await late.nothing_came()


async def test_a_new_password_closes_the_live_sessions(guarded: Guarded) -> None:
    """A login that is changed or deleted has no live session left; others have."""
    alice, bob = await guarded.connected("alice"), await guarded.connected("bob")
    await guarded.directory.update_login("username", "alice", password="changed")
    await alice.hung_up()
    refused = await guarded.clients.open()
    assert await refused.refused(connect("alice", username="alice", password=b"secret")) == 4
    again = await guarded.clients.connected("alice", username="alice", password=b"changed")
    await guarded.directory.delete_login("username", "alice")
    await again.hung_up()
    refused = await guarded.clients.open()
    assert await refused.refused(connect("alice", username="alice", password=b"changed")) == 4
    await bob.ping()


async def test_superusers_are_held_to_no_rule(guarded: Guarded) -> None:
    await guarded.directory.create_login("username", "root", "secret", superuser=True)
    root = await guarded.connected("root")
    assert await root.subscribe(("#", 2), ("$SYS/#", 0)) == [2, 0]
    await root.publish("anything", b"x", 2)
    assert (await root.message()).topic == "anything"


async def test_a_storm_of_reconnects_keeps_every_client_apart(guarded: Guarded) -> None:
    """Fifty at once, half with a wrong password: each gets its own answer, on its own connection."""
    requests = [(f"c{n}", b"secret" if n % 2 else b"wrong") for n in range(50)]
    opened = [await guarded.clients.open() for _ in requests]
    for client, (client_id, password) in zip(opened, requests, strict=True):
        client.send(connect(client_id, username="alice", password=password), publish("t", b"x"))
    codes = [(await client.expect(2)).body[1] for client in opened]
    assert codes == [0 if password == b"secret" else 4 for _, password in requests]
    await until(lambda: guarded.clients.broker.registry.connected_count == 25)


async def test_no_secret_in_a_log(guarded: Guarded, caplog) -> None:
    """A refusal is a sentence in the log, with the client id and without the password."""
    with caplog.at_level("DEBUG"):
        refused = await guarded.clients.open()
        await refused.refused(connect("the-device", username="alice", password=b"s3cr3t-guess"))
        await guarded.connected("bob")
    assert "the-device" in caplog.text
    assert "s3cr3t-guess" not in caplog.text
