"""Data backups over the API: each table set goes out and comes back, and a whole server moves to another machine."""

import gzip
import io
import json
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest
from wardenmq.mgmt_api.emqx.dashboard.login_tokens import TOKENS
from wardenmq.store.admission import Attempt, Verdict
from wardenmq.store.records import Condition, Rule

from ..engine.packets5 import P
from ..engine.wire import Client
from ..listeners.certificates import Authority
from .backups import exported, imported, table, taken_over, uploaded
from .callers import RULES, USERS, V5, Api, basic, form
from .calls.data import META, archive
from .whole_server import WholeServer, whole_server

FILES = f"{V5}/data/files"
KEPT = [(P.CONTENT_TYPE, "text"), (P.USER, ("a", "b"))]


async def members(api: Api, name: str) -> dict[str, bytes]:
    """Download an archive and unpack it in memory."""
    reply = await api.call("GET", f"{FILES}/{name}")
    assert reply.status == 200, reply.body
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(reply.body))) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            found[member.name] = file.read()
    return found


# -- the table sets


async def test_bans(api: Api) -> None:
    for body in ({"as": "clientid", "who": "c"}, {"as": "peerhost_net", "who": "192.0.2.0/24", "until": 4_000_000_000}):
        assert (await api.call("POST", f"{V5}/banned", body)).status == 200
    before = (await api.get("/banned")).rows
    name = await exported(api, "banned")
    await api.call("DELETE", f"{V5}/banned")
    assert (await api.call("POST", f"{V5}/banned", {"as": "username", "who": "stays"})).status == 200
    assert (await imported(api, name)).status == 204
    after = (await api.get("/banned")).rows
    assert [row for row in after if row["who"] != "stays"] == before
    assert len(after) == 3


async def test_bans_that_are_imported_hold_for_who_is_there(api: Api) -> None:
    await api.call("POST", f"{V5}/banned", {"as": "username_re", "who": "^al"})
    name = await exported(api, "banned")
    await api.call("DELETE", f"{V5}/banned")
    client = await api.mqtt.connected("c", username="alice")
    assert (await imported(api, name)).status == 204
    await client.hung_up()


async def test_a_ban_that_has_ended_is_left_out_and_one_of_the_same_target_replaced(api: Api) -> None:
    bans = api.directory.bans
    await bans.create("clientid", "a", reason="old")
    rows = [
        {"as": "clientid", "who": "a", "reason": "new", "at": 1.5},
        {"as": "clientid", "who": "b", "until": 1.0},
    ]
    assert (await taken_over(api, table("banned", rows))).status == 204
    assert [(ban.who, ban.reason, ban.at) for ban in bans.all()] == [("a", "new", 1.5)]


async def test_logins(api: Api) -> None:
    await api.call("POST", USERS, {"user_id": "alice", "password": "first", "is_superuser": True})
    await api.directory.create_login("clientid", "device", "second", description="A device.")
    before = api.directory.stored_logins()
    name = await exported(api, "builtin_authn")
    assert b"first" not in (await members(api, name))[f"{name.removesuffix('.tar.gz')}/mnesia/builtin_authn"]
    await api.call("PUT", f"{USERS}/alice", {"password": "changed"})
    await api.directory.delete_login("clientid", "device")
    assert (await imported(api, name)).status == 204
    assert await proved(api, Attempt("any", "alice"), b"first")
    assert await proved(api, Attempt("device", None), b"second")
    assert [each.login.login for each in before] == [each.login.login for each in api.directory.stored_logins()]
    login = api.directory.login("username", "alice")
    assert login is not None
    assert login.superuser


async def proved(api: Api, attempt: Attempt, password: bytes) -> bool:
    """Tell whether a login's password is right."""
    verdict = api.directory.authenticate(attempt.client_id, attempt.username, password)
    return (verdict if isinstance(verdict, Verdict) else await verdict).principal is not None


async def test_a_disabled_login_stays_disabled(api: Api) -> None:
    await api.directory.create_login(
        "username", "alice", "secret", disabled=True, clientid="only", clientid_mode="required"
    )
    name = await exported(api, "builtin_authn")
    await api.directory.delete_login("username", "alice")
    assert (await imported(api, name)).status == 204
    login = api.directory.login("username", "alice")
    assert login is not None
    assert (login.disabled, login.clientid, login.clientid_mode) == (True, "only", "required")


