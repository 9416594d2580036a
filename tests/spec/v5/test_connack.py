"""CONNACK: what the server announces, and holds to (MQTT 5.0, section 3.2)."""

import pytest
from wardenmq.broker.settings import MqttSettings

from ...engine import access_plugins
from ...engine.packets5 import P, Packet5
from ...engine.wire import CONNACK
from ...engine.wire5 import Will5, connect, options, publish, subscribe, users
from .serving import KEPT, Clients5, serving5


async def _connack(clients: Clients5, client_id: str = "c1", **fields: object) -> Packet5:
    return await (await clients.open5()).connect(client_id, **fields)


async def test_defaults(clients: Clients5) -> None:
    """Everything is available, and said with the values that the settings have. [MQTT-3.2.2-8] [MQTT-3.2.2-1]"""
    settings, got = clients.broker.settings, await _connack(clients)
    assert got.get(P.MAXIMUM_QOS) is None
    for available in (
        P.RETAIN_AVAILABLE,
        P.WILDCARD_AVAILABLE,
        P.SUBSCRIPTION_ID_AVAILABLE,
        P.SHARED_AVAILABLE,
    ):
        assert got.get(available) in (None, 1)
    assert got.get(P.RECEIVE_MAXIMUM) == settings.max_awaiting_rel
    assert got.get(P.MAXIMUM_PACKET_SIZE) == settings.max_packet_size
    assert got.get(P.TOPIC_ALIAS_MAXIMUM) == settings.max_topic_alias
    for absent in (
        P.ASSIGNED_CLIENT_ID,
        P.SERVER_KEEP_ALIVE,
        P.SESSION_EXPIRY,
        P.RESPONSE_INFORMATION,
        P.REASON_STRING,
    ):
        assert got.get(absent) is None


async def test_what_is_switched_off_is_announced() -> None:
    """[MQTT-3.2.2-9]: Maximum QoS and each availability, as the settings have it."""
    settings = MqttSettings(
        max_qos_allowed=1,
        retain_available=False,
        wildcard_subscription=False,
        shared_subscription=False,
        subscription_identifiers=False,
        max_topic_alias=0,
        max_packet_size=5_000,
        max_awaiting_rel=7,
    )
    async with serving5(settings) as bare:
        got = await _connack(bare)
        assert got.get(P.MAXIMUM_QOS) == 1
        assert got.get(P.RETAIN_AVAILABLE) == 0
        assert got.get(P.WILDCARD_AVAILABLE) == 0
        assert got.get(P.SHARED_AVAILABLE) == 0
        assert got.get(P.SUBSCRIPTION_ID_AVAILABLE) == 0
        assert got.get(P.TOPIC_ALIAS_MAXIMUM) in (None, 0)
        assert got.get(P.MAXIMUM_PACKET_SIZE) == 5_000
        assert got.get(P.RECEIVE_MAXIMUM) == 7


async def test_session_present(clients: Clients5) -> None:
    """[MQTT-3.2.2-2] [MQTT-3.2.2-3]: 1 only where a stored session is resumed."""
    assert not (await _connack(clients, clean=False, properties=KEPT)).session_present
    assert (await _connack(clients, clean=False, properties=KEPT)).session_present
    assert not (await _connack(clients, clean=True, properties=KEPT)).session_present
    assert (await _connack(clients, clean=False)).session_present
    await clients.gone("c2")
    assert not (await _connack(clients, "c2", clean=False)).session_present


async def test_a_refusal_has_no_session_present() -> None:
    """[MQTT-3.2.2-6] [MQTT-3.2.2-7]: even where there is a session."""
    async with serving5(plugins={f"{access_plugins.__name__}.FastPasswords": {}}) as guarded:
        client = await guarded.connected5("c1", username="alice", password=b"secret", properties=KEPT)
        await client.disconnect()
        request = connect("c1", clean=False, username="alice", password=b"wrong")
        refusal = await (await guarded.open5()).refusal(request)
        assert not refusal.session_present


@pytest.mark.parametrize("clean", [True, False])
async def test_an_assigned_client_id(clients: Clients5, clean: bool) -> None:
    """[MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]: unique, told to the client, and its own from then on."""
    first, second = await clients.open5(), await clients.open5()
    assigned = [
        (await client.connect("", clean=clean, properties=KEPT)).get(P.ASSIGNED_CLIENT_ID) for client in (first, second)
    ]
    assert assigned[0] and assigned[1] and assigned[0] != assigned[1]
    await first.subscribe(("t", 1))
    assert clients.session(str(assigned[0])).connected
    await first.disconnect()
    again = await clients.back(str(assigned[0]))
    assert await second.publish("t", b"x", 1) == 0
    assert (await again.message()).payload == b"x"


