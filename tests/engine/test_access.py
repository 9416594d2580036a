"""Who may connect, publish, subscribe and receive; through the engine's contract and through amqtt's."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import pytest
from amqtt.contexts import BaseContext
from amqtt.plugins.base import BaseTopicPlugin
from wardenmq.broker.access import PUBLISH as PUBLISHING
from wardenmq.broker.access import Identity
from wardenmq.broker.access_control import AccessControl

from . import access_plugins
from .brokers import ANONYMOUS, Clients, serving
from .conditions import until
from .wire import PUBCOMP, PUBLISH, PUBREC, PUBREL, Will, acknowledge, connect, publish, subscribe

HERE = access_plugins.__name__
Serving = Callable[..., AbstractAsyncContextManager[Clients]]


@pytest.fixture(params=["FastPasswords", "SlowPasswords"])
def with_passwords(request: pytest.FixtureRequest) -> Serving:
    return lambda: serving({f"{HERE}.{request.param}": {}})


@pytest.fixture(params=["FastRules", "SlowRules"])
def with_rules(request: pytest.FixtureRequest) -> Serving:
    return lambda **denied: serving({**ANONYMOUS, f"{HERE}.{request.param}": denied})


async def test_wrong_credentials_are_answered_4(with_passwords: Serving) -> None:
    """[MQTT-3.2.2-5] [MQTT-3.2.2-4]: return code 4, nothing else, and the connection is closed."""
    async with with_passwords() as clients:
        for username, password in (("alice", b"wrong"), ("alice", None), ("nobody", b"x"), ("alice", b"")):
            request = connect("c1", username=username, password=password)
            assert await (await clients.open()).refused(request) == 4, (username, password)
        assert len(clients.broker.registry) == 0
        await (await clients.connected("c1", username="alice", password=b"secret")).ping()
        session = clients.broker.registry.get("c1")
        assert session is not None and session.username == "alice"


async def test_no_credentials_are_refused(with_passwords: Serving) -> None:
    """[MQTT-3.2.2-5]: 4 or 5, never a session."""
    async with with_passwords() as clients:
        assert await (await clients.open()).refused(connect("c1")) in (4, 5)
        assert len(clients.broker.registry) == 0


async def test_what_follows_a_refused_connect_is_not_processed(with_passwords: Serving) -> None:
    """[MQTT-3.1.4-5]: publish and subscribe sent along with a CONNECT that is refused have no effect."""
    async with with_passwords() as clients:
        watcher = await clients.connected("watcher", username="bob", password=b"hunter2")
        await watcher.subscribe(("t", 0))
        refused = await clients.open()
        request = connect("c1", username="alice", password=b"wrong")
        assert await refused.refused(request + publish("t", b"x") + subscribe(1, ("t", 0))) == 4
        await watcher.nothing_came()
        assert clients.broker.router.subscription_count == 1


@pytest.mark.parametrize("clean", [True, False])
async def test_a_wrong_password_does_not_disturb_the_live_session(with_passwords: Serving, clean: bool) -> None:
    """[MQTT-3.1.4-2]: authentication comes before any session is looked up."""
    async with with_passwords() as clients:
        device = await clients.connected("device", clean=False, username="alice", password=b"secret")
        await device.subscribe(("t", 1))
        attack = connect("device", clean=clean, username="alice", password=b"guess")
        assert await (await clients.open()).refused(attack) == 4
        await device.publish("t", b"still here", 1)
        assert (await device.message()).payload == b"still here"


async def test_a_wrong_password_does_not_discard_the_stored_session(with_passwords: Serving) -> None:
    """[MQTT-3.2.2-4]: nor what is queued for a client that is away; the refusal does not tell of the session."""
    async with with_passwords() as clients:
        good = {"clean": False, "username": "alice", "password": b"secret"}
        device = await clients.connected("device", **good)
        await device.subscribe(("t", 1))
        await device.disconnect()
        attack = connect("device", clean=True, username="alice", password=b"guess")
        assert await (await clients.open()).refused(attack) == 4
        await (await clients.connected("p", username="bob", password=b"hunter2")).publish("t", b"kept", 1)
        device = await clients.open()
        assert await device.connect("device", **good) is True
        assert (await device.message()).payload == b"kept"


async def test_another_principal_gets_nothing_of_a_session() -> None:
    """[MQTT-3.1.4-2]: the same client id under another login is a take-over that begins a new session."""
    async with serving({f"{HERE}.FastPasswords": {}}) as clients:
        alice = await clients.connected("c1", clean=False, username="alice", password=b"secret")
        await alice.subscribe(("t", 1))
        bob = await clients.open()
        assert await bob.connect("c1", clean=False, username="bob", password=b"hunter2") is False
        await alice.hung_up()
        await bob.publish("t", b"x", 1)
        await bob.nothing_came()


async def test_denied_publish_is_dropped_with_its_handshake_completed(with_rules: Serving) -> None:
    """[MQTT-3.3.5-2]: acknowledged at every QoS, delivered to nobody, not retained; counted."""
    async with with_rules(publish=["no"]) as clients:
        publisher, subscriber = await clients.pair(("#", 2))
        for qos in (0, 1, 2):
            await publisher.publish("no", b"x", qos, retain=True)
        await publisher.publish("yes", b"y", 1)
        assert (await subscriber.message()).topic == "yes"
        await subscriber.nothing_came()
        late = await clients.connected("late")
        await late.subscribe(("no", 0))
        await late.nothing_came()
        session = clients.broker.registry.get("publisher")
        assert session is not None and session.traffic.publish_dropped == 3


async def test_a_denied_qos_2_publish_can_be_repeated(with_rules: Serving) -> None:
    """[MQTT-4.3.3-2] [MQTT-3.3.5-2]."""
    async with with_rules(publish=["no"]) as clients:
        client = await clients.connected("c1")
        for _ in range(2):
            client.send(publish("no", b"x", 2, 9))
            assert (await client.expect(PUBREC)).packet_id == 9
        client.send(acknowledge(PUBREL, 9))
        assert (await client.expect(PUBCOMP)).packet_id == 9


async def test_denied_subscription_is_answered_0x80(with_rules: Serving) -> None:
    """[MQTT-3.8.4-5] [MQTT-3.9.3-2]: the others of the same packet are granted."""
    async with with_rules(subscribe=["secret/#"]) as clients:
        client = await clients.connected("c1")
        await client.publish("secret/x", b"v", 1, retain=True)
        assert await client.subscribe(("a", 1), ("secret/#", 2), ("b", 0)) == [1, 0x80, 0]
        await client.publish("secret/x", b"w", 1)
        await client.nothing_came()


async def test_a_denied_resubscription_leaves_the_old_one(with_rules: Serving) -> None:
    """[MQTT-3.8.4-3]: only an accepted subscription replaces."""
    async with with_rules(subscribe=["no"]) as clients:
        client = await clients.connected("c1")
        assert await client.subscribe(("no", 0), ("yes", 1)) == [0x80, 1]
        assert list(clients.broker.router.filters()) == ["yes"]


async def test_denied_delivery(with_rules: Serving) -> None:
    """Neither live, nor retained, nor queued."""
    async with with_rules(receive=["t/no"]) as clients:
        publisher, subscriber = await clients.pair(("t/#", 1))
        for topic in ("t/no", "t/yes"):
            await publisher.publish(topic, b"live", 1, retain=True)
        assert (await subscriber.message()).topic == "t/yes"
        await subscriber.nothing_came()
        late = await clients.connected("late", clean=False)
        await late.subscribe(("t/#", 1))
        assert (await late.message()).topic == "t/yes"
        await late.nothing_came()
        await late.disconnect()
        await publisher.publish("t/no", b"queued", 1)
        late = await clients.connected("late", clean=False)
        await late.nothing_came()


async def test_denied_will_is_not_published(with_rules: Serving) -> None:
    """[MQTT-3.1.2-8] [MQTT-3.3.5-2]: a will is a publish of its client and held to the same rules."""
    async with with_rules(publish=["will/no"]) as clients:
        watcher = await clients.connected("watcher")
        await watcher.subscribe(("will/#", 0))
        for topic in ("will/no", "will/yes"):
            (await clients.connected(topic, will=Will(topic, b"gone", 0, retain=True))).abort()
            await until(lambda: clients.broker.registry.connected_count == 1)
        assert (await watcher.message()).topic == "will/yes"
        await watcher.nothing_came()
        late = await clients.connected("late")
        await late.subscribe(("will/#", 0))
        assert (await late.message()).topic == "will/yes"
        await late.nothing_came()


async def test_order_is_kept_while_a_plugin_thinks() -> None:
    """[MQTT-4.6.0-5]: the answers of a waiting plugin come later for the first than for the last."""
    async with serving({**ANONYMOUS, f"{HERE}.ReverseDelay": {}}) as clients:
        publisher, subscriber = await clients.pair(("t/#", 1))
        publisher.send(*(publish(f"t/{n}", b"%d" % n, n % 2, n if n % 2 else None) for n in range(1, 31)), b"\xc0\x00")
        assert await subscriber.messages(30) == [b"%d" % n for n in range(1, 31)]
        for n in range(1, 31, 2):
            assert (await publisher.expect(4)).packet_id == n
        await publisher.expect(13)
        plugin = clients.broker.plugins_manager.get_plugin("ReverseDelay")
        assert plugin.asked == [f"t/{n}" for n in range(1, 31)]


async def test_qos_2_survives_a_connection_that_breaks_while_a_plugin_thinks() -> None:
    """[MQTT-4.3.3-2] [MQTT-4.4.0-1]: no PUBREC was sent, so the message that is sent again must not be lost."""
    async with serving({**ANONYMOUS, f"{HERE}.Gatekeeper": {}}) as clients:
        subscriber = await clients.connected("subscriber")
        await subscriber.subscribe(("t", 2))
        publisher = await clients.connected("publisher", clean=False)
        plugin = clients.broker.plugins_manager.get_plugin("Gatekeeper")
        assert isinstance(plugin, access_plugins.Gatekeeper)
        publisher.send(publish("t", b"x", 2, 5))
        await until(lambda: plugin.waiting == 1)
        publisher.abort()  # not noticed while the socket is not read; the next connection takes over
        publisher = await clients.connected("publisher", clean=False)
        plugin.gate.set()
        publisher.send(publish("t", b"x", 2, 5, dup=True))
        assert (await publisher.expect(PUBREC)).packet_id == 5
        publisher.send(acknowledge(PUBREL, 5))
        await publisher.expect(PUBCOMP)
        assert (await subscriber.message()).payload == b"x"
        await subscriber.nothing_came()


async def test_disconnect_waits_its_turn_behind_a_plugin() -> None:
    """[MQTT-4.6.0-5] [MQTT-3.14.4-3]: a publish that is still being decided is not lost to the DISCONNECT behind it."""
    async with serving({**ANONYMOUS, f"{HERE}.ReverseDelay": {}}) as clients:
        publisher, subscriber = await clients.pair(("t", 0))
        publisher.send(publish("t", b"last words"), b"\xe0\x00")
        assert (await subscriber.message()).payload == b"last words"
        await publisher.hung_up()


async def test_without_any_authentication_plugin_nobody_gets_in() -> None:
    """[MQTT-3.2.2-5]: silence is not consent."""
    async with serving({}) as clients:
        assert await (await clients.open()).refused(connect("c1")) in (4, 5)


async def test_deliveries_wait_for_nothing_else(with_rules: Serving) -> None:
    """[MQTT-4.6.0-6]: QoS 2 to a subscriber whose deliveries are checked one by one."""
    async with with_rules(receive=["other"]) as clients:
        publisher, subscriber = await clients.pair(("t", 2))
        await publisher.publish_all("t", [b"%d" % n for n in range(10)], 2)
        held = [await subscriber.expect(PUBLISH) for _ in range(10)]
        assert [p.payload for p in held] == [b"%d" % n for n in range(10)]


class Opinionated(BaseTopicPlugin):
    """Have one opinion, or none."""

    @dataclass
    class Config:
        opinion: bool | None = None

    def authorize(self, client: Identity, operation: int, topic: str, qos: int, retain: bool) -> bool | None:
        return self.config.opinion

    def checks_delivery(self, client: Identity) -> bool:
        return False


@pytest.mark.parametrize(
    ("opinions", "allowed"),
    [
        ((), True),
        ((True,), True),
        ((False,), False),
        ((None,), False),
        ((True, None), True),
        ((None, True), True),
        ((True, False), False),
        ((False, True), False),
        ((None, None), False),
    ],
)
def test_all_that_have_an_opinion_must_agree(opinions: tuple[bool | None, ...], allowed: bool) -> None:
    """And one must have one, where there is any plugin; a superuser is asked about nothing."""
    control = AccessControl()
    plugins: list[BaseTopicPlugin] = []
    for opinion in opinions:
        context = BaseContext()
        context.config = Opinionated.Config(opinion)  # pyright: ignore[reportAttributeAccessIssue]
        plugins.append(Opinionated(context))
    control.load([], plugins)
    assert control.authorize(Identity("c", None, None, ""), PUBLISHING, "t", 0, False) is allowed
    assert control.authorize(Identity("c", None, None, "", superuser=True), PUBLISHING, "t", 0, False) is True
    assert (control.allowed, control.denied) == (1 + allowed, 1 - allowed)
