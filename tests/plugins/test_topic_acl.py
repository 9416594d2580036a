"""The topic plugin: the engine's question, amqtt's question, and decisions that follow the rules at once."""

import pytest
from amqtt.contexts import Action
from amqtt.plugins.manager import PluginManager
from amqtt.session import Session
from wardenmq.broker import access
from wardenmq.broker.access import PUBLISH, RECEIVE, SUBSCRIBE, AccessChange, Identity, TopicAuthorizer
from wardenmq.plugins.credentials import CredentialAuthPlugin
from wardenmq.plugins.topic_acl import TopicAclPlugin
from wardenmq.store import records
from wardenmq.store.acl.access import ClientAccess
from wardenmq.store.directory import Directory
from wardenmq.store.records import Change, Condition, Rule

from .contexts import DirectoryContext, identity


@pytest.fixture
def plugin(directory: Directory) -> TopicAclPlugin:
    return TopicAclPlugin(DirectoryContext(directory, TopicAclPlugin.Config()))


def test_store_and_engine_name_the_operations_alike() -> None:
    assert (records.PUBLISH, records.RECEIVE, records.SUBSCRIBE) == (access.PUBLISH, access.RECEIVE, access.SUBSCRIBE)
    change: AccessChange = Change(everyone=True)
    assert (change.everyone, *change.close_principals, *change.usernames, *change.client_ids) == (True,)


async def test_the_engine_asks_it_directly(plugin: TopicAclPlugin) -> None:
    assert isinstance(plugin, TopicAuthorizer)
    alice, bob = identity("c1", "alice"), identity("c2", "bob")
    assert plugin.authorize(alice, PUBLISH, "u/alice/x", 0, False) is True
    assert plugin.authorize(alice, PUBLISH, "u/bob/x", 0, False) is False
    assert plugin.authorize(alice, SUBSCRIBE, "u/alice/#", 1, False) is True
    assert plugin.authorize(alice, SUBSCRIBE, "u/#", 1, False) is False
    assert plugin.authorize(bob, PUBLISH, "u/bob/x", 0, False) is False


async def test_a_superuser_is_exempt(plugin: TopicAclPlugin, directory: Directory) -> None:
    await directory.set_rules("all", "", [Rule("#", "deny", "all")])
    root = identity("c1", "root", superuser=True)
    assert plugin.authorize(root, PUBLISH, "x", 0, False) is True
    assert plugin.authorize(root, SUBSCRIBE, "#", 0, False) is True
    assert plugin.checks_delivery(root) is False
    assert root.policy is None


async def test_a_changed_rule_counts_at_once(plugin: TopicAclPlugin, directory: Directory) -> None:
    alice = identity("c1", "alice")
    assert plugin.authorize(alice, PUBLISH, "u/alice/x", 0, False) is True
    await directory.set_rules("clientid", "c1", [Rule("u/alice/x", "deny", "publish")])
    assert plugin.authorize(alice, PUBLISH, "u/alice/x", 0, False) is False
    await directory.delete_all_rules()
    await directory.set_no_match("allow")
    assert plugin.authorize(alice, PUBLISH, "anything", 0, False) is True


async def test_the_policy_is_kept_until_something_is_written(plugin: TopicAclPlugin, directory: Directory) -> None:
    alice = identity("c1", "alice")
    plugin.authorize(alice, PUBLISH, "u/alice/x", 0, False)
    kept = alice.policy
    plugin.authorize(alice, SUBSCRIBE, "u/alice/y", 0, False)
    plugin.checks_delivery(alice)
    assert alice.policy is kept
    assert isinstance(kept, ClientAccess)
    await directory.set_rules("username", "bob", [])
    plugin.authorize(alice, PUBLISH, "u/alice/x", 0, False)
    assert alice.policy is not kept
    assert isinstance(alice.policy, ClientAccess)
    assert alice.policy.generation == directory.generation
    assert alice.policy._cache is kept._cache  # a write about somebody else leaves what was decided
    await directory.set_rules("username", "alice", [])
    assert plugin.authorize(alice, PUBLISH, "u/alice/x", 0, False) is False
    assert alice.policy._cache is not kept._cache


