"""Archives that somebody else made: what is refused before anything is taken, and what of the rest is taken."""

import gzip
import io
import json
import tarfile
import tracemalloc
from base64 import b64encode
from typing import Any

import pytest
from wardenmq.mgmt_api.emqx.settings import import_tables
from wardenmq.mgmt_api.emqx.settings.import_configuration import laid_over
from wardenmq.store.records import Rule

from .backups import exported, imported, table, taken_over, uploaded
from .callers import V5, Api, Reply
from .calls.data import META, archive

DIGEST = {"algo": "sha256", "hash": b64encode(bytes(32)).decode(), "salt": "", "params": {"salt_position": "prefix"}}
API_SECRET = {"algo": "sha256-token", "hash": b64encode(bytes(32)).decode(), "salt": "", "params": {}}


def packed(*members: tarfile.TarInfo, data: bytes = META) -> bytes:
    """Pack headers as they are; each regular one has the same content."""
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb") as compressed, tarfile.open(fileobj=compressed, mode="w") as tar:
        for member in members:
            if member.isreg():
                member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, target
    return header


def enormous(name: str, size: int) -> bytes:
    """Say that a file is larger than what follows."""
    header = member(f"x/{name}")
    header.size = size
    return gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))


WHOLE = archive({"META.hocon": META, "mnesia/banned": b"{}\n" * 100})
HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "no gzip": b"PK\x03\x04",
    "no tar": gzip.compress(b"x" * 2_000),
    "empty": gzip.compress(bytes(1_024)),
    "cut off": WHOLE[:-30],
    "damaged": WHOLE[:40] + b"\xff" + WHOLE[41:],
    "no META": archive({"cluster.hocon": b""}),
    "META that is none": archive({"META.hocon": b"{{{"}),
    "META that is not UTF-8": archive({"META.hocon": b"version = \xff"}),
    "META without version": archive({"META.hocon": b"edition = wardenmq\nformat = 1"}),
    "META of another form": archive({"META.hocon": b"version { a = 1 }\nedition = wardenmq"}),
    "newer version": archive({"META.hocon": b'version = "9999.0"\nedition = "wardenmq"\nformat = 1'}),
    "newer format": archive({"META.hocon": b'version = "0"\nedition = "wardenmq"\nformat = 2'}),
    "newer EMQX": archive({"META.hocon": b'version = "6.0.0"\nedition = "CE"'}),
    "unknown table": archive({"META.hocon": META, "mnesia/nobody": b""}),
    "unknown file": archive({"META.hocon": META, "etc/passwd": b""}),
    "way out": packed(member("x/META.hocon"), member("x/../../etc/passwd")),
    "absolute": packed(member("/META.hocon")),
    "no folder": packed(member("META.hocon")),
    "two folders": packed(member("x/META.hocon"), member("y/cluster.hocon")),
    "twice": packed(member("x/META.hocon"), member("x/META.hocon")),
    "symbolic link": packed(member("x/META.hocon"), member("x/cluster.hocon", tarfile.SYMTYPE, "/etc/passwd")),
    "hard link": packed(member("x/META.hocon"), member("x/cluster.hocon", tarfile.LNKTYPE, "x/META.hocon")),
    "device": packed(member("x/META.hocon"), member("x/mnesia/banned", tarfile.CHRTYPE)),
    "long name": packed(member("x/META.hocon"), member("x/" + "n" * 5_000)),
    "very many files": archive({"META.hocon": b'version = "5.8.1"', **{f"data/{n}": b"" for n in range(1_001)}}),
    "large META": enormous("META.hocon", 1 << 20),
    "large configuration": enormous("cluster.hocon", 1 << 30),
    "large table": enormous("mnesia/banned", 1 << 33),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=list(HOSTILE))
async def test_such_archives_are_refused(api: Api, data: bytes) -> None:
    reply = await uploaded(api, "given.tar.gz", data)
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    (api.state.backups.folder() / "copied.tar.gz").write_bytes(data)
    reply = await imported(api, "copied.tar.gz")
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert {path.name for path in api.state.backups.folder().iterdir()} == {"copied.tar.gz"}
    assert api.state.unhandled_errors == 0


