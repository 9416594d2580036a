"""CONNECT: what lets a client in, and what is refused with which reason (MQTT 5.0, section 3.1)."""

import pytest
from wardenmq.broker.settings import MqttSettings

from ...engine import access_plugins
from ...engine.conditions import until
from ...engine.packets5 import AUTH, P, Properties, property_block, shortest
from ...engine.wire import CONNACK, CONNECT, PING, PINGRESP, PUBACK, PUBLISH, PUBREL, SUBACK, packet, string
from ...engine.wire import connect as connect4
from ...engine.wire5 import Will5, acknowledge, auth, connect, disconnect, publish, subscribe, unsubscribe
from .serving import KEPT, Clients5, serving5

PASSWORDS = {f"{access_plugins.__name__}.FastPasswords": {}}


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(PING, id="PINGREQ"),
        pytest.param(publish("t", b"x"), id="PUBLISH"),
        pytest.param(publish("t", b"x", 1, 1), id="PUBLISH QoS 1"),
        pytest.param(subscribe(1, ("t", 0)), id="SUBSCRIBE"),
        pytest.param(unsubscribe(1, "t"), id="UNSUBSCRIBE"),
        pytest.param(acknowledge(PUBACK, 1), id="PUBACK"),
        pytest.param(acknowledge(PUBREL, 1), id="PUBREL"),
        pytest.param(disconnect(), id="DISCONNECT"),
        pytest.param(disconnect(0x82), id="DISCONNECT with a reason"),
        pytest.param(auth(0x18, [(P.AUTH_METHOD, "m")]), id="AUTH"),
    ],
)
async def test_the_first_packet_is_a_connect(clients: Clients5, first: bytes) -> None:
    """[MQTT-3.1.0-1] [MQTT-3.14.0-1]: anything else closes the connection, without a DISCONNECT."""
    client = await clients.open5()
    client.send(first)
    await client.hung_up()
    await (await clients.connected5()).ping()


async def test_a_second_connect_is_a_protocol_error(clients: Clients5) -> None:
    """[MQTT-3.1.0-2] [MQTT-3.2.0-2]: DISCONNECT 0x82, no second CONNACK, and nobody else is disturbed."""
    other = await clients.connected5("other")
    client = await clients.connected5("c1")
    client.send(connect("other"))
    await client.disconnected(0x82)
    await other.ping()


def _is_a_refused_version(answer: bytes) -> bool:
    """Tell whether a client was told that its protocol is not spoken, in the format of MQTT 5 or of 3.1.1."""
    if answer in (b"", b"\x20\x02\x00\x01"):
        return True
    return answer[0] == CONNACK << 4 and len(answer) == 2 + shortest(answer[1:2]) and answer[2:4] == b"\0\x84"


@pytest.mark.parametrize("name", ["MQTX", "mqtt", "", "MQTTT", "MQIsdp", b"MQ\xc3\x28"])
async def test_another_protocol_name_is_not_served(clients: Clients5, name: str | bytes) -> None:
    """[MQTT-3.1.2-1]: closed, with CONNACK 0x84 or without."""
    client = await clients.open5()
    client.send(connect("c1", name=name))
    answer = await client.rest()
    assert _is_a_refused_version(answer) or answer[2:4] == b"\0\x81", answer.hex()  # ill-formed UTF-8 is malformed
    assert clients.broker.registry.get("c1") is None


@pytest.mark.parametrize("level", [0, 1, 2, 6, 127, 0x85, 255])
async def test_another_protocol_version_is_not_served(clients: Clients5, level: int) -> None:
    """[MQTT-3.1.2-2]: closed, with CONNACK 0x84 or without."""
    client = await clients.open5()
    client.send(connect("c1", level=level))
    answer = await client.rest()
    assert _is_a_refused_version(answer), answer.hex()
    assert clients.broker.registry.get("c1") is None


def _connect(flags: int, payload: bytes, properties: Properties = ()) -> bytes:
    """Build a CONNECT from its flags and payload, whether or not they fit."""
    head = string("MQTT") + bytes((5, flags, 0, 0)) + property_block(properties)
    return packet(CONNECT, head + payload)


