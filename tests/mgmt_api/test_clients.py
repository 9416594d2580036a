from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from wardenmq.broker.session import Session
from wardenmq.mgmt_api.emqx.clients.models import CLIENT_FIELDS

from ..engine.conditions import until
from ..engine.packets5 import P, Properties
from ..engine.wire import publish
from ..engine.wire5 import disconnect, options
from .callers import V5, Api, Reply

ODD_NAME = "a/b {c}%2F+#?&.é"


def names(reply: Reply) -> list[str]:
    return sorted(row["clientid"] for row in reply.rows)


async def open_some(api: Api) -> None:
    """Have three clients, one of them gone but remembered."""
    await api.mqtt.connected("one", username="alice", keep_alive=30)
    await api.mqtt.connected("two", username="bob", clean=False)
    gone = await api.mqtt.connected("three", username="alice", clean=False, name="MQIsdp", level=3)
    gone.abort()
    session = session_of(api, "three")
    await until(lambda: not session.connected)


def session_of(api: Api, client_id: str) -> Session:
    session = api.mqtt.broker.registry.get(client_id)
    assert session is not None
    return session


async def test_a_client_as_emqx_shows_it(api: Api) -> None:
    client = await api.mqtt.connected("one", username="alice", keep_alive=30)
    await client.subscribe(("t/+", 1))
    client.send(publish("t/1", b"x", 1, 7))
    await until(lambda: session_of(api, "one").traffic.messages_received_qos[1] == 1)
    reply = await api.get("/clients/one")
    assert reply.status == 200
    row = reply.json
    assert set(row) == CLIENT_FIELDS - {"disconnected_at"}
    session = session_of(api, "one")
    assert row["port"] == row["peerport"] == session.peer_port
    assert {key: row[key] for key in ("ip_address", "listener", "proto_name", "proto_ver", "keepalive")} == {
        "ip_address": "127.0.0.1",
        "listener": "tcp:default",
        "proto_name": "MQTT",
        "proto_ver": 4,
        "keepalive": 30,
    }
    assert (row["clean_start"], row["expiry_interval"], row["is_persistent"]) == (True, 0, False)
    assert (row["username"], row["node"], row["connected"]) == ("alice", "wardenmq@127.0.0.1", True)
    assert (row["subscriptions_cnt"], row["subscriptions_max"], row["recv_msg.qos1"]) == (1, 10_000, 1)
    limits = api.mqtt.broker.settings
    assert row["inflight_max"] == limits.max_inflight
    assert row["awaiting_rel_max"] == limits.max_awaiting_rel
    assert row["mqueue_max"] == limits.max_mqueue_len
    created = datetime.fromisoformat(row["created_at"])
    assert created.utcoffset() == UTC.utcoffset(None)
    assert abs(created.timestamp() - session.created_at) < 0.002
    assert len(row["created_at"]) == len("2026-01-31T12:00:00.000+00:00")


async def test_a_client_that_is_away(api: Api) -> None:
    await open_some(api)
    row = (await api.get("/clients/three")).json
    assert (row["connected"], row["is_expired"], row["proto_name"], row["proto_ver"]) == (False, False, "MQIsdp", 3)
    assert (row["expiry_interval"], row["is_persistent"], row["clean_start"]) == (7_200, True, False)
    assert datetime.fromisoformat(row["disconnected_at"]) >= datetime.fromisoformat(row["connected_at"])


async def test_a_client_of_mqtt_5(api: Api) -> None:
    client = await api.connected5(
        "one",
        clean=False,
        keep_alive=30,
        username="alice",
        properties=[(P.SESSION_EXPIRY, 600), (P.RECEIVE_MAXIMUM, 7), (P.TOPIC_ALIAS_MAXIMUM, 5)],
    )
    await client.subscribe(("t/+", options(1)), ("$share/g/t/#", options(1)))
    row = (await api.get("/clients/one")).json
    assert set(row) == CLIENT_FIELDS - {"disconnected_at"}
    assert (row["proto_name"], row["proto_ver"], row["username"], row["keepalive"]) == ("MQTT", 5, "alice", 30)
    assert (row["clean_start"], row["expiry_interval"], row["is_persistent"]) == (False, 600, True)
    assert (row["inflight_max"], row["subscriptions_cnt"]) == (7, 2)
    for _ in range(9):
        await api.call("POST", f"{V5}/publish", {"topic": "t/1", "payload": "x", "qos": 1})
    row = (await api.get("/clients/one")).json
    assert (row["inflight_cnt"], row["mqueue_len"], row["send_msg.qos1"]) == (7, 11, 7)


