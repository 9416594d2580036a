"""`/trace`: what clients do is in the file, and nothing else of them; traces begin, end and survive."""

import asyncio
import io
import json
import re
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from stat import S_IMODE
from threading import Event
from time import time
from typing import Any

import pytest
from wardenmq.broker.tracing import traces as traces_module
from wardenmq.broker.tracing.log import file_name
from wardenmq.config.settings import CREDENTIAL_PLUGIN, TOPIC_ACL_PLUGIN

from ..clocks import show_to_the_broker
from ..engine import wire
from ..engine.conditions import until
from .callers import V5, Api, Reply
from .operators import Operator
from .whole_server import whole_server

NODE = "wardenmq@127.0.0.1"
LINE = re.compile(r"(\S+) \[([A-Z]+)\] (.*)@(\S*) msg: ([a-z_]+)(?:, (.*))?")
LATER = 4_000_000_000


async def begin(api: Api, kind: str, value: str, name: str = "t", **options: Any) -> dict[str, Any]:
    """Make a trace."""
    reply = await api.call("POST", f"{V5}/trace", {"name": name, "type": kind, kind: value, **options})
    assert reply.status == 200, reply.body
    return reply.json


async def whole(api: Api, name: str = "t", step: int = 1_000) -> str:
    """Read a trace's log to its end, part by part."""
    text, position = "", 0
    while True:
        reply = await api.get(f"/trace/{name}/log", bytes=step, position=position)
        assert reply.status == 200, reply.body
        if not reply.json["items"]:
            assert reply.json["meta"] == {"bytes": step, "position": len(text.encode())}
            return text
        text += reply.json["items"]
        position = reply.json["meta"]["position"]
        assert position == len(text.encode())


async def events(api: Api, name: str = "t") -> list[tuple[str, str, str, str]]:
    """Give tag, client id, event and the rest of each line."""
    found: list[tuple[str, str, str, str]] = []
    for line in (await whole(api, name)).splitlines():
        match = LINE.fullmatch(line)
        assert match is not None, line
        moment = datetime.fromisoformat(match[1])
        assert abs(moment.timestamp() - time()) < 3_600
        assert moment.tzinfo is not None
        found.append((match[2], match[3], match[5], match[6] or ""))
    return found


async def packets(api: Api, name: str = "t") -> list[tuple[str, str]]:
    """Give the packets of a trace: whether they came in or went out, and their text."""
    return [
        (message.removeprefix("mqtt_packet_"), rest.removeprefix("packet: "))
        for tag, _, message, rest in await events(api, name)
        if tag == "MQTT"
    ]


# -- what is written