async def test_no_client_id_is_assigned_to_one_that_has_it(clients: Clients5) -> None:
    """[MQTT-3.1.3-7]: Assigned Client Identifier only answers an empty one."""
    assert (await _connack(clients, "mine")).get(P.ASSIGNED_CLIENT_ID) is None


@pytest.mark.parametrize(("asked", "told"), [(5, None), (10, None), (11, 10), (65_535, 10), (0, 10)])
async def test_server_keep_alive(asked: int, told: int | None) -> None:
    """[MQTT-3.2.2-22] [MQTT-3.2.2-21]: sent where the server uses another interval than the client asked for."""
    async with serving5(MqttSettings(max_keepalive=10)) as bounded:
        got = await _connack(bounded, keep_alive=asked)
        assert got.get(P.SERVER_KEEP_ALIVE) == told
        assert bounded.session("c1").keep_alive == (told or asked)


@pytest.mark.parametrize(("asked", "told"), [(5, None), (10, None), (11, 10), (0xFFFFFFFF, 10), (0, None)])
async def test_session_expiry_is_bounded(asked: int, told: int | None) -> None:
    """Session Expiry Interval in CONNACK where the server uses another one than asked for. [MQTT-3.1.2-23]"""
    async with serving5(MqttSettings(max_session_expiry_interval=10)) as bounded:
        got = await _connack(bounded, properties=[(P.SESSION_EXPIRY, asked)])
        assert got.get(P.SESSION_EXPIRY) == told
        assert bounded.session("c1").expiry_interval == (told or asked)


@pytest.mark.parametrize(("request_", "told"), [(None, None), (0, None), (1, "answers/")])
async def test_response_information(request_: int | None, told: str | None) -> None:
    """[MQTT-3.1.2-28]: only for a client that asks."""
    properties = [] if request_ is None else [(P.REQUEST_RESPONSE, request_)]
    async with serving5(MqttSettings(response_information="answers/")) as informing:
        assert (await _connack(informing, properties=properties)).get(P.RESPONSE_INFORMATION) == told


async def test_no_response_information_by_default(clients: Clients5) -> None:
    """[MQTT-3.1.2-28]: nothing is made up where there is none."""
    got = await _connack(clients, properties=[(P.REQUEST_RESPONSE, 1)])
    assert got.get(P.RESPONSE_INFORMATION) is None


# Maximum QoS.


async def test_subscriptions_are_granted_up_to_the_maximum_qos() -> None:
    """[MQTT-3.2.2-10] [MQTT-3.2.2-9] [MQTT-3.8.4-7]: a SUBSCRIBE for more is no error."""
    for most in (0, 1):
        async with serving5(MqttSettings(max_qos_allowed=most)) as limited:
            client = await limited.connected5("c1")
            assert await client.subscribe(("a", 0), ("b", 1), ("c", 2)) == [0, min(1, most), most]


@pytest.mark.parametrize(("most", "qos"), [(0, 1), (0, 2), (1, 2)])
async def test_a_publish_past_the_maximum_qos(most: int, qos: int) -> None:
    """[MQTT-3.2.2-11] [MQTT-4.13.1-1]: DISCONNECT 0x9B; at the maximum it is served."""
    async with serving5(MqttSettings(max_qos_allowed=most)) as limited:
        client, watcher = await limited.connected5("c1"), await limited.subscribed5("watcher", ("t", 0))
        await client.publish("t", b"at", most)
        client.send(publish("t", b"past", qos, 7))
        await client.disconnected(0x9B)
        assert (await watcher.message()).payload == b"at"
        await watcher.nothing_came()


@pytest.mark.parametrize(("most", "qos"), [(0, 1), (1, 2)])
async def test_a_will_past_the_maximum_qos(most: int, qos: int) -> None:
    """[MQTT-3.2.2-12]: CONNACK 0x9B and the end of the connection."""
    async with serving5(MqttSettings(max_qos_allowed=most)) as limited:
        assert await (await limited.open5()).refused(connect("c1", will=Will5("w", qos=qos))) == 0x9B
        await limited.connected5("c1", will=Will5("w", qos=most))


# Retain Available.