ID, NO_PROPERTIES = string("c1"), b"\0"
WILL = NO_PROPERTIES + string("w") + string("gone")
ILL = b"\xc3\x28"


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(_connect(3, ID), id="3.1.2-3: reserved flag"),
        pytest.param(_connect(6, ID), id="3.1.2-9: Will Flag, and no will"),
        pytest.param(_connect(6, ID + NO_PROPERTIES), id="3.1.2-9: Will Flag, properties alone"),
        pytest.param(_connect(6, ID + NO_PROPERTIES + string("w")), id="3.1.2-9: Will Flag, no payload"),
        pytest.param(_connect(2 | 4 | 24, ID + WILL), id="3.1.2-12: Will QoS 3"),
        pytest.param(_connect(2, ID + string("alice")), id="3.1.2-16: a user name without its flag"),
        pytest.param(_connect(2 | 128, ID), id="3.1.2-17: User Name Flag, and no name"),
        pytest.param(_connect(2 | 128, ID + string("alice") + string("x")), id="3.1.2-18: a password without its flag"),
        pytest.param(_connect(2 | 64, ID), id="3.1.2-19: Password Flag, and no password"),
        pytest.param(_connect(2 | 192, ID + string("alice")), id="3.1.2-19: both flags, and no password"),
        pytest.param(_connect(2, b""), id="3.1.3-3: no client id"),
        pytest.param(_connect(2, b"\0\x09abc"), id="3.1.3-3: client id cut off"),
        pytest.param(connect(ILL), id="3.1.3-4: client id is not UTF-8"),
        pytest.param(connect(b"a\xed\xa0\x80"), id="1.5.4-1: surrogate in the client id"),
        pytest.param(connect("a\0b"), id="1.5.4-2: U+0000 in the client id"),
        pytest.param(connect("c1", will=Will5(ILL)), id="3.1.3-11: will topic is not UTF-8"),
        pytest.param(connect("c1", will=Will5("a\0")), id="1.5.4-2: U+0000 in the will topic"),
        pytest.param(connect("c1", username=ILL), id="3.1.3-12: user name is not UTF-8"),
        pytest.param(connect("c1", username="a\0"), id="1.5.4-2: U+0000 in the user name"),
        pytest.param(_connect(2, ID, b"\x11"), id="a property cut off"),
    ],
)
async def test_a_malformed_connect_is_refused(clients: Clients5, request_: bytes) -> None:
    """CONNACK 0x81 and the end of the connection, whatever is wrong.

    [MQTT-3.1.4-1] [MQTT-4.13.1-1] [MQTT-3.2.2-7] [MQTT-3.1.2-3] [MQTT-3.1.2-9] [MQTT-3.1.2-12] [MQTT-3.1.2-16]
    [MQTT-3.1.2-17] [MQTT-3.1.2-18] [MQTT-3.1.2-19] [MQTT-3.1.3-3] [MQTT-3.1.3-4] [MQTT-3.1.3-11] [MQTT-3.1.3-12]
    [MQTT-1.5.4-1] [MQTT-1.5.4-2]
    """
    client = await clients.open5()
    client.send(request_)
    got = await client.expect(CONNACK)
    assert got.reason == 0x81
    await client.hung_up()
    assert len(clients.broker.registry) == 0
    await (await clients.connected5()).ping()


@pytest.mark.parametrize(
    "flags", [pytest.param(2 | bits, id=f"flags {bits:#04x}") for bits in (0x08, 0x10, 0x18, 0x20, 0x38)]
)
async def test_will_flags_without_a_will_are_refused(clients: Clients5, flags: int) -> None:
    """[MQTT-3.1.2-11] [MQTT-3.1.2-13]: Will QoS or Will Retain where the Will Flag is 0."""
    client = await clients.open5()
    assert await client.refused(_connect(flags, ID)) in (0x81, 0x82)


async def test_all_fields_are_read_in_their_order() -> None:
    """[MQTT-3.1.3-1] [MQTT-3.1.2-17] [MQTT-3.1.2-19] [MQTT-3.1.2-9]: client id, will, user name, password."""
    async with serving5(plugins=PASSWORDS) as guarded:
        watcher = await guarded.connected5("watcher", username="bob", password=b"hunter2")
        await watcher.subscribe(("w", 2))
        client = await guarded.open5()
        await client.connect(
            "c1",
            will=Will5("w", b"payload", 2, properties=[(P.CONTENT_TYPE, "text")]),
            username="alice",
            password=b"secret",
            properties=[(P.SESSION_EXPIRY, 5)],
        )
        session = guarded.session("c1")
        assert (session.client_id, session.username) == ("c1", "alice")
        client.abort()
        will = await watcher.message()
        assert (will.topic, will.payload, will.qos) == ("w", b"payload", 2)
        assert will.properties == ((P.CONTENT_TYPE, "text"),)