async def test_what_decompresses_to_very_much_fills_neither_memory_nor_disk(api: Api) -> None:
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1) as compressed:
        for name, size in (("META.hocon", len(META)), ("mnesia/banned", 100 << 20)):
            header = member(f"x/{name}")
            header.size = size
            compressed.write(header.tobuf(tarfile.USTAR_FORMAT))
            compressed.write(META.ljust(512, b"\0") if name == "META.hocon" else b"")
        for _ in range(100):
            compressed.write(b" " * (1 << 20))
    (api.state.backups.folder() / "bomb.tar.gz").write_bytes(stream.getvalue() + gzip.compress(bytes(1_024)))
    tracemalloc.start()
    try:
        reply = await imported(api, "bomb.tar.gz")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reply.code == "BAD_REQUEST"
    assert "longer than" in reply.json["message"]
    assert most < 20 << 20
    assert [path.name for path in api.state.backups.folder().iterdir()] == ["bomb.tar.gz"]


async def test_deep_rows_are_no_rows(api: Api) -> None:
    rows = b"[" * 200_000 + b"\n" + b'{"as":"clientid","who":"c"}\n'
    reply = await taken_over(api, archive({"META.hocon": META, "mnesia/banned": rows}))
    assert reply.json["message"] == "banned: row 1: The row is no JSON."
    assert [ban.who for ban in api.directory.bans.all()] == ["c"]


async def test_a_deep_configuration_is_refused_and_the_tables_are_taken(api: Api) -> None:
    files = {
        "META.hocon": META,
        "cluster.hocon": b"a=" + b"[" * 200_000,
        "mnesia/banned": b'{"as":"clientid","who":"c"}\n',
    }
    reply = await taken_over(api, archive(files))
    assert reply.json["message"].startswith("cluster.hocon: line 1")
    assert api.directory.bans.get("clientid", "c") is not None


# -- rows


def only(table_set: str, row: dict[str, Any], /, **changes: Any) -> tuple[str, Any]:
    return table_set, {key: value for key, value in {**row, **changes}.items() if value is not ...}


BAN = {"as": "clientid", "who": "c"}
LOGIN = {"login_type": "username", "login": "alice", "secret": DIGEST}
RULE = {"topic": "t", "permission": "allow", "action": "all", "qos": [0]}
RULES = {"subject_type": "username", "subject": "alice", "rule": RULE}
KEY = {"name": "key", "api_key": "abc", "secret": API_SECRET, "role": "viewer"}
USER = {"name": "mary", "secret": DIGEST, "role": "viewer"}
WRONG = [
    only("banned", BAN, who=...),
    only("banned", BAN, who=7),
    only("banned", BAN, who="\ud800"),
    only("banned", BAN, until="tomorrow"),
    only("banned", BAN, at=float("nan")),
    only("banned", BAN, until=1e30),
    only("banned", BAN, nobody=1),
    only("banned", BAN, **{"as": "everybody"}),
    only("banned", BAN, **{"as": "clientid_re", "who": "("}),
    only("banned", BAN, **{"as": "peerhost_net", "who": "0.0.0.0/33"}),
    ("banned", ["clientid", "c"]),
    only("builtin_authn", LOGIN, login=""),
    only("builtin_authn", LOGIN, login_type="human"),
    only("builtin_authn", LOGIN, superuser="true"),
    only("builtin_authn", LOGIN, kind="portal_publisher"),
    only("builtin_authn", LOGIN, clientid_mode="reserved"),
    only("builtin_authn", LOGIN, secret={**DIGEST, "algo": "plain"}),
    only("builtin_authn", LOGIN, secret={**DIGEST, "algo": "sha256-token"}),
    only("builtin_authn", LOGIN, secret={**DIGEST, "hash": "!"}),
    only("builtin_authn", LOGIN, secret={**DIGEST, "hash": "AAAA"}),
    only("builtin_authn", LOGIN, secret={**DIGEST, "params": {"salt_position": "middle"}}),
    only("builtin_authn", LOGIN, secret={**DIGEST, "algo": "pbkdf2-sha256", "params": {"iterations": 10**12}}),
    only("builtin_authn", LOGIN, secret={**DIGEST, "algo": "pbkdf2-sha256"}),
    only("builtin_authn", LOGIN, secret={**DIGEST, "algo": "scrypt", "params": {"ln": 40, "r": 8, "p": 1}}),
    only("builtin_authn", LOGIN, secret={**DIGEST, "algo": "argon2id"}),
    only("builtin_authn", LOGIN, secret=7),
    only("builtin_authz", RULES, subject_type="role"),
    only("builtin_authz", RULES, subject=""),
    only("builtin_authz", RULES, rule={**RULE, "topic": "a/#/b"}),
    only("builtin_authz", RULES, rule={**RULE, "permission": "perhaps"}),
    only("builtin_authz", RULES, rule={**RULE, "qos": [3]}),
    only("builtin_authz", RULES, rule={**RULE, "qos": [True]}),
    only("builtin_authz", RULES, rule={**RULE, "retain": "all"}),
    only("builtin_authz", RULES, rule={**RULE, "condition": {"ipaddr": 7}}),
    only("builtin_authz", RULES, rule={**RULE, "condition": {"username_re": "("}}),
    only("api_keys", KEY, name="1"),
    only("api_keys", KEY, api_key="a:b"),
    only("api_keys", KEY, role="owner"),
    only("api_keys", KEY, secret=...),
    only("api_keys", KEY, secret={**API_SECRET, "hash": "AAAA"}),
    only("api_keys", KEY, secret={**API_SECRET, "algo": "argon2id"}),
    only("dashboard_users", USER, name="no body"),
    only("dashboard_users", USER, name="admin"),
    only("dashboard_users", USER, role="publisher"),
    only("dashboard_users", USER, secret=None),
]


