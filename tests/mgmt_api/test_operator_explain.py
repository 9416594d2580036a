"""What `acl explain` says against what clients meet over TCP: CONNACK, SUBACK, PUBACK and what is delivered."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from amqtt.contexts import Action
from amqtt.plugins.base import BaseTopicPlugin
from amqtt.session import Session
from wardenmq.broker.settings import MqttSettings
from wardenmq.cli.explained import describe
from wardenmq.config.settings import CREDENTIAL_PLUGIN, TOPIC_ACL_PLUGIN
from wardenmq.mgmt_api.application import create_application
from wardenmq.mgmt_api.operator import gatekeepers
from wardenmq.mgmt_api.operator.explain import (
    CANNOT_CONNECT,
    NO_PLUGIN,
    NOBODY_ADMITS,
    OTHER_LOGINS,
    OTHERS_ADMIT,
    OTHERS_DECIDE,
    SYSTEM_TOPIC,
)
from wardenmq.store.credentials.stored_secrets import store_token
from wardenmq.store.directory import Directory
from wardenmq.store.records import Rule
from wardenmq.store.source_order import FileSource

from ..engine.brokers import ANONYMOUS, running_broker
from ..engine.wire5 import Client5, connect
from ..spec.v5.serving import Clients5
from .operators import Operator, segment

OWN: dict[str, dict[str, Any]] = {CREDENTIAL_PLUGIN: {}, TOPIC_ACL_PLUGIN: {}}
RULES: list[dict[str, Any]] = [
    {"topic": "t/1", "permission": "allow", "action": "publish", "qos": 1},
    {"topic": "t/2", "permission": "allow", "action": "subscribe"},
    {"topic": "kept", "permission": "allow", "action": "publish", "retain": True},
    {"topic": "mine/${clientid}/#", "permission": "allow", "action": "all"},
    {"topic": "eq lit/+", "permission": "allow", "action": "subscribe"},
    {"topic": "all/secret/#", "permission": "deny", "action": "all"},
    {"topic": "all/#", "permission": "allow", "action": "all"},
    {"topic": "near", "permission": "allow", "action": "all", "condition": {"ipaddr": "127.0.0.0/8"}},
    {"topic": "far", "permission": "allow", "action": "all", "condition": {"ipaddr": "192.0.2.0/24"}},
    {"topic": "here", "permission": "allow", "action": "all", "condition": {"listener": "default"}},
    {"topic": "$SYS/#", "permission": "allow", "action": "all"},
]
FILTERS = [
    *(
        "t/1",
        "t/2",
        "t/+",
        "mine/one/x",
        "mine/one/#",
        "mine/two/x",
        "lit/+",
        "lit/a",
        "all/#",
        "all/secret/x",
        "all/a",
    ),
    *(
        "near",
        "far",
        "here",
        "$SYS/#",
        "$SYS/x",
        "$share/g/t/2",
        "$share/g/t/1",
        "unknown",
        "+/a",
        "#",
        "public",
        "role/a",
    ),
]
MESSAGES = [
    (topic, qos, retain) for topic in FILTERS if not {*topic} & {*"+#"} for qos, retain in ((1, False), (2, True))
]
MESSAGES += [("kept", 1, True), ("kept", 1, False), ("t/1", 2, False)]
SHARED_NAME = "$share/"


class OnlyThis(BaseTopicPlugin):
    """Allow topics that begin with `only/`, as another's plugin."""

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool | None:
        return topic is not None and topic.startswith("only/")


ONLY_THIS = f"{OnlyThis.__module__}.OnlyThis"


@asynccontextmanager
async def operating(
    directory: Directory, plugins: Mapping[str, Mapping[str, Any]], settings: MqttSettings | None = None
) -> AsyncIterator[Operator]:
    async with running_broker(plugins, settings, directory) as broker, AsyncExitStack() as stack:
        application = create_application(broker=broker, directory=directory)
        async with TestClient(TestServer(application)) as http:
            yield Operator(http, Clients5(broker, stack), directory, await directory.create_operator_token())


