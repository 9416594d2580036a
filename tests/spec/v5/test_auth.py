"""Enhanced authentication and re-authentication with AUTH (MQTT 5.0, sections 3.15 and 4.12)."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from wardenmq.broker import validity
from wardenmq.broker.settings import MqttSettings

from ...clocks import WallClock
from ...engine.packets5 import AUTH, P, Packet5, Properties, Property
from ...engine.wire import CONNACK, PING, PINGREQ, PINGRESP, PUBACK, packet
from ...engine.wire5 import Client5, Will5, auth, connect, disconnect, publish, subscribe, unsubscribe, users
from . import plugins
from .plugins import answer
from .serving import KEPT, Clients5, serving5

PLUGINS = {f"{plugins.__name__}.BackToFront": {}}


@pytest.fixture
async def offering() -> AsyncIterator[Clients5]:
    """Give clients of a broker that offers authentication methods."""
    async with serving5(plugins=PLUGINS) as opened:
        yield opened


def _method(name: str, data: bytes | None = None) -> list[Property]:
    return [(P.AUTH_METHOD, name), *([] if data is None else [(P.AUTH_DATA, data)])]


async def _begun(clients: Clients5, method: str = "two", name: bytes = b"alice", **fields: object) -> Client5:
    """Open a connection whose CONNECT named this method."""
    client = await clients.open5()
    extra: Properties = fields.pop("properties", [])  # type: ignore[assignment]
    properties = [*_method(method, name), *extra]  # type: ignore[list-item]
    client.announce(properties)
    client.send(connect("c1", properties=properties, **fields))  # type: ignore[arg-type]
    return client


async def _challenged(client: Client5, method: str) -> Packet5:
    got = await client.expect(AUTH)
    assert (got.reason, got.get(P.AUTH_METHOD)) == (0x18, method)  # [MQTT-4.12.0-2], [MQTT-4.12.0-5]
    return got


async def _answer(client: Client5, method: str, rounds: int, *, right: bool = True) -> None:
    for _ in range(rounds):
        challenge = (await _challenged(client, method)).get(P.AUTH_DATA)
        assert isinstance(challenge, bytes)
        client.send(auth(0x18, _method(method, answer(challenge) if right else b"wrong")))


async def _authenticated(clients: Clients5, method: str = "two", **fields: object) -> Client5:
    client = await _begun(clients, method, **fields)
    await _answer(client, method, {"none": 0, "one": 1, "two": 2}[method])
    assert (await client.expect(CONNACK)).reason == 0
    return client


# CONNECT.


@pytest.mark.parametrize(("method", "rounds"), [("none", 0), ("one", 1), ("two", 2)])
async def test_an_exchange(offering: Clients5, method: str, rounds: int) -> None:
    """The server asks with AUTH 0x18, the CONNACK names the method and has the server's last word.

    [MQTT-4.12.0-2] [MQTT-4.12.0-3] [MQTT-4.12.0-5] [MQTT-3.15.2-1] [MQTT-3.2.0-1]
    """
    client = await _begun(offering, method, properties=KEPT)
    await _answer(client, method, rounds)
    got = await client.read()
    assert (got.kind, got.reason, got.session_present) == (CONNACK, 0, False)
    assert (got.get(P.AUTH_METHOD), got.get(P.AUTH_DATA)) == (method, b"welcome")
    session = offering.session("c1")
    assert session.username == "alice" and session.identity.principal == "alice"
    await client.subscribe(("t", 1))
    assert await client.publish("t", b"x", 1) == 0
    assert (await client.message()).payload == b"x"


async def test_the_session_is_found_by_who_was_proved(offering: Clients5) -> None:
    """[MQTT-4.12.0-5] [MQTT-3.2.2-3]: resumed by the same name, and discarded for another."""
    client = await _authenticated(offering, properties=KEPT)
    await client.subscribe(("t", 1))
    await client.disconnect()
    await offering.gone("c1")
    client = await _begun(offering, "one", clean=False, properties=KEPT)
    await _answer(client, "one", 1)
    assert (await client.expect(CONNACK)).session_present
    await client.disconnect()
    await offering.gone("c1")
    client = await _begun(offering, "one", b"mallory", clean=False, properties=KEPT)
    await _answer(client, "one", 1)
    assert not (await client.expect(CONNACK)).session_present


@pytest.mark.parametrize("method", ["unheard-of", "", "TWO"])
async def test_a_method_that_is_not_offered(offering: Clients5, method: str) -> None:
    """[MQTT-4.12.0-1]: CONNACK 0x8C and the end of the connection."""
    client = await offering.open5()
    assert await client.refused(connect("c1", properties=_method(method, b"alice"))) == 0x8C
    assert len(offering.broker.registry) == 0


async def test_where_no_method_is_offered(clients: Clients5) -> None:
    """[MQTT-4.12.0-1]: the same, by a broker without such a plugin."""
    assert await (await clients.open5()).refused(connect("c1", properties=_method("two", b"alice"))) == 0x8C


@pytest.mark.parametrize("rounds", [0, 1])
async def test_a_wrong_answer(offering: Clients5, rounds: int) -> None:
    """[MQTT-4.12.0-4]: refused with CONNACK 0x87 at any step, and closed."""
    client = await _begun(offering)
    await _answer(client, "two", rounds)
    await _answer(client, "two", 1, right=False)
    got = await client.expect(CONNACK)
    assert got.reason == 0x87 and not got.session_present
    await client.hung_up()
    assert len(offering.broker.registry) == 0


async def test_a_refusal_at_once(offering: Clients5) -> None:
    """[MQTT-4.12.0-4]: with the reason that the method gives, before any AUTH."""
    client = await _begun(offering, "two", b"banned")
    got = await client.expect(CONNACK)
    assert got.reason == 0x8A
    await client.hung_up()


async def test_an_unfinished_exchange_disturbs_nobody(offering: Clients5) -> None:
    """[MQTT-3.1.4-2] [MQTT-3.1.4-3]: the session with this client id is taken over when the exchange has succeeded."""
    first = await _authenticated(offering, properties=KEPT)
    await first.subscribe(("t", 1))
    second = await _begun(offering, clean=False, properties=KEPT)
    await _answer(second, "two", 1)
    await _challenged(second, "two")
    assert await first.publish("t", b"x", 1) == 0
    assert (await first.message()).payload == b"x"
    second.abort()
    third = await _begun(offering, "one", clean=False, properties=KEPT)
    await _answer(third, "one", 1)
    assert (await third.expect(CONNACK)).session_present
    await first.disconnected(0x8E)


@pytest.mark.parametrize(
    "early",
    [
        pytest.param(PING, id="PINGREQ"),
        pytest.param(publish("t", b"x"), id="PUBLISH"),
        pytest.param(publish("t", b"x", 1, 1), id="PUBLISH QoS 1"),
        pytest.param(subscribe(1, ("t", 0)), id="SUBSCRIBE"),
        pytest.param(unsubscribe(1, "t"), id="UNSUBSCRIBE"),
        pytest.param(packet(PUBACK, b"\0\1"), id="PUBACK"),
        pytest.param(connect("c1"), id="CONNECT"),
        pytest.param(auth(0x19, [(P.AUTH_METHOD, "two")]), id="AUTH to re-authenticate"),
        pytest.param(auth(0x00, [(P.AUTH_METHOD, "two")]), id="AUTH of success"),
        pytest.param(auth(), id="AUTH of nothing"),
        pytest.param(auth(0x18, [(P.AUTH_DATA, b"1 egnellahc")]), id="AUTH without a method"),
    ],
)
async def test_other_packets_before_the_connack(offering: Clients5, early: bytes) -> None:
    """[MQTT-3.1.2-30] [MQTT-3.14.0-1] [MQTT-4.13.1-1]: a protocol error, told by CONNACK, and not acted on."""
    watcher = await offering.subscribed5("watcher", ("t", 0))
    client = await _begun(offering)
    await _challenged(client, "two")
    client.send(early)
    got = await client.expect(CONNACK)
    assert got.reason in (0x81, 0x82)
    await client.hung_up()
    await watcher.nothing_came()
    assert offering.broker.registry.get("c1") is None


async def test_packets_sent_along_with_the_connect(offering: Clients5) -> None:
    """[MQTT-3.1.2-30] [MQTT-3.1.4-6]: are no different; what follows the refusal is not processed."""
    watcher = await offering.subscribed5("watcher", ("t", 0))
    client = await offering.open5()
    client.send(connect("c1", properties=_method("two", b"alice")), publish("t", b"x"), publish("t", b"y"))
    kinds = [(await client.read()).kind]
    if kinds == [AUTH]:
        kinds.append((got := await client.read()).kind)
        assert got.reason == 0x82
    assert kinds[-1] == CONNACK
    await client.hung_up()
    await watcher.nothing_came()


async def test_a_goodbye_during_the_exchange(offering: Clients5) -> None:
    """[MQTT-3.1.2-30] [MQTT-3.14.4-2]: DISCONNECT is the other packet that is allowed."""
    client = await _begun(offering)
    await _challenged(client, "two")
    client.send(disconnect())
    await client.hung_up()
    assert len(offering.broker.registry) == 0


async def test_no_will_of_a_client_that_never_got_in(offering: Clients5) -> None:
    """[MQTT-3.1.2-7] [MQTT-3.1.2-8]: neither of a broken exchange nor of a refused one."""
    watcher = await offering.subscribed5("watcher", ("w", 0))
    broken = await _begun(offering, will=Will5("w"))
    await _challenged(broken, "two")
    broken.abort()
    refused = await _begun(offering, will=Will5("w"))
    await _answer(refused, "two", 1, right=False)
    await refused.expect(CONNACK)
    await refused.hung_up()
    await watcher.nothing_came()


async def test_another_method_in_the_middle(offering: Clients5) -> None:
    """[MQTT-4.12.0-5] [MQTT-4.12.0-3]: every AUTH names the method of the CONNECT."""
    client = await _begun(offering)
    await _challenged(client, "two")
    client.send(auth(0x18, _method("one", b"x")))
    got = await client.expect(CONNACK)
    assert got.reason in (0x82, 0x8C)
    await client.hung_up()


async def test_an_exchange_takes_no_longer_than_a_connect() -> None:
    """[MQTT-3.14.0-1]: `connect_timeout` counts for all of it."""
    async with serving5(MqttSettings(connect_timeout=0.3), PLUGINS) as hasty:
        client = await _begun(hasty)
        await _challenged(client, "two")
        answer_ = await client.rest()
        assert answer_ == b"" or answer_[0] >> 4 == CONNACK
        assert len(hasty.broker.registry) == 0


async def test_data_without_a_method(offering: Clients5) -> None:
    """[MQTT-4.13.1-1]: Authentication Data alone is a protocol error."""
    assert await (await offering.open5()).refused(connect("c1", properties=[(P.AUTH_DATA, b"x")])) == 0x82


async def test_user_properties_on_auth(offering: Clients5) -> None:
    """[MQTT-3.15.2-2] [MQTT-3.15.2-3]: are taken, as a Reason String is; the server's AUTH has neither in a success."""
    client = await _begun(offering, "one")
    challenge = await _challenged(client, "one")
    data = challenge.get(P.AUTH_DATA)
    assert isinstance(data, bytes) and challenge.all(P.USER) == [] and challenge.get(P.REASON_STRING) is None
    client.send(auth(0x18, [(P.REASON_STRING, "here"), *users(("a", "1"), ("a", "1")), *_method("one", answer(data))]))
    assert (await client.expect(CONNACK)).reason == 0