@pytest.mark.parametrize(
    ("at_connect", "at_disconnect", "expiry", "persistent"),
    [
        ([], None, 0, False),
        ([(P.SESSION_EXPIRY, 0)], None, 0, False),
        ([(P.SESSION_EXPIRY, 60)], None, 60, True),
        ([(P.SESSION_EXPIRY, 60)], [(P.SESSION_EXPIRY, 90)], 90, True),
        ([(P.SESSION_EXPIRY, 2**32 - 1)], None, 2**32 - 1, True),
    ],
)
async def test_how_long_a_session_of_mqtt_5_is_kept(
    api: Api, at_connect: Properties, at_disconnect: Properties | None, expiry: int, persistent: bool
) -> None:
    client = await api.connected5("one", properties=at_connect)
    if at_disconnect is not None:
        client.send(disconnect(0, at_disconnect))
        session = session_of(api, "one")
        await until(lambda: not session.connected)
    row = (await api.get("/clients/one")).json
    # A clean start says nothing about how long the session is kept afterwards.
    assert (row["clean_start"], row["expiry_interval"], row["is_persistent"]) == (True, expiry, persistent)
    assert (row["connected"], "disconnected_at" in row) == (at_disconnect is None, at_disconnect is not None)


async def test_who_is_kicked_is_told_why(api: Api) -> None:
    client = await api.connected5("one")
    assert (await api.call("DELETE", f"{V5}/clients/one")).status == 204
    await client.disconnected(0x98)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["one", "three", "two"]),
        ("clientid=one", ["one"]),
        ("clientid=one&clientid=two&clientid=one&clientid=nobody", ["one", "two"]),
        ("username=alice", ["one", "three"]),
        ("username=alice&username=bob", ["one", "three", "two"]),
        ("clientid=one&clientid=two&username=bob", ["two"]),
        ("like_clientid=o", ["one", "two"]),
        ("like_clientid=.", []),
        ("like_clientid=O", []),
        ("like_username=li", ["one", "three"]),
        ("like_username=li&like_clientid=t", ["three"]),
        ("clientid=two&like_clientid=one", ["two"]),
        ("ip_address=127.0.0.1", ["one", "three", "two"]),
        ("ip_address=%3A%3A1", []),
        ("conn_state=connected", ["one", "two"]),
        ("conn_state=disconnected", ["three"]),
        ("conn_state=idle", []),
        ("clean_start=true", ["one"]),
        ("clean_start", ["one"]),
        ("clean_start=false", ["three", "two"]),
        ("clean_start=true&clean_start=false", ["three", "two"]),
        ("proto_ver=3", ["three"]),
        ("proto_ver=4", ["one", "two"]),
        ("proto_ver=5", []),
        ("node=wardenmq@127.0.0.1", ["one", "three", "two"]),
        ("gte_created_at=0", ["one", "three", "two"]),
        ("lte_created_at=1000", []),
        ("lte_created_at=2999-01-01T00:00:00Z", ["one", "three", "two"]),
        ("gte_connected_at=2999-01-01T00:00:00%2B02:00", []),
        ("lte_connected_at=2999-01-01T00:00:00Z&gte_connected_at=1000", ["one", "three", "two"]),
        ("an_unknown_key=1", ["one", "three", "two"]),
    ],
)
async def test_filters(api: Api, query: str, expected: list[str]) -> None:
    await open_some(api)
    reply = await api.call("GET", f"{V5}/clients?{query}")
    assert names(reply) == expected
    searched = "like_" in query and "clientid=two" not in query
    assert reply.meta == {"page": 1, "limit": 100, "hasnext": False} | ({} if searched else {"count": len(expected)})