@pytest.mark.parametrize(("name", "row"), WRONG)
async def test_rows_that_say_something_wrong_are_named_and_left_out(api: Api, name: str, row: Any) -> None:
    count = (len(api.directory.api_keys()), len(api.directory.dashboard_users.all()))
    reply = await taken_over(api, table(name, [row]))
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert reply.json["message"].startswith(name)
    assert DIGEST["hash"] not in reply.json["message"]
    assert not api.directory.bans.all()
    assert not api.directory.stored_logins()
    assert not any(api.directory.rule_subjects(kind) for kind in ("username", "clientid", "all"))
    assert (len(api.directory.api_keys()), len(api.directory.dashboard_users.all())) == count
    assert api.state.unhandled_errors == 0


async def test_a_wrong_row_keeps_no_other_one_out(api: Api) -> None:
    rows = [{**BAN, "who": f"c{number}"} for number in range(20)]
    rows[7]["who"] = "c\x00"
    rows[11]["as"] = "nobody"
    reply = await taken_over(api, table("banned", rows))
    assert reply.json["message"].count("banned: ") == 2
    assert {ban.who for ban in api.directory.bans.all()} == {f"c{number}" for number in range(20)} - {"c7", "c11"}


async def test_of_very_many_problems_the_first_are_told(api: Api) -> None:
    reply = await taken_over(api, table("banned", [{}] * 600))
    assert reply.json["message"].endswith("; and 550 more")


async def test_a_table_of_wrong_rows_is_given_up(api: Api) -> None:
    rows = [{}] * 3_000 + [{**BAN, "who": "late"}]
    assert (await taken_over(api, table("banned", rows))).status == 400
    assert not api.directory.bans.all()


async def test_a_list_of_rules_comes_as_a_whole_or_not_at_all(api: Api) -> None:
    deny = {**RULE, "permission": "deny"}
    rows = [
        {**RULES, "subject": "first"},
        {**RULES, "subject": "second", "rule": {**deny, "nobody": 1}},
        {**RULES, "subject": "second"},
        {**RULES, "subject": "third"},
    ]
    assert "left out" in (await taken_over(api, table("builtin_authz", rows))).json["message"]
    assert api.directory.rule_subjects("username") == []  # the unreadable one may have been the first one's
    rows.insert(1, {**RULES, "subject": "between"})
    assert (await taken_over(api, table("builtin_authz", rows), "again.tar.gz")).status == 400
    assert api.directory.rule_subjects("username") == ["first"]


async def test_a_list_of_rules_that_is_refused_keeps_no_other_one_out(api: Api) -> None:
    wrong = {**RULES, "subject": "wrong", "rule": {**RULE, "topic": "a/#/b"}}
    rows = [{**RULES, "subject": "a"}, {**RULES, "subject": "wrong"}, wrong, {**RULES, "subject": "b"}]
    assert (await taken_over(api, table("builtin_authz", rows))).status == 400
    assert api.directory.rule_subjects("username") == ["a", "b"]


async def test_many_subjects_and_long_lists(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_tables, "_BATCH", 7)
    monkeypatch.setattr(import_tables, "_MANY_RULES", 5)
    lists = {f"u{number:02}": [Rule(f"t/{n}", "allow", "publish") for n in range(number % 9)] for number in range(40)}
    for subject, rules in lists.items():
        await api.directory.set_rules("username", subject, rules)
    name = await exported(api, "builtin_authz")
    await api.directory.delete_all_rules()
    assert (await imported(api, name)).status == 204
    assert {subject: [*rules] for subject, rules in api.directory.stored_rules("username")} == lists