async def test_ordinary_client_ids_are_taken(clients: Clients5) -> None:
    """[MQTT-3.1.3-5] [MQTT-3.1.3-2]: 1 to 23 bytes of digits and letters, kept apart from each other."""
    for client_id in ("0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ", "a", "A"):
        client = await clients.open5()
        connack = await client.connect(client_id)
        assert connack.get(P.ASSIGNED_CLIENT_ID) is None
        assert clients.session(client_id).connected
    assert len(clients.broker.registry) == 5


async def test_other_client_ids_are_taken(clients: Clients5) -> None:
    """[MQTT-3.1.3-4]: any UTF-8, and longer than 23 bytes."""
    for client_id in ("a/b#+ c", "Grüße-\U0001f600", "x" * 1000, "\ufeffbom"):
        await clients.connected5(client_id)
        assert clients.session(client_id).connected


async def test_a_client_id_past_the_limit_is_refused() -> None:
    """[MQTT-3.1.3-8]: CONNACK 0x85 and the end of the connection."""
    async with serving5(MqttSettings(max_clientid_len=10)) as limited:
        assert await (await limited.open5()).refused(connect("x" * 11)) == 0x85
        await limited.connected5("x" * 10)


async def test_a_password_needs_no_user_name(clients: Clients5) -> None:
    """[MQTT-3.1.2-16] [MQTT-3.1.2-19]: unlike in MQTT 3.1.1."""
    await (await clients.connected5("c1", password=b"token")).ping()


@pytest.mark.parametrize(("username", "password"), [("alice", b"wrong"), ("alice", None), ("nobody", b"secret")])
async def test_wrong_credentials_are_refused(username: str, password: bytes | None) -> None:
    """[MQTT-3.1.4-2] [MQTT-3.2.2-7] [MQTT-3.2.2-6] [MQTT-3.1.4-5]: CONNACK 0x86 and the end of the connection."""
    async with serving5(plugins=PASSWORDS) as guarded:
        request = connect("c1", username=username, password=password)
        assert await (await guarded.open5()).refused(request) == 0x86
        assert len(guarded.broker.registry) == 0
        await (await guarded.connected5("c1", username="alice", password=b"secret")).ping()


async def test_what_follows_a_refused_connect_is_not_processed() -> None:
    """[MQTT-3.1.4-6]: PUBLISH and SUBSCRIBE sent along with it have no effect."""
    async with serving5(plugins=PASSWORDS) as guarded:
        watcher = await guarded.connected5("watcher", username="bob", password=b"hunter2")
        await watcher.subscribe(("t", 0))
        request = connect("c1", username="alice", password=b"wrong")
        client = await guarded.open5()
        assert await client.refused(request + publish("t", b"x", retain=True) + subscribe(1, ("t", 0))) == 0x86
        await watcher.nothing_came()
        assert guarded.broker.router.subscription_count == 1


async def test_a_refused_connect_leaves_the_session_alone() -> None:
    """[MQTT-3.1.4-2] [MQTT-3.1.4-3]: who may not have the client id disturbs neither connection nor session."""
    async with serving5(plugins=PASSWORDS) as guarded:
        client = await guarded.connected5("c1", username="alice", password=b"secret", properties=KEPT)
        await client.subscribe(("t", 1))
        for clean in (True, False):
            request = connect("c1", clean=clean, username="alice", password=b"wrong")
            assert await (await guarded.open5()).refused(request) == 0x86
        assert await client.publish("t", b"x", 1) == 0
        assert (await client.message()).payload == b"x"