async def test_logins_of_organizations_are_not_touched(api: Api) -> None:
    tenant = await api.directory.tenants.create("acme")
    await api.directory.create_login("username", "theirs", "secret", tenant=tenant.name)
    name = await exported(api, "builtin_authn")
    assert (await members(api, name))[f"{name.removesuffix('.tar.gz')}/mnesia/builtin_authn"] == b""
    row = {"login_type": "username", "login": "theirs", "superuser": True}
    reply = await taken_over(api, table("builtin_authn", [row, {**row, "login": "ours"}]))
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert "theirs" in reply.json["message"]
    login = api.directory.login("username", "theirs")
    assert login is not None
    assert not login.superuser
    assert api.directory.login("username", "ours") is not None


async def test_rules(api: Api) -> None:
    rules = [
        Rule("a/#", "allow", "publish", (1, 2), True, Condition(ipaddr="192.0.2.0/24", username_re="^a")),
        Rule("eq b/+", "deny", "all"),
        Rule("c/${clientid}", "allow", "subscribe", (0,)),
    ]
    for kind, subject in (("username", "alice"), ("clientid", "c"), ("all", "")):
        await api.directory.set_rules(kind, subject, rules)
    await api.directory.set_rules("username", "nothing", [])
    before = (await api.get(RULES.removeprefix(V5) + "/users")).rows
    name = await exported(api, "builtin_authz")
    await api.directory.delete_all_rules()
    await api.directory.set_rules("username", "stays", rules[:1])
    await api.directory.set_rules("username", "alice", rules[1:2])
    assert (await imported(api, name)).status == 204
    after = (await api.get(RULES.removeprefix(V5) + "/users")).rows
    assert [row for row in after if row["username"] != "stays"] == before
    assert len(after) == 3
    assert api.directory.rules("clientid", "c") == api.directory.rules("all") == tuple(rules)


async def test_retained_messages(api: Api) -> None:
    publisher = await api.connected5("pub")
    await publisher.publish("t/1", b"\x00\xff\n", 1, retain=True, properties=KEPT)
    await publisher.publish("t/2", b"soon", 1, retain=True, properties=[(P.MESSAGE_EXPIRY, 3_600)])
    await publisher.publish("last", b"x", 1, retain=True)
    before = (await api.get("/mqtt/retainer/messages")).rows
    name = await exported(api, "builtin_retainer")
    await api.call("DELETE", f"{V5}/mqtt/retainer/messages")
    await publisher.publish("t/1", b"newer", 1, retain=True)
    assert (await imported(api, name)).status == 204
    assert (await api.get("/mqtt/retainer/messages")).rows == before
    subscriber = await api.connected5("sub")
    await subscriber.subscribe(("t/#", 1))
    found = {message.topic: message for message in [await subscriber.message(), await subscriber.message()]}
    assert found["t/1"].payload == b"\x00\xff\n"
    assert [*found["t/1"].properties] == KEPT
    assert api.mqtt.broker.retention.messages.get("t/2").expires_at is not None  # pyright: ignore[reportOptionalMemberAccess]


async def test_who_is_subscribed_is_not_sent_what_is_imported(api: Api) -> None:
    await (await api.mqtt.connected("p")).publish("t", b"x", 1, retain=True)
    name = await exported(api, "builtin_retainer")
    await api.call("DELETE", f"{V5}/mqtt/retainer/messages")
    client = await api.mqtt.connected("s")
    await client.subscribe(("t", 1), ("after", 1))
    assert (await imported(api, name)).status == 204
    await (await api.mqtt.connected("p2")).publish("after", b"y", 1)
    assert (await client.message()).topic == "after"


async def test_nothing_is_retained_where_the_retainer_is_off(api: Api) -> None:
    await (await api.mqtt.connected("p")).publish("t", b"x", 1, retain=True)
    name = await exported(api, "builtin_retainer", root_keys=[])
    await api.call("DELETE", f"{V5}/mqtt/retainer/messages")
    await api.call("PUT", f"{V5}/mqtt/retainer", {"enable": False})
    reply = await imported(api, name)
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert "switched off" in reply.json["message"]


async def test_api_keys(api: Api) -> None:
    key, secret = await api.directory.create_api_key("kept", "viewer", description="For tests.")
    name = await exported(api, "api_keys")
    await api.directory.delete_api_key("kept")
    assert api.directory.verify_api_key(key.api_key, secret) is None
    assert (await imported(api, name)).status == 204
    found = api.directory.verify_api_key(key.api_key, secret)
    assert found is not None
    assert (found.name, found.role, found.description) == ("kept", "viewer", "For tests.")