async def test_there_are_never_more_api_keys_than_may_be(api: Api) -> None:
    secrets = [{**API_SECRET, "hash": b64encode(bytes([number] * 32)).decode()} for number in range(100)]
    rows = [{"name": f"k{n}", "api_key": f"abc{n}", "role": "viewer", "secret": each} for n, each in enumerate(secrets)]
    assert "more than 100" in (await taken_over(api, table("api_keys", rows))).json["message"]
    assert len(api.directory.api_keys()) == 100


async def test_the_last_administrator_stays_one(api: Api) -> None:
    await api.directory.dashboard_users.create("mary", "Password1")
    assert "last administrator" in (await taken_over(api, table("dashboard_users", [USER]))).json["message"]


# -- retained messages


def messages(*rows: tuple[dict[str, Any], bytes]) -> bytes:
    text = b"".join(json.dumps(head).encode() + b"\n" + data + b"\n" for head, data in rows)
    return archive({"META.hocon": META, "mnesia/builtin_retainer": text})


def retained(topic: str, payload: bytes = b"x", properties: bytes = b"", **head: Any) -> tuple[dict[str, Any], bytes]:
    fields = {"topic": topic, "qos": 1, "properties": len(properties), "payload": len(payload), **head}
    return fields, properties + payload


@pytest.mark.parametrize(
    "row",
    [
        retained("a/#"),
        retained(""),
        retained("\x00"),
        retained("\ud800"),
        retained("$SYS/broker"),
        retained("t", b""),
        retained("t", qos=3),
        retained("t", qos=True),
        retained("t", published_at="now"),
        retained("t", sender="\ud800"),
        retained("t", sender="x" * 65_536),
        retained("t", properties=b"\x26\xff"),
        retained("t", properties=b"\x02\x00\x00\x00\x01"),
        retained("t", properties=b"\x23\x00\x01"),
        retained("t", properties=b"\x0b\x01"),
        retained("t", properties=b"\x03\x00\x01\x00"),
        retained("t", b"x" * 2_000),
    ],
)
async def test_messages_that_nobody_could_have_published_are_left_out(api: Api, row: Any) -> None:
    reply = await taken_over(api, messages(row, retained("right")))
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert [shown["topic"] for shown in (await api.get("/mqtt/retainer/messages")).rows] == ["right"]
    assert api.state.unhandled_errors == 0


@pytest.mark.parametrize(
    "row",
    [
        ({"topic": "t", "qos": 1, "properties": 0, "payload": 1, "nobody": 1}, b"x"),
        ({"topic": "t", "qos": 1, "properties": 0, "payload": True}, b"x"),
        ({"topic": "t", "qos": 1, "properties": -1, "payload": 1}, b"x"),
        ({"topic": "t", "qos": 1, "properties": 0, "payload": 900}, b"x"),
        ({"topic": "t", "qos": 1, "properties": 0}, b"x"),
    ],
)
async def test_behind_a_row_that_cannot_be_read_no_message_is_found(api: Api, row: Any) -> None:
    assert (await taken_over(api, messages(row, retained("late")))).status == 400
    assert (await api.get("/mqtt/retainer/messages")).rows == []


async def test_expired_messages_are_left_out(api: Api) -> None:
    assert (await taken_over(api, messages(retained("t", expires_at=1.0)))).status == 204
    assert (await api.get("/mqtt/retainer/messages")).rows == []


async def test_the_retainers_limits_hold(api: Api) -> None:
    await api.call("PUT", f"{V5}/mqtt/retainer", {"backend": {"max_retained_messages": 2}})
    reply = await taken_over(api, messages(*(retained(f"t/{number}") for number in range(5))))
    assert "3 messages are left out" in reply.json["message"]
    assert len((await api.get("/mqtt/retainer/messages")).rows) == 2


# -- the configuration


async def configured(api: Api, text: str, meta: bytes = META) -> Reply:
    return await taken_over(api, archive({"META.hocon": meta, "cluster.hocon": text.encode()}))