@pytest.mark.parametrize("clean", [True, False])
async def test_the_same_client_id_takes_over(clients: Clients5, clean: bool) -> None:
    """[MQTT-3.1.4-3] [MQTT-3.1.4-4] [MQTT-3.14.4-2]: DISCONNECT 0x8E for the connection that was there."""
    first = await clients.connected5("c1", properties=KEPT)
    await first.subscribe(("t", 0))
    second = await clients.open5()
    connack = await second.connect("c1", clean=clean, properties=KEPT)
    assert connack.session_present is not clean
    await first.disconnected(0x8E)
    assert await second.publish("t", b"x", 1) == (0x10 if clean else 0)
    if not clean:
        assert (await second.message()).payload == b"x"
    assert clients.broker.registry.connected_count == 1


async def test_take_over_between_versions(clients: Clients5) -> None:
    """[MQTT-3.1.4-3]: an MQTT 5 client is told why, a 3.1.1 client is only disconnected."""
    fifth = await clients.connected5("c1")
    fourth = await clients.connected("c1")
    await fifth.disconnected(0x8E)
    last = await clients.connected5("c1")
    await fourth.hung_up()
    await last.ping()


async def test_a_chain_of_take_overs_leaves_one(clients: Clients5) -> None:
    """[MQTT-3.1.4-3] [MQTT-3.1.4-5]: many in a row; the last one stays, each other one was told."""
    chain = [await clients.connected5("c1", clean=False, properties=KEPT) for _ in range(10)]
    for client in chain[:-1]:
        await client.disconnected(0x8E)
    await chain[-1].ping()
    assert clients.broker.registry.connected_count == 1


async def test_packets_may_follow_without_waiting(clients: Clients5) -> None:
    """[MQTT-3.2.0-1] [MQTT-3.2.0-2] [MQTT-3.1.4-5]: the CONNACK comes first, then the answers in order."""
    client = await clients.open5()
    client.send(connect("c1"), subscribe(1, ("t", 1)), publish("t", b"x", 1, 2), PING)
    kinds = [(await client.read()).kind for _ in range(5)]
    assert kinds[:2] == [CONNACK, SUBACK]
    assert sorted(kinds[2:]) == sorted([PUBLISH, PUBACK, PINGRESP])


async def test_silence_before_the_connect_ends_the_connection() -> None:
    """[MQTT-3.14.0-1]: closed after `connect_timeout`, without a packet; half a CONNECT does not count."""
    async with serving5(MqttSettings(connect_timeout=0.5)) as impatient:
        silent, slow = await impatient.open5(), await impatient.open5()
        slow.send(connect("c1")[:10])
        await silent.hung_up()
        await slow.hung_up()
        quick = await impatient.connected5("quick")
        await until(lambda: impatient.broker.live_connections == 1)
        await quick.ping()


async def test_a_connect_past_the_packet_size_is_refused() -> None:
    """[MQTT-3.2.2-15] [MQTT-3.14.0-1]: CONNACK 0x95 or only closed, never a DISCONNECT."""
    async with serving5(MqttSettings(max_packet_size=1_000)) as limited:
        client = await limited.open5()
        client.send(connect("c1", username="x" * 2_000))
        answer = await client.rest()
        assert answer == b"" or (answer[0] == 0x20 and answer[2:4] == b"\0\x95"), answer.hex()
        await limited.connected5("c1")


async def test_no_authentication_means_no_auth_packet(clients: Clients5) -> None:
    """[MQTT-4.12.0-6]: neither AUTH nor an Authentication Method for a client that has named none."""
    client = await clients.open5()
    client.send(connect("c1"))
    got = await client.read()
    assert got.kind != AUTH
    assert got.get(P.AUTH_METHOD) is None and got.get(P.AUTH_DATA) is None


async def test_clients_of_three_versions_meet(clients: Clients5) -> None:
    """[MQTT-4.2.0-1]: one listener serves 3.1, 3.1.1 and 5 over TCP at a time."""
    oldest = await clients.connected("v31", name="MQIsdp", level=3)
    older = await clients.connected("v311")
    newest = await clients.connected5("v5")
    for client in (oldest, older, newest):
        await client.subscribe(("t/#", 2))
    for number, sender in enumerate((oldest, older, newest)):
        await sender.publish(f"t/{number}", b"%d" % number, number)
    for client in (oldest, older, newest):
        assert await client.messages(3) == [b"0", b"1", b"2"]