async def test_who_comes_back_is_who_he_is_now(plugin: TopicAclPlugin, directory: Directory) -> None:
    """A session is taken up from another address: nothing that was found for the old one is taken for granted."""
    await directory.set_rules("all", "", [Rule("in/#", "allow", "all", condition=Condition(ipaddr="10.0.0.0/8"))])
    inside = Identity("c1", "alice", None, peer_host="10.0.0.1")
    assert plugin.authorize(inside, PUBLISH, "in/x", 0, False) is True
    outside = Identity("c1", "alice", None, peer_host="192.0.2.1", former=inside.policy)
    assert plugin.authorize(outside, PUBLISH, "in/x", 0, False) is False
    assert plugin.standing(outside) is not plugin.standing(inside)
    back = Identity("c1", "alice", None, peer_host="192.0.2.1", former=outside.policy)
    assert plugin.standing(back) is plugin.standing(outside)  # nothing is to be looked through


async def test_deliveries_are_checked_only_where_a_rule_may_hide_some(
    plugin: TopicAclPlugin, directory: Directory
) -> None:
    alice = identity("c1", "alice")
    assert plugin.checks_delivery(alice) is False
    await directory.set_rules("username", "alice", [Rule("t/secret", "deny", "all"), Rule("t/#", "allow", "all")])
    assert plugin.checks_delivery(alice) is True
    assert plugin.authorize(alice, SUBSCRIBE, "t/#", 0, False) is True
    assert plugin.authorize(alice, RECEIVE, "t/open", 0, False) is True
    assert plugin.authorize(alice, RECEIVE, "t/secret", 0, False) is False


async def test_receivers_are_put_together_again_only_when_their_standing_is_asked_for(
    plugin: TopicAclPlugin, directory: Directory
) -> None:
    alice = identity("c1", "alice")
    await directory.set_rules("username", "alice", [Rule("t/secret", "deny", "all"), Rule("t/#", "allow", "all")])
    before, known = plugin.standing(alice), alice.policy
    assert plugin.authorize(alice, RECEIVE, "t/secret", 0, False) is False
    await directory.set_rules("username", "bob", [Rule("x", "deny", "all")])
    assert plugin.authorize(alice, RECEIVE, "t/secret", 0, False) is False
    assert alice.policy is known
    assert plugin.standing(alice) is before
    await directory.set_rules("username", "alice", [Rule("t/#", "allow", "all")])
    assert plugin.standing(alice) is not before
    assert plugin.authorize(alice, RECEIVE, "t/secret", 0, False) is True


async def test_a_plain_amqtt_broker_is_answered_too(plugin: TopicAclPlugin, directory: Directory) -> None:
    await directory.create_login("clientid", "root", "x", superuser=True)
    await directory.set_rules("all", "", [Rule("t/secret", "deny", "subscribe")])

    async def ask(client_id: str, username: str | None, topic: str | None, action: Action | None) -> bool | None:
        session = Session()
        session.client_id, session.username = client_id, username
        return await plugin.topic_filtering(session=session, topic=topic, action=action)

    assert await ask("c1", "alice", "u/alice/x", Action.PUBLISH) is True
    assert await ask("c1", "alice", "u/bob/x", Action.PUBLISH) is False
    assert await ask("c1", "alice", "u/alice/#", Action.SUBSCRIBE) is True
    assert await ask("c1", "alice", "t/secret", Action.RECEIVE) is False
    assert await ask("c1", "alice", "t/open", Action.RECEIVE) is True
    assert await ask("root", None, "t/secret", Action.RECEIVE) is True
    assert await ask("c1", "alice", None, Action.PUBLISH) is None
    assert await plugin.topic_filtering() is None


async def test_amqtt_loads_both_plugins_from_a_configuration(directory: Directory) -> None:
    plugins = {
        "wardenmq.plugins.credentials.CredentialAuthPlugin": {"allow_anonymous": True},
        "wardenmq.plugins.topic_acl.TopicAclPlugin": {},
    }
    loaded = PluginManager("test.plugins", DirectoryContext(directory, {"plugins": plugins}))
    credentials, topics = loaded.plugins
    assert isinstance(credentials, CredentialAuthPlugin)
    assert isinstance(topics, TopicAclPlugin)
    session = Session()
    assert await loaded.map_plugin_auth(session=session) == {credentials: True}
    assert await loaded.map_plugin_topic(session=session, topic="x", action=Action.PUBLISH) == {topics: False}
    await loaded.close()


def test_without_a_store_it_does_not_start() -> None:
    with pytest.raises(ValueError, match="TopicAclPlugin needs a credential store"):
        TopicAclPlugin(DirectoryContext(None, TopicAclPlugin.Config()))