async def test_dashboard_users(api: Api) -> None:
    users = api.directory.dashboard_users
    await users.create("admin", "Password1")
    await users.create("mary", "Password2", "viewer", description="Mary")
    name = await exported(api, "dashboard_users")
    await users.delete("mary")
    await users.set_password("admin", "Password3")
    assert (await imported(api, name)).status == 204
    assert await users.check("admin", "Password1", "192.0.2.1") is not None
    mary = await users.check("mary", "Password2", "192.0.2.1")
    assert mary is not None
    assert (mary.role, mary.description) == ("viewer", "Mary")


async def test_users_that_are_as_they_were_stay_logged_in(api: Api) -> None:
    user = await api.directory.dashboard_users.create("mary", "Password1")
    headers = {"Authorization": f"Bearer {api.state.part(TOKENS).create(user)}"}
    name = await exported(api, "dashboard_users")
    assert (await imported(api, name)).status == 204
    assert (await api.call("GET", f"{V5}/users", headers=headers, role=None)).status == 200


async def test_there_are_no_pre_shared_keys(api: Api) -> None:
    name = await exported(api, "psk", root_keys=[])
    assert {path.partition("/")[2] for path in await members(api, name)} == {"META.hocon", "cluster.hocon"}


# -- the archive


async def test_the_archive_is_as_emqx_has_it(api: Api) -> None:
    await api.call("PUT", f"{V5}/mqtt/delayed", {"enable": True, "max_delayed_messages": 7})
    reply = await api.call("POST", f"{V5}/data/export")
    made = reply.json
    assert made["node"] == api.state.node
    found = await members(api, made["filename"])
    top = made["filename"].removesuffix(".tar.gz")
    assert [path.partition("/")[0] for path in found] == [top] * len(found)
    assert list(found)[:2] == [f"{top}/META.hocon", f"{top}/cluster.hocon"]
    assert json.loads(found[f"{top}/cluster.hocon"])["delayed"]["max_delayed_messages"] == 7
    assert b'edition = "wardenmq"' in found[f"{top}/META.hocon"] or b"edition = wardenmq" in found[f"{top}/META.hocon"]


async def test_what_the_api_did_not_change_is_in_no_backup(api: Api) -> None:
    name = await exported(api)
    configuration = json.loads((await members(api, name))[f"{name.removesuffix('.tar.gz')}/cluster.hocon"])
    assert configuration.keys() == {"authentication", "authorization"}


async def test_secrets_of_the_configuration_are_in_it(api: Api) -> None:
    jwt = {"mechanism": "jwt", "algorithm": "hmac-based", "secret": "s3cret-of-32-bytes-or-even-more-x"}
    assert (await api.call("POST", f"{V5}/authentication", jwt)).status == 200
    name = await exported(api, root_keys=["authentication"])
    await api.call("DELETE", f"{V5}/authentication/jwt")
    assert (await imported(api, name)).status == 204
    chain: Any = api.state.configuration.as_json(api.state.configuration.roots["authentication"], masked=False)
    assert [entry["mechanism"] for entry in chain] == ["password_based", "jwt"]
    assert chain[1]["secret"] == jwt["secret"]


# -- files


async def test_files_are_listed_newest_first_and_deleted(api: Api) -> None:
    names = [await exported(api, "psk") for _ in range(3)]
    listed = (await api.get("/data/files")).rows
    assert [row["filename"] for row in listed] == sorted(names, reverse=True)
    page = await api.get("/data/files", page=2, limit=2)
    assert page.meta == {"page": 2, "limit": 2, "hasnext": False, "count": 3}
    reply = await api.call("GET", f"{FILES}/{names[0]}")
    assert len(reply.body) == listed[-1]["size"]
    assert reply.headers["Content-Disposition"] == f'attachment; filename="{names[0]}"'
    assert (await api.call("DELETE", f"{FILES}/{names[0]}?node={api.state.node}")).status == 204
    assert (await api.call("GET", f"{FILES}/{names[0]}")).code == "NOT_FOUND"
    assert len((await api.get("/data/files")).rows) == 2


async def test_files_are_for_their_owner_alone(api: Api) -> None:
    name = await exported(api, "psk")
    folder = api.state.backups.folder()
    await uploaded(api, "given.tar.gz", archive({"META.hocon": META}))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        name: 0o600,
        "given.tar.gz": 0o600,
    }