async def test_a_small_packet_size_holds_for_auth(offering: Clients5) -> None:
    """[MQTT-3.15.2-2] [MQTT-3.15.2-3] [MQTT-3.1.2-24]: what the server sends during the exchange fits too."""
    client = await _begun(offering, "one", properties=[(P.MAXIMUM_PACKET_SIZE, 60)])
    await _answer(client, "one", 1)
    assert (await client.expect(CONNACK)).size <= 60


# Without a method.


async def test_no_method_no_auth(offering: Clients5) -> None:
    """[MQTT-4.12.0-6]: a CONNECT without a method is answered without one."""
    got = await (await offering.open5()).connect("c1")
    assert got.get(P.AUTH_METHOD) is None and got.get(P.AUTH_DATA) is None


@pytest.mark.parametrize("reason", [0x00, 0x18, 0x19])
async def test_auth_of_a_client_that_named_no_method(offering: Clients5, reason: int) -> None:
    """[MQTT-4.12.0-7] [MQTT-4.13.1-1]: a protocol error."""
    client = await offering.connected5("c1")
    client.send(auth(reason, _method("two", b"alice")))
    await client.disconnected(0x82)


# Re-authentication.


@pytest.mark.parametrize(("method", "rounds"), [("none", 0), ("one", 1), ("two", 2)])
async def test_re_authentication(offering: Clients5, method: str, rounds: int) -> None:
    """[MQTT-4.12.1-1] [MQTT-4.12.0-5] [MQTT-3.15.2-1]: AUTH 0x19, the challenges, AUTH 0 with the last word; again."""
    client = await _authenticated(offering, method)
    for _ in range(3):
        client.send(auth(0x19, _method(method, b"alice")))
        await _answer(client, method, rounds)
        got = await client.expect(AUTH)
        assert (got.reason, got.get(P.AUTH_METHOD), got.get(P.AUTH_DATA)) == (0, method, b"welcome")
        await client.ping()