async def test_a_client_from_its_connect_to_its_end(api: Api) -> None:
    await begin(api, "clientid", "dev")
    other = await api.mqtt.connected("other")
    client = await api.mqtt.connected("dev", username="alice", password=b"top secret", keep_alive=60)
    await client.subscribe(("t/+", 1))
    await client.publish("t/1", b"hello", 1)
    got = await client.message()
    await other.publish("elsewhere", b"not to be seen")
    await client.unsubscribe("t/+")
    await client.disconnect()
    found = await packets(api)
    assert found == [
        (
            "received",
            "CONNECT(Q0, R0, D0, ClientId=dev, ProtoName=MQTT, ProtoVsn=4, CleanStart=true, KeepAlive=60,"
            " Username=alice, Password=******)",
        ),
        ("sent", "CONNACK(Q0, R0, D0, AckFlags=0, ReasonCode=0)"),
        ("received", "SUBSCRIBE(Q0, R0, D0, PacketId=1, TopicFilters=[t/+(QoS=1)])"),
        ("sent", "SUBACK(Q0, R0, D0, PacketId=1, ReasonCodes=[1])"),
        ("received", "PUBLISH(Q1, R0, D0, Topic=t/1, PacketId=2, Payload=hello)"),
        ("sent", f"PUBLISH(Q1, R0, D0, Topic=t/1, PacketId={got.packet_id}, Payload=hello)"),
        ("sent", "PUBACK(Q0, R0, D0, PacketId=2, ReasonCode=0)"),
        ("received", f"PUBACK(Q0, R0, D0, PacketId={got.packet_id}, ReasonCode=0)"),
        ("received", "UNSUBSCRIBE(Q0, R0, D0, PacketId=3, TopicFilters=[t/+])"),
        ("sent", "UNSUBACK(Q0, R0, D0, PacketId=3)"),
        ("received", "DISCONNECT(Q0, R0, D0, ReasonCode=0)"),
    ]
    rest = [event for event in await events(api) if event[0] != "MQTT"]
    assert rest == [
        ("AUTHN", "dev", "authentication_result", "result: allowed"),
        ("SOCKET", "dev", "client_connected", "listener: tcp:default"),
        ("SUBSCRIBE", "dev", "subscribe", "topic: t/+, qos: 1, is_new: true"),
        ("PUBLISH", "dev", "publish_to", "topic: t/1, qos: 1, retain: 0, subscribers: 1, payload: hello"),
        ("UNSUBSCRIBE", "dev", "unsubscribe", "topic: t/+"),
        ("SOCKET", "dev", "client_disconnected", "reason: normal"),
    ]
    text = await whole(api)
    assert "secret" not in text
    assert "not to be seen" not in text
    assert re.search(r"\[MQTT\] dev@127\.0\.0\.1:\d+ msg: mqtt_packet_received, packet: CONNECT", text)


async def test_a_client_that_is_connected_already(api: Api) -> None:
    """Its packets are shown one by one from now on, though it sends them in runs, and go where they went."""
    publisher, subscriber = await api.mqtt.pair(("t", 1))
    await publisher.publish("t", b"before", 1)
    assert await subscriber.messages(1) == [b"before"]
    await begin(api, "clientid", "publisher")
    payloads = [b"%d" % number for number in range(50)]
    publisher.send(*[wire.publish("t", payload) for payload in payloads])
    publisher.send(*[wire.publish("t", payload, 1, number) for number, payload in enumerate(payloads, 100)])
    assert await subscriber.messages(100) == payloads * 2
    for _ in payloads:
        await publisher.expect(wire.PUBACK)
    shown = [text for way, text in await packets(api) if way == "received"]
    assert shown == [f"PUBLISH(Q0, R0, D0, Topic=t, Payload={number})" for number in range(50)] + [
        f"PUBLISH(Q1, R0, D0, Topic=t, PacketId={100 + number}, Payload={number})" for number in range(50)
    ]
    assert sum(text.startswith("PUBACK") for way, text in await packets(api) if way == "sent") == 50
    assert api.mqtt.broker.traces.tapped == 1
    await api.call("PUT", f"{V5}/trace/t/stop")
    assert api.mqtt.broker.traces.tapped == 0
    before = await whole(api)
    await publisher.publish("t", b"after", 1)
    assert await subscriber.messages(1) == [b"after"]
    assert await whole(api) == before


async def test_what_a_subscriber_is_sent_in_runs(api: Api) -> None:
    publisher, subscriber = await api.mqtt.pair(("t", 1))
    await begin(api, "clientid", "subscriber")
    publisher.send(*[wire.publish("t", b"%d" % number, 1, number + 1) for number in range(20)])
    await subscriber.messages(20)
    await subscriber.ping()
    sent = [text for way, text in await packets(api) if way == "sent" and text.startswith("PUBLISH")]
    assert [text.rpartition("Payload=")[2] for text in sent] == [f"{number})" for number in range(20)]