async def test_a_broken_connect_of_311_gets_no_answer_of_mqtt_5(clients: Clients5) -> None:
    """[MQTT-4.13.1-1]: a CONNACK in the format of MQTT 5 is for clients of MQTT 5 alone."""
    client = await clients.open5()
    client.send(connect4("c1", flags=3))
    assert await client.rest() in (b"", *(b"\x20\x02\x00" + bytes((code,)) for code in range(1, 6)))


async def test_connect_with_every_property(clients: Clients5) -> None:
    """[MQTT-3.1.4-5] [MQTT-1.5.5-1]: all that a CONNECT and a will may carry, in any order, is understood."""
    properties: list[tuple[int, object]] = [
        (P.USER, ("a", "1")),
        (P.MAXIMUM_PACKET_SIZE, 100_000),
        (P.SESSION_EXPIRY, 10),
        (P.RECEIVE_MAXIMUM, 10),
        (P.USER, ("a", "2")),
        (P.TOPIC_ALIAS_MAXIMUM, 10),
        (P.REQUEST_RESPONSE, 1),
        (P.REQUEST_PROBLEM, 1),
        (P.USER, ("", "")),
    ]
    will: list[tuple[int, object]] = [
        (P.WILL_DELAY, 1),
        (P.PAYLOAD_FORMAT, 1),
        (P.MESSAGE_EXPIRY, 10),
        (P.CONTENT_TYPE, "text/plain"),
        (P.RESPONSE_TOPIC, "answer"),
        (P.CORRELATION_DATA, b"\0\1"),
        (P.USER, ("k", "v")),
        (P.USER, ("k", "v")),
    ]
    for turn in (1, -1):
        client = await clients.open5()
        await client.connect("c1", properties=properties[::turn], will=Will5("w", properties=will[::turn]))
        await client.disconnect()


async def test_a_long_property_block(clients: Clients5) -> None:
    """[MQTT-1.5.5-1] [MQTT-2.2.2-1]: lengths that take two and three bytes."""
    for count in (12, 13, 14, 1_500, 1_640):  # around 127 and 16,383 bytes
        pairs = [(P.USER, ("key", "v" * (n % 3))) for n in range(count)]
        await (await clients.connected5(properties=pairs)).ping()


async def test_a_client_that_nobody_knows_is_refused() -> None:
    """[MQTT-3.1.4-2]: where anonymous clients are not let in."""
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": False}}
    async with serving5(plugins=plugins) as shut:
        assert await (await shut.open5()).refused(connect("c1")) in (0x86, 0x87)


def test_the_client_reads_lengths_strictly() -> None:
    """[MQTT-1.5.5-1]: what reads the server's packets in these tests refuses a length that is not the shortest."""
    assert [shortest(raw) for raw in (b"\0", b"\x7f", b"\x80\1", b"\xff\xff\xff\x7f")] == [0, 127, 128, 268_435_455]
    for raw in (b"\x80\0", b"\xff\x80\0"):
        with pytest.raises(AssertionError):
            shortest(raw)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_a_connect_in_pieces(clients: Clients5, size: int) -> None:
    """[MQTT-3.1.4-1] [MQTT-4.2.0-1]: any split of the bytes is the same CONNECT, with what follows it."""
    client = await clients.open5()
    data = connect("c1", will=Will5("w", properties=[(P.USER, ("k", "v"))]), properties=KEPT) + publish("t", b"x", 1, 1)
    for start in range(0, len(data), size):
        client.send(data[start : start + size])
        await client.drain()
    assert (await client.read()).kind == CONNACK
    assert (await client.read()).kind == PUBACK


async def test_many_at_a_time_with_one_client_id(clients: Clients5) -> None:
    """[MQTT-3.1.4-3] [MQTT-3.1.4-5]: every one is let in, and all but the last are told 0x8E."""
    several = [await clients.open5() for _ in range(20)]
    for client in several:
        client.send(connect("c1", clean=False, properties=KEPT))
    for client in several:
        assert (await client.expect(CONNACK)).reason == 0
    await until(lambda: clients.broker.live_connections == 1)
    ends = [await client.rest() if client is not several[-1] else b"" for client in several]
    assert sum(end[:1] == b"\xe0" and end[2] == 0x8E for end in ends if end) == 19
    await several[-1].ping()