async def test_retain_where_it_is_not_available() -> None:
    """[MQTT-3.2.2-14] [MQTT-4.13.1-1]: DISCONNECT 0x9A."""
    async with serving5(MqttSettings(retain_available=False)) as limited:
        client, watcher = await limited.connected5("c1"), await limited.subscribed5("watcher", ("t", 0))
        await client.publish("t", b"plain", 1)
        client.send(publish("t", b"kept", 1, 7, retain=True))
        await client.disconnected(0x9A)
        assert (await watcher.message()).payload == b"plain"
        await watcher.nothing_came()


async def test_a_retained_will_where_it_is_not_available() -> None:
    """[MQTT-3.2.2-13]: CONNACK 0x9A and the end of the connection."""
    async with serving5(MqttSettings(retain_available=False)) as limited:
        assert await (await limited.open5()).refused(connect("c1", will=Will5("w", retain=True))) == 0x9A
        await limited.connected5("c1", will=Will5("w"))


# What SUBSCRIBE may not use: a protocol error each, with a reason of its own (3.2.2.3.11 to 3.2.2.3.13).


@pytest.mark.parametrize(
    ("setting", "topic_filter", "properties", "reason"),
    [
        ("wildcard_subscription", "a/+", (), 0xA2),
        ("wildcard_subscription", "#", (), 0xA2),
        ("shared_subscription", "$share/g/a", (), 0x9E),
        ("subscription_identifiers", "a", [(P.SUBSCRIPTION_ID, 1)], 0xA1),
    ],
)
async def test_subscribe_to_what_is_not_available(
    setting: str, topic_filter: str, properties: list[tuple[int, object]], reason: int
) -> None:
    """[MQTT-4.13.1-1]: DISCONNECT 0xA2, 0x9E or 0xA1; nothing is subscribed, and plain filters go on working."""
    async with serving5(MqttSettings(**{setting: False})) as limited:  # type: ignore[arg-type]
        client = await limited.connected5("c1", properties=KEPT)
        assert await client.subscribe(("a", 0)) == [0]
        client.send(subscribe(7, ("b", 0), (topic_filter, 0), properties=properties))
        await client.disconnected(reason)
        assert topic_filter == "a" or topic_filter not in limited.session("c1").subscriptions


# Maximum Packet Size of the client.


@pytest.mark.parametrize("limit", [1, 2, 4, 5, 8, 12, 16, 20, 24, 28, 32, 64])
async def test_nothing_larger_than_the_client_takes(clients: Clients5, limit: int) -> None:
    """[MQTT-3.1.2-24] [MQTT-3.2.2-19] [MQTT-3.2.2-20]: neither the CONNACK nor anything after it."""
    client = await clients.open5()
    properties = [(P.MAXIMUM_PACKET_SIZE, limit), *users(("k", "v" * 100))]
    client.announce([(P.MAXIMUM_PACKET_SIZE, limit)])
    client.send(connect("c1", properties=properties))
    try:
        got = await client.read()  # checks the size
    except (EOFError, ConnectionError):
        assert limit <= 20, "a CONNACK has room in this"
        return
    assert got.kind == CONNACK
    if got.reason == 0 and limit >= 8:
        await client.subscribe(("t", 1))
        await client.publish("t", b"x" * limit, 1)
        await client.publish("t", b"x" * limit)
        await client.nothing_came()


async def test_a_reason_string_gives_way_to_the_packet_size() -> None:
    """[MQTT-3.2.2-19] [MQTT-3.2.2-20]: a CONNACK is sent without it rather than not at all."""
    async with serving5(MqttSettings(max_clientid_len=3)) as limited:
        refusal = await (await limited.open5()).refusal(connect("long"))
        assert refusal.reason == 0x85
        limit: list[tuple[int, object]] = [(P.MAXIMUM_PACKET_SIZE, max(5, refusal.size - 1))]
        client = await limited.open5()
        client.announce(limit)
        refusal = await client.refusal(connect("long", properties=limit))
        assert refusal.reason == 0x85 and refusal.get(P.REASON_STRING) is None


async def test_the_server_keeps_no_larger_window_than_announced(clients: Clients5) -> None:
    """[MQTT-4.9.0-1]: what the client announces is what the session uses, up to the server's own bound."""
    for asked, used in ((1, 1), (10, 10), (65_535, clients.broker.settings.max_inflight)):
        await clients.connected5("c1", properties=[(P.RECEIVE_MAXIMUM, asked)])
        assert clients.session("c1").max_inflight == used
    await clients.connected5("c1")
    assert clients.session("c1").max_inflight == clients.broker.settings.max_inflight


def test_options_byte() -> None:
    """The options byte that these tests send is the one of table 3.8.3.1. [MQTT-3.8.3-5]"""
    assert options(2, no_local=True, retain_as_published=True, retain_handling=2) == 0b00101110