async def explained(operator: Operator, **query: object) -> dict[str, Any]:
    text = "&".join(f"{key}={segment(str(value)) if value != '' else ''}" for key, value in query.items())
    return await operator.done("GET", f"/acl/explain?{text}")


async def opened(operator: Operator) -> Client5:
    assert isinstance(operator.mqtt, Clients5)
    return await operator.mqtt.open5()


async def entered(operator: Operator, client_id: str, username: str | None = None) -> Client5:
    client = await opened(operator)
    await client.connect(client_id, username=username, password=None if username is None else b"x")
    return client


async def furnish(operator: Operator) -> None:
    """Give rules to alice, a role to bob, a confined and a superuser, and a rule for all."""
    await operator.done("PUT", "/rules/username/alice", {"rules": RULES})
    await operator.done("PUT", "/rules/all", {"rules": [{"topic": "public", "permission": "allow", "action": "all"}]})
    acls = [
        {"acltype": "subscribePattern", "topic": "role/#", "allow": True},
        {"acltype": "publishClientSend", "topic": "role/%c", "allow": True},
        {"acltype": "publishClientSend", "topic": "all/#", "allow": True},
    ]
    await operator.done("POST", "/roles", {"name": "r", "acls": acls, "allow_wildcard_subs": False})
    await operator.done("POST", "/groups", {"name": "g", "roles": [{"name": "r"}]})
    for login, more in (
        ("alice", {}),
        ("bob", {"groups": [{"name": "g"}]}),
        ("carol", {"confined": True, "roles": [{"name": "r"}]}),
        ("root", {"superuser": True}),
    ):
        await operator.done("POST", "/users", {"login": login, "password": "x", **more})


async def compare(operator: Operator, client: Client5, client_id: str) -> list[bool]:
    """Have a client do everything and compare each answer with the explanation; return what was allowed."""
    seen: list[bool] = []
    for topic in FILTERS:
        granted = (await client.subscribe((topic, 0)))[0] < 0x80
        answer = await explained(operator, clientid=client_id, topic=topic, action="subscribe")
        assert answer["allowed"] is granted, (client_id, topic, answer)
        seen.append(granted)
    for topic, qos, retain in MESSAGES:
        if topic.startswith(SHARED_NAME):
            continue
        accepted = await client.publish(topic, b"m", qos, retain=retain) < 0x80
        answer = await explained(operator, clientid=client_id, topic=topic, qos=qos, retain=str(retain).lower())
        assert answer["allowed"] is accepted, (client_id, topic, qos, retain, answer)
        seen.append(accepted)
    return seen


async def test_the_explanation_is_what_the_broker_does(directory: Directory) -> None:
    async with operating(directory, OWN) as operator:
        await furnish(operator)
        for username in ("alice", "bob", "carol", "root"):
            client = await entered(operator, "one", username)
            seen = await compare(operator, client, "one")
            assert {*seen} == {True, False}
            client.abort()
            offline = [
                (await explained(operator, clientid="one", topic=topic, action="subscribe", username=username, **HERE))
                for topic in FILTERS
            ]
            assert [answer["allowed"] for answer in offline] == seen[: len(FILTERS)]
            assert all(answer["remarks"] == [] for answer in offline)


HERE = {"address": "127.0.0.1", "listener": "tcp:default"}


async def test_deliveries_are_explained_as_they_come(directory: Directory) -> None:
    async with operating(directory, OWN) as operator:
        await furnish(operator)
        receiver = await entered(operator, "one", "alice")
        assert await receiver.subscribe(("all/#", 1), ("t/2", 1)) == [1, 1]
        sender = await entered(operator, "two", "root")
        for topic in ("all/a", "all/secret/x", "t/2", "all/secret", "all"):
            await sender.publish(topic, topic.encode(), 1)
        await sender.publish("t/2", b"end", 1)
        came: set[str] = set()
        while (message := await receiver.message()).payload != b"end":
            came.add(message.topic)
        for topic in ("all/a", "all/secret/x", "t/2", "all/secret", "all"):
            answer = await explained(operator, clientid="one", topic=topic, action="receive")
            assert answer["allowed"] is (topic in came), (topic, answer)
        assert came == {"all/a", "t/2", "all"}