async def test_each_root_is_taken_for_itself(api: Api) -> None:
    reply = await configured(
        api, "delayed { max_delayed_messages = 7 }\nretainer.enable = perhaps\nnobody = 1\nnode.x = 1"
    )
    assert reply.status == 400
    assert {part.partition(":")[0] for part in reply.json["message"].split("; ")} == {"nobody", "retainer"}
    assert (await api.get("/mqtt/delayed")).json["max_delayed_messages"] == 7
    assert (await api.get("/mqtt/retainer")).json["enable"] is True


async def test_what_is_not_in_the_backup_stays(api: Api) -> None:
    await api.call("PUT", f"{V5}/configs/global_zone", {"mqtt": {"max_inflight": 5, "max_topic_alias": 3}})
    assert (await configured(api, "mqtt.max_inflight = 6")).status == 204
    mqtt = (await api.get("/configs/global_zone")).json["mqtt"]
    assert (mqtt["max_inflight"], mqtt["max_topic_alias"]) == (6, 3)


async def test_a_listener_that_cannot_be_opened_keeps_no_other_one_closed(api: Api) -> None:
    taken = api.mqtt.broker.addresses["default"][1]
    text = f'listeners.tcp {{ a {{ bind = "127.0.0.1:{taken}" }}, b {{ bind = "127.0.0.1:0" }} }}'
    reply = await configured(api, text)
    assert reply.json["message"].startswith("listeners.tcp.a: ")
    assert (await api.get("/listeners/tcp:b")).json["running"] is True
    assert (await api.get("/listeners/tcp:default")).json["running"] is True


async def test_an_archive_of_emqx_gives_its_configuration_but_not_its_tables(api: Api) -> None:
    files = {
        "META.hocon": b'version = "5.8.1"\nedition = "CE"\n',
        "cluster.hocon": b"delayed { enable = true, max_delayed_messages = 9 }\ndashboard.listeners.http.bind = 1\n",
        "mnesia/emqx_banned": b"\x83h\x02",
        "data/authz/acl.conf": b"{allow, all}.",
    }
    reply = await taken_over(api, archive(files))
    assert reply.status == 400
    assert reply.json["message"].endswith("EMQX's own format, which cannot be read here: emqx_banned")
    assert reply.json["message"].startswith("tables: ")
    assert (await api.get("/mqtt/delayed")).json["max_delayed_messages"] == 9


def test_lists_keep_the_backups_order_and_add_what_is_only_here() -> None:
    here = [{"topic": "a", "qos": 0}, {"topic": "b", "qos": 0}]
    there = [{"topic": "c", "qos": 1}, {"topic": "a", "qos": 1}]
    expected = [{"topic": "c", "qos": 1}, {"topic": "a", "qos": 1}, {"topic": "b", "qos": 0}]
    assert laid_over("auto_subscribe", here, there) == expected


def test_rules_of_a_rewrite_that_are_only_here_come_first_for_the_last_one_counts() -> None:
    def rule(source: str) -> dict[str, str]:
        return {"action": "all", "source_topic": source, "dest_topic": "z", "re": "x"}

    assert laid_over("rewrite", [rule("a"), rule("b")], [rule("b"), rule("c")]) == [rule("a"), rule("b"), rule("c")]


def test_sources_of_rules_are_told_apart_by_type() -> None:
    here = {"no_match": "deny", "sources": [{"type": "file", "rules": ""}, {"type": "built_in_database"}]}
    there = {"sources": [{"type": "built_in_database", "max_rules": 7}]}
    assert laid_over("authorization", here, there) == {
        "no_match": "deny",
        "sources": [{"type": "built_in_database", "max_rules": 7}, {"type": "file", "rules": ""}],
    }


async def test_no_more_rules_than_there_may_be(api: Api) -> None:
    def rules(begin: str, count: int) -> list[dict[str, str]]:
        topics = [f"{begin}/{number}" for number in range(count)]
        return [{"action": "all", "source_topic": topic, "dest_topic": "z", "re": "x"} for topic in topics]

    assert (await api.call("PUT", f"{V5}/mqtt/topic_rewrite", rules("a", 10))).status == 200
    reply = await configured(api, json.dumps({"rewrite": rules("b", 10)}))
    assert reply.json["message"].startswith("rewrite: ")
    assert len((await api.get("/mqtt/topic_rewrite")).json) == 10


async def test_two_at_a_time_are_refused(api: Api) -> None:
    name = await exported(api, "psk")
    async with api.state.backups.exclusive():
        reply = await imported(api, name)
        assert (reply.status, reply.code) == (400, "BAD_REQUEST")
        assert "under way" in reply.json["message"]
    assert (await imported(api, name)).status == 204