async def test_traffic_goes_on_meanwhile(offering: Clients5) -> None:
    """4.12.1: other packets may be sent by both during re-authentication. [MQTT-4.12.1-1]"""
    client = await _authenticated(offering)
    client.send(auth(0x19, _method("two", b"alice")))
    challenge = (await _challenged(client, "two")).get(P.AUTH_DATA)
    assert isinstance(challenge, bytes)
    await client.subscribe(("t", 1))
    assert await client.publish("t", b"x", 1) == 0
    assert (await client.message()).payload == b"x"
    client.send(auth(0x18, _method("two", answer(challenge))))
    await _answer(client, "two", 1)
    assert (await client.expect(AUTH)).reason == 0


async def test_a_failed_re_authentication(offering: Clients5) -> None:
    """[MQTT-4.12.1-2] [MQTT-3.14.4-2]: DISCONNECT with the reason, the end, and the will."""
    watcher = await offering.subscribed5("watcher", ("w", 0))
    client = await _authenticated(offering, "one", will=Will5("w"))
    client.send(auth(0x19, _method("one", b"alice")))
    await _answer(client, "one", 1, right=False)
    await client.disconnected(0x87)
    assert (await watcher.message()).topic == "w"


async def test_re_authentication_as_somebody_else(offering: Clients5) -> None:
    """[MQTT-4.12.1-2]: the session stays who it was, or the connection ends; it never becomes another's."""
    client = await _authenticated(offering, "one")
    client.send(auth(0x19, _method("one", b"mallory")))
    await _answer(client, "one", 1)
    got = await client.read()
    session = offering.broker.registry.get("c1")
    assert session is None or session.identity.principal == "alice"
    if got.kind == AUTH:
        await client.ping()
    else:
        assert got.reason in (0x82, 0x87)
        await client.hung_up()