# -- plugins


async def test_without_the_plugin_of_the_rules_everything_is_allowed(directory: Directory) -> None:
    async with operating(directory, {CREDENTIAL_PLUGIN: {}}) as operator:
        await furnish(operator)
        client = await entered(operator, "one", "alice")
        seen = await compare(operator, client, "one")
        assert seen.count(False) == sum(topic.startswith("$SYS") for topic, _, _ in MESSAGES)
        answer = await explained(operator, clientid="one", topic="x/y")
        assert (answer["decided_by"], answer["layers"], answer["remarks"]) == ("no_plugin", [], [NO_PLUGIN])


async def test_others_plugins_may_deny_more(directory: Directory) -> None:
    async with operating(directory, {**OWN, ONLY_THIS: {}}) as operator:
        await furnish(operator)
        await operator.done(
            "POST", "/rules/username/alice", {"topic": "only/#", "permission": "allow", "action": "all"}
        )
        client = await entered(operator, "one", "alice")
        for topic, both in (("only/this", True), ("all/a", False)):
            assert (await client.publish(topic, b"", 1) < 0x80) is both
            answer = await explained(operator, clientid="one", topic=topic)
            assert (answer["allowed"], answer["decided_by"]) == (True, "username")
            assert answer["remarks"] == [f"{OTHERS_DECIDE} {ONLY_THIS}."]
        denied = await explained(operator, clientid="one", topic="only-that")
        assert (denied["allowed"], await client.publish("only-that", b"", 1)) == (False, 0x87)


async def test_others_plugins_alone_decide_alone(directory: Directory) -> None:
    async with operating(directory, {CREDENTIAL_PLUGIN: {}, ONLY_THIS: {}}) as operator:
        await furnish(operator)
        answer = await explained(operator, clientid="one", topic="x/y", username="alice")
        assert (answer["allowed"], answer["decided_by"]) == (True, "other_plugins")
        assert answer["remarks"] == [f"{OTHERS_DECIDE} {ONLY_THIS}.", NO_PLUGIN]


async def test_who_was_let_in_by_others_has_no_login(directory: Directory) -> None:
    async with operating(directory, {**ANONYMOUS, TOPIC_ACL_PLUGIN: {}}) as operator:
        await furnish(operator)
        for username in ("root", "alice", "carol"):
            expected = {
                topic: (await explained(operator, clientid="one", topic=topic, username=username, **HERE))
                for topic in ("all/a", "public", "role/a", "t/2")
            }
            client = await entered(operator, "one", username)
            for topic, answer in expected.items():
                assert answer["allowed"] is (await client.publish(topic, b"", 1) < 0x80), (username, topic, answer)
                assert answer["client"]["login"] is None
                assert answer["remarks"] == [OTHER_LOGINS, f"{OTHERS_ADMIT} {next(iter(ANONYMOUS))}."]
                assert await explained(operator, clientid="one", topic=topic) == {
                    **answer,
                    "client": {**answer["client"], "session": True, "connected": True},
                }
            client.abort()


async def test_with_no_plugin_at_all_nobody_connects(directory: Directory) -> None:
    async with operating(directory, {}) as operator:
        answer = await explained(operator, clientid="one", topic="x")
        assert answer["remarks"] == [NOBODY_ADMITS, NO_PLUGIN]
        assert await (await opened(operator)).refused(connect("one")) == 0x87


def test_the_names_of_our_plugins() -> None:
    assert (gatekeepers.LOGINS, gatekeepers.RULES) == (CREDENTIAL_PLUGIN, TOPIC_ACL_PLUGIN)


# -- settings


LIMITS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"wildcard_subscription": False}, {"topic": "a/#", "action": "subscribe"}),
    ({"shared_subscription": False}, {"topic": "$share/g/a", "action": "subscribe"}),
    ({"max_qos_allowed": 1}, {"topic": "a", "qos": 2}),
    ({"retain_available": False}, {"topic": "a", "qos": 1, "retain": "true"}),
    ({"max_topic_length": 5}, {"topic": "aaaaaa", "qos": 1}),
    ({"max_topic_length": 5}, {"topic": "aaaaaa", "action": "subscribe"}),
    ({"max_topic_levels": 2}, {"topic": "a/b/c", "qos": 1}),
    ({"max_topic_levels": 2}, {"topic": "a/b/c", "action": "subscribe"}),
]