async def test_an_mqtt5_client(api: Api) -> None:
    await begin(api, "clientid", "dev")
    client = await api.connected5("dev", properties=[(0x11, 30), (0x26, ("a", "b"))])
    await client.subscribe(("t", 1))
    await client.publish("t", b"x", 1)
    await client.message()
    await client.ping()
    found = [text for _, text in await packets(api)]
    assert "ProtoVsn=5" in found[0]
    assert "Session-Expiry-Interval: 30" in found[0]
    assert "User-Property: [('a', 'b')]" in found[0]
    assert found[1].startswith("CONNACK(Q0, R0, D0, AckFlags=0, ReasonCode=0, Properties={")
    assert "TopicFilters=[t(QoS=1, NL=0, RAP=0, RH=0)]" in found[2]


async def test_a_client_whose_id_the_server_chooses(api: Api) -> None:
    """It is nobody's that is traced, and watched no longer once that is known; by its address it is found."""
    await begin(api, "clientid", "dev")
    await (await api.mqtt.connected("")).ping()
    assert api.mqtt.broker.traces.tapped == 0
    await begin(api, "ip_address", "127.0.0.1", "address")
    await (await api.mqtt.connected("")).ping()
    shown = [text.partition("(")[0] for _, text in await packets(api, "address")]
    assert [kind for kind in shown if not kind.startswith("PING")][:2] == ["CONNECT", "CONNACK"]


async def test_clients_of_others_are_let_go_at_their_connect(api: Api) -> None:
    await begin(api, "clientid", "dev")
    await api.mqtt.connected("a")
    await (await api.mqtt.connected("b")).ping()
    assert api.mqtt.broker.traces.tapped == 0
    assert await whole(api) == ""


async def test_an_address(api: Api) -> None:
    before = await api.mqtt.connected("before")
    await begin(api, "ip_address", "127.0.0.1")
    await until(lambda: api.mqtt.broker.traces.tapped == 1)
    await before.ping()
    await api.mqtt.connected("after")
    assert {client_id for _, client_id, _, _ in await events(api)} == {"before", "after"}
    await begin(api, "ip_address", "192.0.2.1", "other")
    await before.ping()
    assert await whole(api, "other") == ""


async def test_a_topic_with_wildcards(api: Api) -> None:
    await begin(api, "topic", "home/+/temperature")
    publisher, subscriber = await api.mqtt.pair(("home/#", 1))
    await subscriber.subscribe(("home/+/temperature", 0), ("$share/g/home/a/temperature", 0), ("other", 0))
    await publisher.publish("home/a/temperature", b"21.5", 1)
    await publisher.publish("home/a/humidity", b"40")
    await publisher.publish("home/b/temperature", b"20", retain=True)
    await api.call("POST", f"{V5}/publish", {"topic": "home/c/temperature", "payload": "from the API", "qos": 2})
    found = await events(api)
    assert [event[:3] for event in found] == [
        ("SUBSCRIBE", "subscriber", "subscribe"),
        ("SUBSCRIBE", "subscriber", "subscribe"),
        ("PUBLISH", "publisher", "publish_to"),
        ("PUBLISH", "publisher", "publish_to"),
        ("PUBLISH", found[4][1], "publish_to"),
    ]
    assert found[2][3] == "topic: home/a/temperature, qos: 1, retain: 0, subscribers: 2, payload: 21.5"
    assert found[3][3].startswith("topic: home/b/temperature, qos: 0, retain: 1")
    assert found[4][3].endswith("payload: from the API")
    assert api.mqtt.broker.traces.tapped == 0


@pytest.mark.parametrize(
    ("encode", "shown"), [("text", "\\x00\\xff {\\n}ä"), ("hex", "00FF207B0A7DC3A4"), ("hidden", "******")]
)
async def test_how_payloads_are_shown(api: Api, encode: str, shown: str) -> None:
    await begin(api, "clientid", "dev", payload_encode=encode)
    client = await api.mqtt.connected("dev", will=wire.Will("w", b"\x00\xff {\n}\xc3\xa4"))
    await client.publish("t", b"\x00\xff {\n}\xc3\xa4")
    found = [text for _, text in await packets(api) if "Payload=" in text]
    assert [text.rpartition("Payload=")[2].rstrip(")") for text in found] == [shown, shown]
    [publish] = [event for event in await events(api) if event[2] == "publish_to"]
    assert publish[3].endswith(f"payload: {shown}")