async def test_only_plain_files_of_such_names_are_there(api: Api, tmp_path: Path) -> None:
    folder = api.state.backups.folder()
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (folder / "link.tar.gz").symlink_to(secret)
    (folder / "folder.tar.gz").mkdir()
    (folder / "other.txt").write_bytes(b"x")
    assert (await api.get("/data/files")).rows == []
    for name in ("link.tar.gz", "folder.tar.gz"):
        assert (await api.call("GET", f"{FILES}/{name}")).status == 404
        assert (await imported(api, name)).status == 400
    assert (await api.call("DELETE", f"{FILES}/folder.tar.gz")).status == 404


@pytest.mark.parametrize(
    "name", ["..%2Fx.tar.gz", "%2Fetc%2Fx.tar.gz", ".x.tar.gz", "x.tar", "x%00.tar.gz", "x%20.tar.gz"]
)
async def test_names_lead_nowhere_else(api: Api, name: str) -> None:
    for method in ("GET", "DELETE"):
        assert (await api.call(method, f"{FILES}/{name}")).code == "BAD_REQUEST"


async def test_an_upload_is_never_written_over_another(api: Api) -> None:
    data = archive({"META.hocon": META})
    assert (await uploaded(api, "given.tar.gz", data)).status == 204
    reply = await uploaded(api, "given.tar.gz", archive({"META.hocon": META, "cluster.hocon": b""}))
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert (await api.call("GET", f"{FILES}/given.tar.gz")).body == data


async def test_what_an_interrupted_export_left_goes(tmp_path: Path) -> None:
    leftover = tmp_path / "backup" / ".new-abc"
    leftover.mkdir(parents=True)
    (leftover / "x").write_bytes(b"x")
    async with whole_server(tmp_path) as server:
        assert (await server.call("GET", "/data/files")).rows == []
    assert not leftover.exists()


@pytest.mark.parametrize("role", ["viewer", "publisher"])
async def test_backups_are_for_administrators(api: Api, role: str) -> None:
    name = await exported(api, "psk")
    for method, path in (
        ("GET", FILES),
        ("GET", f"{FILES}/{name}"),
        ("DELETE", f"{FILES}/{name}"),
        ("POST", FILES),
        ("POST", f"{V5}/data/export"),
        ("POST", f"{V5}/data/import"),
    ):
        reply = await api.call(method, path, role=role)
        assert (reply.status, reply.code) == (403, "UNAUTHORIZED_ROLE"), (method, path)


async def test_what_is_done_with_backups_is_in_the_audit_log(api: Api) -> None:
    name = await exported(api, "psk")
    await imported(api, name)
    await api.call("GET", f"{FILES}/{name}")
    await api.call("DELETE", f"{FILES}/{name}")
    entries = await api.directory.audit.entries(action="data.*")
    done = [(entry.action, entry.target, entry.facade) for entry in entries]
    assert {action for action, _, _ in done} == {"data.export", "data.import", "data.download", "data.delete"}
    assert {(target, facade) for _, target, facade in done} == {(name, "emqx")}


# -- from one server to another


async def test_a_server_moves_to_another_machine(tmp_path: Path) -> None:
    async with whole_server(tmp_path / "old") as old:
        name, data, key = await _furnish(old)
        initial = old.credentials
    async with whole_server(tmp_path / "new") as new:
        body, headers = form(name, data)
        assert await _post(new, "/data/files", body, headers) == 204
        reply = await new.call("POST", "/data/import", {"filename": name})
        assert reply.status == 204, reply.body
        new.credentials = initial  # what was made at the first start has the same names everywhere, and so was replaced
        await _check_moved(new, key, initial)
    async with whole_server(tmp_path / "new") as again:
        again.credentials = initial
        await _check_moved(again, key, initial)