async def does(client: Client5, asked: dict[str, Any]) -> bool:
    """Tell whether a client gets its way; some refusals end the connection."""
    try:
        if asked.get("action") == "subscribe":
            return (await client.subscribe((asked["topic"], 0)))[0] < 0x80
        return await client.publish(asked["topic"], b"", asked["qos"], retain="retain" in asked) < 0x80
    except AssertionError as error:
        if "DISCONNECT" not in str(error) and "kind=14" not in str(error):
            raise
        return False


@pytest.mark.parametrize(("limits", "asked"), LIMITS)
async def test_nobody_is_exempt_from_the_settings(
    directory: Directory, limits: dict[str, Any], asked: dict[str, Any]
) -> None:
    for settings, allowed in ((MqttSettings(**limits), False), (MqttSettings(), True)):
        async with operating(directory, OWN, settings) as operator:
            if directory.login("username", "root") is None:
                await directory.create_login("username", "root", "x", superuser=True)
            answer = await explained(operator, clientid="one", username="root", **asked)
            assert (answer["allowed"], answer["decided_by"]) == (allowed, "superuser" if allowed else "settings")
            assert len(answer["remarks"]) == (not allowed)
            client = await entered(operator, "one", "root")
            assert await does(client, asked) is allowed
            client.abort()


async def test_topics_of_the_system_are_nobodys(directory: Directory) -> None:
    async with operating(directory, OWN) as operator:
        await directory.create_login("username", "root", "x", superuser=True)
        answer = await explained(operator, clientid="one", topic="$SYS/x", username="root")
        assert (answer["allowed"], answer["decided_by"], answer["remarks"]) == (False, "system_topic", [SYSTEM_TOPIC])


# -- remarks

Keeping = Callable[[Directory], Awaitable[object]]


async def key(directory: Directory) -> None:
    await directory.tenants.create("acme")
    secret = store_token("x")
    await directory.delete_login("username", "alice")
    values: dict[str, Any] = {"kind": "haltian_key", "tenant": "acme", "confined": True, "id": "k", "secret": secret}
    await directory.create_login("username", "alice", None, **values)


async def member(directory: Directory) -> None:
    await directory.tenants.create("acme")
    await directory.delete_login("username", "alice")
    await directory.create_login("username", "alice", "x", tenant="acme")
    await directory.tenants.update("acme", enabled=False)


async def reserved(directory: Directory) -> None:
    await directory.create_login("username", "other", "x", clientid="one", clientid_mode="reserved")


async def taken_level(directory: Directory) -> None:
    await directory.create_login("username", "one", "x")
    await directory.update_login("username", "alice", clientid_mode="per_connection")


KEPT_OUT: dict[str, tuple[Keeping, str, int]] = {
    "client id banned": (lambda it: it.bans.create("clientid", "one"), "banned by clientid 'one'", 0x8A),
    "address banned": (lambda it: it.bans.create("peerhost_net", "127.0.0.0/8"), "banned by peerhost_net", 0x8A),
    "name banned": (lambda it: it.bans.create("username", "alice"), "banned by username 'alice'", 0x8A),
    "disabled": (lambda it: it.update_login("username", "alice", disabled=True), "the login is disabled", 0x87),
    "paused": (lambda it: it.update_login("username", "alice", paused=True), "the login is paused", 0x87),
    "expired": (lambda it: it.update_login("username", "alice", expires_at=1.0), "the login has expired", 0x87),
    "tenant off": (member, "the login's organization is switched off", 0x87),
    "required": (
        lambda it: it.update_login("username", "alice", clientid="other", clientid_mode="required"),
        "the login must connect with another client id",
        0x87,
    ),
    "reserved": (reserved, "the client id is reserved for another login", 0x87),
    "a level that is taken": (taken_level, "the client id cannot be a level of this login's topics", 0x87),
    "key without role": (key, "the key lacks its role or an active integration", 0x87),
    "unknown": (lambda it: it.delete_login("username", "alice"), "the login is unknown", 0x86),
}