async def test_nothing_that_clients_send_breaks_a_line(api: Api) -> None:
    """A client id or a topic with line ends in it would else write lines of its own."""
    await begin(api, "ip_address", "127.0.0.1")
    forged = "x\n2026-01-01T00:00:00Z [AUTHN] admin@1.2.3.4:5 msg: authentication_result, result: allowed\u2028\x1b[2J"
    client = await api.mqtt.connected(forged, username=forged)
    await client.subscribe((forged, 0))
    await client.publish(forged, forged.encode())
    text = await whole(api)
    assert text.count("\n") == len(text.splitlines()) == len(await events(api))
    assert not any(line.startswith("2026-01-01T00:00:00") for line in text.splitlines())
    assert "\x1b" not in text


async def test_long_payloads_are_cut(api: Api) -> None:
    await begin(api, "topic", "t")
    api.mqtt.broker.publish("t", b"x" * 5_000)
    [event] = await events(api)
    assert event[3].endswith("payload: " + "x" * 1_024 + "...(5000 bytes)")


async def test_json(api: Api) -> None:
    await begin(api, "clientid", "dev", formatter="json")
    client = await api.mqtt.connected("dev", username="alice", password=b"secret")
    await client.publish("t", b'{"a": "b\n"}')
    lines = [json.loads(line) for line in (await whole(api)).splitlines()]
    assert {frozenset(line) for line in lines} == {frozenset(("time", "level", "msg", "meta"))}
    connect = lines[0]
    assert (connect["level"], connect["msg"]) == ("debug", "mqtt_packet_received")
    peer = connect["meta"].pop("peername")
    assert re.fullmatch(r"127\.0\.0\.1:\d+", peer)
    assert connect["meta"] == {
        "clientid": "dev",
        "username": "alice",
        "trace_tag": "MQTT",
        "packet": "CONNECT(Q0, R0, D0, ClientId=dev, ProtoName=MQTT, ProtoVsn=4, CleanStart=true, KeepAlive=0,"
        " Username=alice, Password=******)",
    }
    [publish] = [line for line in lines if line["msg"] == "publish_to"]
    assert publish["meta"]["payload"] == '{"a": "b\\n"}'
    assert publish["meta"]["trace_tag"] == "PUBLISH"
    datetime.fromisoformat(publish["time"])


async def test_who_is_refused_and_what_is_denied(operator: Operator) -> None:
    """With credentials and rules asked: the reasons are in the trace, and no password."""
    traces = operator.mqtt.broker.traces
    traces.add(traces_module.Trace("t", "clientid", "dev", int(time()), int(time()) + 600))
    client = await operator.mqtt.open()
    assert await client.refused(wire.connect("dev", username="stranger", password=b"secret")) == 4
    client = await operator.mqtt.connected("dev")
    await client.publish("forbidden", b"x")
    await client.subscribe(("forbidden", 0))
    await traces.settle()
    path = traces.path("t")
    assert path is not None
    text = path.read_text()
    assert "secret" not in text
    assert "[AUTHN] dev@127.0.0.1 msg: authentication_result, result: denied, reason: " in text
    assert "msg: mqtt_packet_sent, packet: CONNACK(Q0, R0, D0, AckFlags=0, ReasonCode=4)" in text
    assert "msg: authorization_permission_denied, action: publish, topic: forbidden, qos: 0" in text
    assert "SUBACK(Q0, R0, D0, PacketId=1, ReasonCodes=[128])" in text
    assert operator.mqtt.broker.topic_plugins, (CREDENTIAL_PLUGIN, TOPIC_ACL_PLUGIN)