async def test_clients_by_their_version(api: Api) -> None:
    await open_some(api)
    await api.connected5("five")
    for version, expected in (("3", ["three"]), ("4", ["one", "two"]), ("5", ["five"])):
        assert names(await api.get("/clients", proto_ver=version)) == expected
    assert names(await api.get("/clients", proto_ver=5, clean_start="false")) == []


@pytest.mark.parametrize("kind", ["created_at", "connected_at"])
async def test_a_bound_copied_from_an_answer_includes_its_row(api: Api, kind: str) -> None:
    await api.mqtt.connected("one")
    shown = (await api.get("/clients/one")).json[kind]
    moment = round(datetime.fromisoformat(shown).timestamp() * 1_000)
    for bound in (quote(shown), str(moment)):
        assert names(await api.call("GET", f"{V5}/clients?gte_{kind}={bound}&lte_{kind}={bound}")) == ["one"]
    assert names(await api.get("/clients", **{f"gte_{kind}": moment + 1})) == []
    assert names(await api.get("/clients", **{f"lte_{kind}": moment - 1})) == []


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("ip_address=localhost", 400, "INVALID_PARAMETER"),
        ("conn_state=asleep", 400, "BAD_REQUEST"),
        ("clean_start=perhaps", 400, "BAD_REQUEST"),
        ("clientid", 400, "BAD_REQUEST"),
        ("proto_ver=6", 400, "BAD_REQUEST"),
        ("gte_created_at=yesterday", 400, "BAD_REQUEST"),
        ("gte_created_at=2026-01-01T00:00:00", 400, "BAD_REQUEST"),
        ("gte_created_at=" + "9" * 400, 400, "BAD_REQUEST"),
        ("fields=clientid,nonsense", 400, "BAD_REQUEST"),
        ("fields=all,clientid", 400, "BAD_REQUEST"),
        ("node=other@127.0.0.1", 500, "NODE_DOWN"),
    ],
)
async def test_filters_that_make_no_sense(api: Api, query: str, status: int, code: str) -> None:
    reply = await api.call("GET", f"{V5}/clients?{query}")
    assert (reply.status, reply.code) == (status, code)


async def test_chosen_fields(api: Api) -> None:
    await api.mqtt.connected("one", username="alice")
    assert (await api.get("/clients", fields="clientid,recv_msg.qos0,username")).rows == [
        {"clientid": "one", "username": "alice", "recv_msg.qos0": 0}
    ]
    assert set((await api.get("/clients", fields="all")).rows[0]) == CLIENT_FIELDS - {"disconnected_at"}


async def test_pages(api: Api) -> None:
    for number in range(5):
        await api.mqtt.connected(f"c{number}")
    pages = [await api.get("/clients", page=page, limit=2) for page in (1, 2, 3, 4)]
    assert [names(page) for page in pages] == [["c0", "c1"], ["c2", "c3"], ["c4"], []]
    assert [page.meta["hasnext"] for page in pages] == [True, True, False, False]
    assert {page.meta["count"] for page in pages} == {5}
    searched = [(await api.get("/clients", page=page, limit=2, like_clientid="c")).meta for page in (1, 2, 3)]
    assert [meta["hasnext"] for meta in searched] == [True, True, False]
    assert not any("count" in meta for meta in searched)


async def test_kick(api: Api) -> None:
    client = await api.mqtt.connected("one", clean=False)
    reply = await api.call("DELETE", f"{V5}/clients/one")
    assert (reply.status, reply.body) == (204, b"")
    await client.hung_up()
    assert api.mqtt.broker.registry.get("one") is None
    assert (await api.get("/clients/one")).code == "CLIENTID_NOT_FOUND"