async def _furnish(old: WholeServer) -> tuple[str, bytes, dict[str, Any]]:
    """Change all that a backup holds, and export it."""
    assert (await old.call("POST", USERS.removeprefix(V5), {"user_id": "bob", "password": "bob's"})).status == 201
    rules = [{"topic": "only/#", "permission": "allow", "action": "all"}]
    assert (
        await old.call("POST", RULES.removeprefix(V5) + "/users", [{"username": "bob", "rules": rules}])
    ).status == 204
    assert (await old.call("POST", "/banned", {"as": "clientid", "who": "bad"})).status == 200
    key = await _keys(old)
    rewrite = {"action": "publish", "source_topic": "x/#", "dest_topic": "only/z", "re": "^x/(.+)$"}
    assert (await old.call("PUT", "/mqtt/topic_rewrite", [rewrite])).status == 200
    assert (
        await old.call("PUT", "/mqtt/retainer", {"max_payload_size": "2KB", "backend": {"storage_type": "disc"}})
    ).status == 200
    scram = {"mechanism": "scram", "backend": "built_in_database", "iteration_count": 5_000}
    assert (await old.call("POST", "/authentication", scram)).status == 200
    client = await old.client("pub")
    await client.publish("only/kept", b"kept", 1, retain=True)
    export = await old.call("POST", "/data/export")
    name = export.json["filename"]
    reply = await old.call("GET", f"/data/files/{name}")
    return name, reply.body, key


async def _keys(server: WholeServer) -> dict[str, Any]:
    """Create an API key, as an administrator who has logged in."""
    body = {"username": server.credentials["dashboard_user"], "password": server.credentials["dashboard_password"]}
    token = (await server.call("POST", "/login", body)).json["token"]
    url, headers = server.server.addresses["api"] + V5 + "/api_key", {"Authorization": f"Bearer {token}"}
    async with server.http.post(url, json={"name": "moved"}, headers=headers) as response:
        assert response.status == 200
        return await response.json()


async def _check_moved(new: WholeServer, key: dict[str, Any], initial: dict[str, str]) -> None:
    client = await new.client("c", username="bob", password=b"bob's")
    assert [granted async for granted in _granted(client)] == [1, 0x80]
    message = await client.message()
    assert (message.topic, message.payload) == ("only/kept", b"kept")
    await client.publish("x/1", b"rewritten", 1)
    assert (await new.call("GET", "/mqtt/topic_rewrite")).json[0]["dest_topic"] == "only/z"
    assert (await new.call("GET", "/mqtt/retainer")).json["max_payload_size"] == "2KB"
    assert [row["who"] for row in (await new.call("GET", "/banned")).rows] == ["bad"]
    chain = [entry["id"] for entry in (await new.call("GET", "/authentication")).json]
    assert chain == ["password_based:built_in_database", "scram:built_in_database"]
    moved = basic(key["api_key"], key["api_secret"])
    async with new.http.get(new.server.addresses["api"] + V5 + "/stats", headers=moved) as response:
        assert response.status == 200
    body = {"username": initial["dashboard_user"], "password": initial["dashboard_password"]}
    assert (await new.call("POST", "/login", body)).status == 200


async def _granted(client: Client) -> Any:
    for topic_filter in ("only/#", "other/#"):
        for code in await client.subscribe((topic_filter, 1)):
            yield code


async def _post(server: WholeServer, path: str, data: bytes, headers: dict[str, str]) -> int:
    login = basic(server.credentials["api_key"], server.credentials["api_secret"])
    url = server.server.addresses["api"] + V5 + path
    async with server.http.post(url, data=data, headers=headers | login) as response:
        return response.status


async def test_certificates_move_with_their_listener(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    issued = Authority(tmp_path_factory.mktemp("authority")).issue("localhost")
    texts = {"certfile": issued.certfile.read_text(), "keyfile": issued.keyfile.read_text()}
    listener = {"type": "ssl", "name": "demo", "bind": "127.0.0.1:0", "ssl_options": texts}
    async with whole_server(tmp_path / "old") as old:
        assert (await old.call("POST", "/listeners", listener)).status == 200
        export = await old.call("POST", "/data/export", {"table_sets": [], "root_keys": ["listeners"]})
        name = export.json["filename"]
        data = (await old.call("GET", f"/data/files/{name}")).body
    async with whole_server(tmp_path / "new") as new:
        body, headers = form(name, data)
        assert await _post(new, "/data/files", body, headers) == 204
        reply = await new.call("POST", "/data/import", {"filename": name})
        assert reply.status == 204, reply.body
        shown = (await new.call("GET", "/listeners/ssl:demo")).json
        assert shown["running"] is True
        kept = [Path(shown["ssl_options"][field]) for field in texts]
        assert {path.parent for path in kept} == {tmp_path / "new" / "certs" / "listeners" / "ssl_demo"}
        assert [path.read_text().strip() for path in kept] == [text.strip() for text in texts.values()]