async def test_several_traces_of_one_client(api: Api) -> None:
    await begin(api, "clientid", "dev", "a")
    await begin(api, "clientid", "dev", "b", start_at=int(time()) + 2, end_at=LATER, formatter="json")
    await begin(api, "topic", "t", "c")
    client = await api.mqtt.connected("dev")
    await client.publish("t", b"x")
    assert len(await packets(api, "a")) >= 3
    assert [event[2] for event in await events(api, "c")] == ["publish_to"]
    await api.call("DELETE", f"{V5}/trace/a")
    assert api.mqtt.broker.traces.tapped <= 1  # the other one of the client may have begun
    await client.publish("t", b"y")
    assert [event[2] for event in await events(api, "c")] == ["publish_to", "publish_to"]


# -- when


async def test_a_trace_waits_runs_and_stops(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = show_to_the_broker(monkeypatch, "wardenmq.mgmt_api.emqx.tracing")
    client = await api.mqtt.connected("dev")
    start = int(clock()) + 3_600
    row = await begin(api, "clientid", "dev", start_at=start, end_at=start + 60)
    assert (row["status"], row["log_size"]) == ("waiting", {NODE: 0})
    await client.ping()
    assert await whole(api) == ""
    clock.advance(3_610)
    await until(lambda: api.mqtt.broker.traces.tapped == 1)
    await client.ping()
    assert (await api.get("/trace")).json[0]["status"] == "running"
    text = [shown for _, shown in await packets_at(api)]
    assert text == ["PINGREQ(Q0, R0, D0)", "PINGRESP(Q0, R0, D0)"]
    clock.advance(60)
    await until(lambda: api.mqtt.broker.traces.tapped == 0)
    await client.ping()
    [row] = (await api.get("/trace")).json
    assert row["status"] == "stopped"
    assert [shown for _, shown in await packets_at(api)] == text
    assert row["log_size"][NODE] == len((await whole(api)).encode())


async def packets_at(api: Api) -> list[tuple[str, str]]:
    """Give the packets, whatever time it is said to be."""
    lines = [LINE.fullmatch(line) for line in (await whole(api)).splitlines()]
    return [(line[5], line[6].removeprefix("packet: ")) for line in lines if line is not None and line[2] == "MQTT"]


async def test_the_times_that_can_be_said(api: Api) -> None:
    row = await begin(api, "clientid", "a", "default")
    start, end = (datetime.fromisoformat(row[key]) for key in ("start_at", "end_at"))
    assert (end - start).total_seconds() == 600
    assert abs(start.timestamp() - time()) < 3_600
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", row["start_at"])
    row = await begin(api, "clientid", "b", "epoch", start_at=LATER, end_at=str(LATER + 5))
    assert (row["start_at"], row["end_at"]) == ("2096-10-02T07:06:40+00:00", "2096-10-02T07:06:45+00:00")
    row = await begin(api, "clientid", "c", "zone", start_at="2096-10-02T09:06:40+02:00", end_at=LATER + 5)
    assert row["start_at"] == "2096-10-02T07:06:40+00:00"
    row = await begin(api, "clientid", "d", "past", start_at=5, end_at=LATER)
    assert abs(datetime.fromisoformat(row["start_at"]).timestamp() - time()) < 3_600, "it cannot begin before now"
    assert [row["name"] for row in (await api.get("/trace")).json][:2] == ["epoch", "zone"]


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"end_at": 1_600_000_000}, 400, "INVALID_PARAMS"),
        ({"start_at": LATER, "end_at": LATER}, 400, "INVALID_PARAMS"),
        ({"start_at": LATER, "end_at": LATER - 1}, 400, "INVALID_PARAMS"),
        ({"start_at": "soon"}, 400, "BAD_REQUEST"),
        ({"start_at": "2096-10-02T07:06:40"}, 400, "BAD_REQUEST"),
        ({"start_at": -1}, 400, "BAD_REQUEST"),
        ({"end_at": 10**15}, 400, "BAD_REQUEST"),
        ({"end_at": "9" * 30}, 400, "BAD_REQUEST"),
        ({"name": "1a"}, 400, "BAD_REQUEST"),
        ({"name": "a/../b"}, 400, "BAD_REQUEST"),
        ({"name": "a\n"}, 400, "BAD_REQUEST"),
        ({"name": ""}, 400, "BAD_REQUEST"),
        ({"name": "a" * 257}, 400, "BAD_REQUEST"),
        ({"type": "nobody"}, 400, "BAD_REQUEST"),
        ({"type": "topic"}, 400, "BAD_REQUEST"),
        ({"type": "topic", "topic": "a/#/b"}, 400, "BAD_REQUEST"),
        ({"type": "topic", "topic": ""}, 400, "BAD_REQUEST"),
        ({"type": "ip_address", "ip_address": "127.0.0"}, 400, "BAD_REQUEST"),
        ({"type": "ip_address", "ip_address": "localhost"}, 400, "BAD_REQUEST"),
        ({"clientid": ""}, 400, "BAD_REQUEST"),
        ({"clientid": None}, 400, "BAD_REQUEST"),
        ({"payload_encode": "base64"}, 400, "BAD_REQUEST"),
        ({"formatter": "xml"}, 400, "BAD_REQUEST"),
        ({"enable": True}, 400, "BAD_REQUEST"),
    ],
)
async def test_what_is_no_trace(api: Api, changes: dict[str, Any], status: int, code: str) -> None:
    reply = await api.call("POST", f"{V5}/trace", {"name": "t", "type": "clientid", "clientid": "dev", **changes})
    assert (reply.status, reply.code) == (status, code)
    assert (await api.get("/trace")).json == []