async def test_kick_several(api: Api) -> None:
    await open_some(api)
    reply = await api.call("POST", f"{V5}/clients/kickout/bulk", ["one", "nobody", "three"])
    assert (reply.status, reply.body) == (204, b"")
    assert names(await api.get("/clients")) == ["two"]
    assert (await api.call("POST", f"{V5}/clients/kickout/bulk", ["nobody"])).status == 204
    assert (await api.call("POST", f"{V5}/clients/kickout/bulk", [])).status == 204
    assert (await api.call("POST", f"{V5}/clients/kickout/bulk", [1])).code == "BAD_REQUEST"


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("GET", "/subscriptions")])
async def test_an_unknown_client(api: Api, method: str, path: str) -> None:
    reply = await api.call(method, f"{V5}/clients/nobody{path}")
    assert (reply.status, reply.code) == (404, "CLIENTID_NOT_FOUND")
    assert reply.json["message"] == "Client ID not found"


@pytest.mark.parametrize("name", [ODD_NAME, "..", ".", "%41", " "])
async def test_client_ids_are_decoded_once(api: Api, name: str) -> None:
    client = await api.mqtt.connected(name)
    await client.subscribe(("t", 0))
    encoded = quote(name, safe="").replace(".", "%2E")
    assert (await api.get(f"/clients/{encoded}")).json["clientid"] == name
    assert (await api.get(f"/clients/{encoded}/subscriptions")).json[0]["clientid"] == name
    assert names(await api.get("/clients", clientid=encoded)) == [name]
    assert (await api.call("DELETE", f"{V5}/clients/{encoded}")).status == 204
    assert api.mqtt.broker.registry.get(name) is None


async def test_the_subscriptions_of_a_client(api: Api) -> None:
    client = await api.mqtt.connected("one")
    await client.subscribe(("a/+", 1), ("b/#", 2))
    assert (await api.get("/clients/one/subscriptions")).json == [
        {
            "node": "wardenmq@127.0.0.1",
            "clientid": "one",
            "topic": topic,
            "qos": qos,
            "nl": 0,
            "rap": 0,
            "rh": 0,
            "durable": False,
        }
        for topic, qos in (("a/+", 1), ("b/#", 2))
    ]


# -- behind a cursor


async def test_parts_behind_a_cursor(api: Api) -> None:
    for number in range(5):
        await api.mqtt.connected(f"c{number}")
    found: list[list[str]] = []
    cursor = "none"
    while True:
        reply = await api.get("/clients_v2", limit=2, cursor=cursor)
        found.append([row["clientid"] for row in reply.rows])
        assert reply.meta["count"] == len(found[-1])
        if "cursor" not in reply.meta:
            break
        cursor = reply.meta["cursor"]
    assert found == [["c0", "c1"], ["c2", "c3"], ["c4"]]
    assert (await api.get("/clients_v2", limit=5)).meta == {"count": 5}


@pytest.mark.parametrize("gone", ["c1", "c2"])
async def test_a_cursor_holds_though_clients_go(api: Api, gone: str) -> None:
    for number in range(4):
        await api.mqtt.connected(f"c{number}")
    first = await api.get("/clients_v2", limit=2)
    await api.call("DELETE", f"{V5}/clients/{gone}")
    rest = await api.get("/clients_v2", cursor=first.meta["cursor"])
    assert names(rest) == [name for name in ("c2", "c3") if name != gone]


async def test_the_filters_of_parts(api: Api) -> None:
    await open_some(api)
    first = await api.get("/clients_v2", like_username="li", limit=1, fields="clientid")
    assert (first.rows, first.meta["count"]) == ([{"clientid": "one"}], 1)
    rest = await api.get("/clients_v2", like_username="li", limit=1, fields="clientid", cursor=first.meta["cursor"])
    assert (rest.rows, rest.meta) == ([{"clientid": "three"}], {"count": 1})
    assert names(await api.call("GET", f"{V5}/clients_v2?clientid=one&clientid=two&conn_state=connected")) == [
        "one",
        "two",
    ]


@pytest.mark.parametrize("cursor", ["x", "", "%C3%A9", "eA==", "eCB5", "bmFuIA", "AAAA", "7v8="])
async def test_a_cursor_that_is_none(api: Api, cursor: str) -> None:
    reply = await api.get("/clients_v2", cursor=cursor)
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