@pytest.mark.parametrize("method", ["one", "unheard-of"])
async def test_re_authentication_by_another_method(offering: Clients5, method: str) -> None:
    """[MQTT-4.12.1-1] [MQTT-4.12.1-2]: the method is that of the CONNECT."""
    client = await _authenticated(offering, "two")
    client.send(auth(0x19, _method(method, b"alice")))
    await client.disconnected(0x82, 0x8C)


@pytest.mark.parametrize(
    "stray",
    [
        pytest.param(auth(0x18, [(P.AUTH_METHOD, "one"), (P.AUTH_DATA, b"x")]), id="an answer to no challenge"),
        pytest.param(auth(0x00, [(P.AUTH_METHOD, "one")]), id="a success of the client's"),
        pytest.param(auth(), id="nothing"),
        pytest.param(auth(0x19, ()), id="no method"),
        pytest.param(auth(0x19), id="no properties"),
    ],
)
async def test_auth_out_of_turn(offering: Clients5, stray: bytes) -> None:
    """[MQTT-4.13.1-1] [MQTT-3.15.2-1]: a protocol error."""
    client = await _authenticated(offering, "one")
    client.send(stray)
    await client.disconnected(0x82)


async def test_a_second_beginning(offering: Clients5) -> None:
    """[MQTT-4.12.1-1] [MQTT-4.13.1-1]: AUTH 0x19 while a challenge waits is an error or begins anew, and no way in."""
    client = await _authenticated(offering, "one")
    client.send(auth(0x19, _method("one", b"alice")))
    await _challenged(client, "one")
    client.send(auth(0x19, _method("one", b"alice")))
    got = await client.read()
    assert (got.kind, got.reason) in ((AUTH, 0x18), (14, 0x82))