async def test_names_and_conditions_are_taken_once(api: Api) -> None:
    async def make(**fields: Any) -> Reply:
        return await api.call("POST", f"{V5}/trace", {"end_at": LATER + 9, "type": "clientid", **fields})

    assert (await make(name="a", clientid="dev", start_at=LATER)).status == 200
    reply = await make(name="a", clientid="other", start_at=LATER)
    assert (reply.status, reply.code) == (409, "ALREADY_EXISTS")
    reply = await make(name="b", clientid="dev", start_at=LATER)
    assert (reply.status, reply.code) == (409, "DUPLICATE_CONDITION")
    assert (await make(name="b", clientid="dev", start_at=LATER + 1)).status == 200
    assert (await make(name="A", clientid="DEV", start_at=LATER)).status == 200, "case counts"


async def test_there_are_at_most_thirty(api: Api) -> None:
    for number in range(30):
        await begin(api, "clientid", f"c{number}", f"t{number}", start_at=LATER, end_at=LATER + 9)
    body = {"name": "more", "type": "clientid", "clientid": "more"}
    reply = await api.call("POST", f"{V5}/trace", body)
    assert (reply.status, reply.code) == (400, "INVALID_PARAMS")
    assert len((await api.get("/trace")).json) == 30
    assert (await api.call("DELETE", f"{V5}/trace/t7")).status == 204
    assert (await api.call("POST", f"{V5}/trace", body)).status == 200


# -- files


async def test_the_archive(api: Api) -> None:
    await begin(api, "clientid", "dev")
    await api.mqtt.connected("dev")
    reply = await api.get("/trace/t/download", node=NODE)
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/x-zip"
    assert reply.headers["Content-Disposition"] == 'attachment; filename="t.zip"'
    with zipfile.ZipFile(io.BytesIO(reply.body)) as packed:
        today = datetime.now(UTC).date().isoformat()
        [name] = packed.namelist()
        assert name.startswith(f"{NODE}-trace_t_{today[:4]}")
        assert packed.read(name).decode() == await whole(api)
    [detail] = (await api.get("/trace/t/log_detail")).json
    assert detail["node"] == NODE
    assert detail["size"] == len((await whole(api)).encode())
    assert abs(detail["mtime"] - time()) < 3_600