@pytest.mark.parametrize(("keep", "reason", "code"), KEPT_OUT.values(), ids=KEPT_OUT)
async def test_a_remark_says_why_a_client_is_refused(
    directory: Directory, keep: Keeping, reason: str, code: int
) -> None:
    async with operating(directory, OWN) as operator:
        await directory.create_login("username", "alice", "x")
        asked = {"clientid": "one", "topic": "t", "username": "alice", **HERE}
        assert (await explained(operator, **asked))["remarks"] == []
        (await entered(operator, "one", "alice")).abort()
        await keep(directory)
        (remark,) = (await explained(operator, **asked))["remarks"]
        assert remark.startswith(CANNOT_CONNECT.format(reason)[:-1]), remark
        assert await (await opened(operator)).refused(connect("one", username="alice", password=b"x")) == code


async def test_all_that_keeps_a_client_out_is_named(directory: Directory) -> None:
    async with operating(directory, OWN) as operator:
        await directory.create_login("username", "alice", "x", disabled=True, expires_at=1.0)
        await directory.update_login("username", "alice", paused=True)
        await directory.bans.create("username", "alice")
        await directory.bans.create("clientid", "one")
        remarks = (await explained(operator, clientid="one", topic="t", username="alice"))["remarks"]
        reasons = (
            "banned by clientid 'one'",
            "banned by username 'alice'",
            "the login is disabled",
            "the login is paused",
            "the login has expired",
        )
        assert remarks == [CANNOT_CONNECT.format(reason) for reason in reasons]


@pytest.mark.parametrize("allowed", [False, True])
async def test_anonymous_clients_where_they_are_let_in_and_where_not(directory: Directory, allowed: bool) -> None:
    plugins = {CREDENTIAL_PLUGIN: {"allow_anonymous": allowed}, TOPIC_ACL_PLUGIN: {}}
    async with operating(directory, plugins) as operator:
        remarks = (await explained(operator, clientid="one", topic="t"))["remarks"]
        if allowed:
            assert remarks == []
            (await entered(operator, "one")).abort()
            await directory.create_login("username", "other", "x", clientid="one", clientid_mode="reserved")
            (remark,) = (await explained(operator, clientid="one", topic="t"))["remarks"]
            assert remark == CANNOT_CONNECT.format("the client id is reserved for another login")
        else:
            assert remarks == [CANNOT_CONNECT.format("anonymous clients are not allowed")]
        assert await (await opened(operator)).refused(connect("one")) == (0x86 if allowed else 0x87)


async def test_a_login_by_client_id(directory: Directory) -> None:
    async with operating(directory, OWN) as operator:
        await directory.create_login("clientid", "one", "x")
        for username in ("", "whoever"):
            answer = await explained(operator, clientid="one", topic="t", username=username)
            assert (answer["client"]["login"], answer["client"]["login_type"]) == ("one", "clientid")
            assert answer["remarks"] == []
        (await entered(operator, "one", "whoever")).abort()


async def test_a_rule_of_the_file_is_named_by_its_line(directory: Directory) -> None:
    async with operating(directory, OWN) as operator:
        await directory.set_rules("all", "", [Rule("t", "allow", "all")])
        await directory.sources.update(FileSource('%% nobody\n\n{deny, {clientid, "one"}, publish, ["t"]}.'))
        answer = await explained(operator, clientid="one", topic="t")
        assert (answer["allowed"], answer["decided_by"]) == (False, "file")
        (layer,) = answer["layers"]
        assert (layer["kind"], layer["position"], layer["rule"]["topic"]) == ("file", 3, "t")
        assert "line 3: deny publish t" in describe(answer, "publish", "t")
        other = await explained(operator, clientid="two", topic="t")
        assert [layer["kind"] for layer in other["layers"]] == ["file", "all"]
        assert other["allowed"]