# What is no AUTH.


@pytest.mark.parametrize("reason", [0x01, 0x04, 0x17, 0x1A, 0x80, 0x82, 0x87, 0xFF])
async def test_a_reason_that_is_not_auths(offering: Clients5, reason: int) -> None:
    """[MQTT-3.15.2-1] [MQTT-4.13.1-1]: not defined for AUTH."""
    client = await _authenticated(offering, "one")
    client.send(auth(reason, _method("one", b"alice")))
    await client.disconnected(0x81, 0x82)


@pytest.mark.parametrize("flags", [1, 2, 4, 8, 15])
async def test_reserved_flags(offering: Clients5, flags: int) -> None:
    """[MQTT-3.15.1-1] [MQTT-2.1.3-1]: malformed; also before the CONNACK, and then it is a CONNACK that says so."""
    client = await _authenticated(offering, "one")
    client.send(auth(0x19, _method("one", b"alice"), flags))
    await client.disconnected(0x81)
    client = await _begun(offering)
    await _challenged(client, "two")
    client.send(auth(0x18, _method("two", b"x"), flags))
    assert (await client.expect(CONNACK)).reason == 0x81
    await client.hung_up()


@pytest.mark.parametrize("body", [b"\x19\x05", b"\x19\x00\x00", b"\x19\x03\x15\x00\x05", b"\x19\x02\x15\x00"])
async def test_a_malformed_auth(offering: Clients5, body: bytes) -> None:
    """[MQTT-4.13.1-1]: DISCONNECT 0x81."""
    client = await _authenticated(offering, "one")
    client.send(packet(AUTH, body))
    await client.disconnected(0x81)


async def test_a_password_beside_a_method(offering: Clients5) -> None:
    """[MQTT-3.1.2-17] [MQTT-3.1.2-19] [MQTT-4.12.0-5]: user name and password may stand in the same CONNECT."""
    client = await _begun(offering, "one", username="alice", password=b"x")
    await _answer(client, "one", 1)
    assert (await client.expect(CONNACK)).reason == 0
    client.send(packet(PINGREQ))
    assert (await client.read()).kind == PINGRESP


async def test_a_proved_name_without_a_principal() -> None:
    """[MQTT-3.2.2-3] [MQTT-4.12.0-5]: the session is that of the name, and nobody else's."""
    async with serving5(plugins={f"{plugins.__name__}.BackToFront": {"principals": False}}) as named:
        client = await _authenticated(named, "one", properties=KEPT)
        await client.disconnect()
        await named.gone("c1")
        for name, present in ((b"alice", True), (b"mallory", False)):
            client = await _begun(named, "one", name, clean=False, properties=KEPT)
            await _answer(client, "one", 1)
            assert (await client.expect(CONNACK)).session_present is present
            await client.disconnect()
            await named.gone("c1")


async def test_re_authentication_makes_a_credential_last(clock: WallClock) -> None:
    """[MQTT-4.12.1-1] [MQTT-3.14.4-2]: renewed as often as it is proved, else DISCONNECT 0xA0."""
    async with serving5(plugins={f"{plugins.__name__}.BackToFront": {"valid_for": 3_600}}) as brief:
        client = await _authenticated(brief, "one")
        for _ in range(2):
            clock.advance(2_000)
            client.send(auth(0x19, _method("one", b"alice")))
            await _answer(client, "one", 1)
            assert (await client.expect(AUTH)).reason == 0
        await asyncio.sleep(2 * validity._LOOK_INTERVAL)  # what must not happen in this time is what is tested
        await client.ping()
        clock.advance(3_601)
        await client.disconnected(0xA0)


async def test_a_re_authentication_that_is_banned(offering: Clients5) -> None:
    """[MQTT-4.12.1-2] [MQTT-3.14.2-1]: with a reason that DISCONNECT has."""
    client = await _authenticated(offering, "one")
    client.send(auth(0x19, _method("one", b"banned")))
    await client.disconnected(0x87)