async def test_parts_end_between_characters(api: Api) -> None:
    await begin(api, "topic", "t")
    api.mqtt.broker.publish("t", "aäß€😀z".encode())
    text = await whole(api)
    assert "aäß€😀z" in text
    for step in (1, 5, 7):
        assert await whole(api, step=step) == text
    reply = await api.get("/trace/t/log", bytes=0)
    assert reply.json == {"items": "", "meta": {"bytes": 0, "position": 0}}
    reply = await api.get("/trace/t/log", bytes=10, position=10**9)
    assert reply.json == {"items": "", "meta": {"bytes": 10, "position": len(text.encode())}}
    reply = await api.get("/trace/t/log", bytes=2_147_483_647)
    assert reply.json["items"] == text


async def test_a_file_that_is_full_stops_its_trace(api: Api) -> None:
    traces = api.mqtt.broker.traces
    traces._limit = 2_000  # pyright: ignore[reportPrivateUsage]
    await begin(api, "topic", "t")
    for _ in range(100):
        api.mqtt.broker.publish("t", b"x" * 100)

    def stopped() -> bool:
        trace = traces.get("t")
        return trace is not None and trace.stopped

    await until(stopped)
    text = await whole(api)
    assert 1_500 < len(text) <= 2_000
    assert text.endswith("\n")
    assert (await api.get("/trace")).json[0]["status"] == "stopped"


async def test_deleting_deletes_the_file(api: Api) -> None:
    traces = api.mqtt.broker.traces
    await begin(api, "clientid", "dev", "a")
    await begin(api, "topic", "t", "b")
    await begin(api, "topic", "later", "c", start_at=LATER, end_at=LATER + 9)
    client = await api.mqtt.connected("dev")
    paths = [path for name in "ab" if (path := traces.path(name)) is not None]
    assert [path.exists() for path in paths] == [True, True]
    folder = paths[0].parent
    assert S_IMODE(folder.stat().st_mode) == 0o700
    assert S_IMODE(paths[0].stat().st_mode) == 0o600
    assert (await api.call("DELETE", f"{V5}/trace/a")).status == 204
    assert not paths[0].exists()
    reply = await api.call("DELETE", f"{V5}/trace/a")
    assert (reply.status, reply.code) == (404, "NOT_FOUND")
    assert (await api.call("DELETE", f"{V5}/trace")).status == 204
    assert (await api.get("/trace")).json == []
    assert list(folder.iterdir()) == []
    await client.ping()
    await begin(api, "clientid", "dev", "a")
    assert await whole(api, "a") == "", "a new trace begins with nothing"
    await api.mqtt.broker.traces.close()
    assert not folder.exists(), "without a data directory the files go with the broker"


async def test_stopping(api: Api) -> None:
    await begin(api, "clientid", "dev")
    for _ in range(2):
        reply = await api.call("PUT", f"{V5}/trace/t/stop")
        assert (reply.status, reply.json) == (200, {"name": "t", "enable": False})
    assert (await api.get("/trace")).json[0]["status"] == "stopped"
    reply = await api.call("PUT", f"{V5}/trace/u/stop")
    assert (reply.status, reply.code) == (404, "NOT_FOUND")


async def test_who_may_trace(api: Api) -> None:
    body = {"name": "t", "type": "clientid", "clientid": "dev"}
    for role, status in (("viewer", 403), ("publisher", 403), (None, 401)):
        assert (await api.call("POST", f"{V5}/trace", body, role=role)).status == status
    await begin(api, "clientid", "dev")
    for method, path in (("PUT", "/t/stop"), ("DELETE", "/t"), ("DELETE", "")):
        assert (await api.call(method, f"{V5}/trace{path}", role="viewer")).status == 403
    assert (await api.call("GET", f"{V5}/trace", role="viewer")).status == 200


# -- restarts


async def test_traces_and_their_files_survive(tmp_path: Path) -> None:
    async with whole_server(tmp_path) as server:
        for name, fields in {
            "running": {"type": "clientid", "clientid": "dev", "end_at": LATER, "formatter": "json"},
            "stopped": {"type": "topic", "topic": "t/#"},
            "waiting": {"type": "ip_address", "ip_address": "::1", "start_at": LATER, "end_at": LATER + 9},
            "gone": {"type": "ruleid", "ruleid": "r"},
        }.items():
            assert (await server.call("POST", "/trace", {"name": name, **fields})).status == 200
        await server.call("PUT", "/trace/stopped/stop")
        await server.call("DELETE", "/trace/gone")
        await (await server.client("dev")).ping()
        before = (await server.call("GET", "/trace")).json
        first = (await server.call("GET", "/trace/running/log?bytes=100000")).json
        assert "CONNECT" in first["items"]
        password = server.credentials["mqtt_password"]
    files = sorted(path.name for path in (tmp_path / "trace").iterdir())
    assert files == sorted((file_name("running"), file_name("stopped")))
    assert S_IMODE((tmp_path / "trace").stat().st_mode) == 0o700
    async with whole_server(tmp_path) as server:
        after = (await server.call("GET", "/trace")).json
        for row in (*before, *after):
            row.pop("log_size")
        assert after == before
        assert {row["name"]: row["status"] for row in after} == {
            "running": "running",
            "stopped": "stopped",
            "waiting": "waiting",
        }
        await (await server.client("dev")).ping()
        text = (await server.call("GET", "/trace/running/log?bytes=100000")).json["items"]
        assert text.startswith(first["items"])
        assert text.count('"packet":"CONNECT(') == 2
        assert password not in text
        assert (await server.call("DELETE", "/trace")).status == 204
        assert list((tmp_path / "trace").iterdir()) == []
    async with whole_server(tmp_path) as server:
        assert (await server.call("GET", "/trace")).json == []


async def test_a_folder_that_cannot_be_made_stops_the_trace_and_nothing_else(tmp_path: Path) -> None:
    body = {"name": "t", "type": "clientid", "clientid": "dev", "end_at": LATER}
    async with whole_server(tmp_path) as server:
        (tmp_path / "trace").write_text("in the way")
        made = await server.call("POST", "/trace", body)
        assert (made.status, made.json["status"]) == (200, "stopped")
        broker = server.server._broker
        assert broker is not None
        broker._keep_house()
        assert [row["status"] for row in (await server.call("GET", "/trace")).json] == ["stopped"]
        assert (await server.call("GET", "/trace/t/log")).json["items"] == ""
        assert (await server.call("GET", "/trace/t/download")).status == 404
        assert (await server.call("DELETE", "/trace/t")).status == 204
        (tmp_path / "trace").unlink()
        assert (await server.call("POST", "/trace", body)).json["status"] == "running"
    (tmp_path / "trace").rename(tmp_path / "elsewhere")
    (tmp_path / "trace").write_text("in the way")
    async with whole_server(tmp_path) as server:
        assert [row["status"] for row in (await server.call("GET", "/trace")).json] == ["stopped"]


async def test_a_name_is_free_once_its_file_is_gone(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    going, gone = Event(), Event()
    delete = traces_module._delete

    def slowly(*given: Any) -> None:
        going.set()
        gone.wait(30)
        delete(*given)

    monkeypatch.setattr(traces_module, "_delete", slowly)
    await begin(api, "clientid", "dev")
    body = {"name": "t", "type": "clientid", "clientid": "other"}
    deleting = asyncio.ensure_future(api.call("DELETE", f"{V5}/trace/t"))
    await until(going.is_set)
    assert (await api.call("POST", f"{V5}/trace", body)).code == "ALREADY_EXISTS"
    gone.set()
    assert (await deleting).status == 204
    assert (await api.call("POST", f"{V5}/trace", body)).status == 200
    path = api.mqtt.broker.traces.path("t")
    assert path is not None and path.exists()
