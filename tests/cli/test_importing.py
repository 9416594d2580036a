"""Files of other brokers over the command line, down to the login."""

import hashlib
import json
from pathlib import Path

import pytest
from wardenmq.cli import files
from wardenmq.mgmt_api.operator import models_imports

from .commands import Cli
from .test_passwords import opens

PASSWORD = "correct horse"
SALTED = hashlib.sha256(b"salt" + PASSWORD.encode()).hexdigest()
# Mosquitto's form of "correct horse": PBKDF2-SHA512, 101 iterations, salt 0..11.
MOSQUITTO = (
    "$7$101$AAECAwQFBgcICQoL$lp0Cm29zl+CI/RXyXDKvLye7OxM3OuE6RMzgXTX/f3imS/pFh2Ur7yarLDpKRUKpB0tOj6l0UrRv41zqxmD4tg=="
)
SOURCES: dict[str, tuple[list[str], str]] = {
    "mosquitto-passwords": ([], f"ada:{MOSQUITTO}\nbroken\n"),
    "emqx-csv": ([], f"user_id,password_hash,salt,is_superuser\nada,{SALTED},salt,true\nbroken,zz,salt,false\n"),
    "emqx-json": (
        ["--salt-position", "suffix"],
        json.dumps(
            [
                {
                    "user_id": "ada",
                    "password_hash": hashlib.sha256(PASSWORD.encode() + b"salt").hexdigest(),
                    "salt": "salt",
                },
                {"user_id": 7},
            ]
        ),
    ),
}


@pytest.mark.parametrize("source", SOURCES)
async def test_imported_users_can_log_in(cli: Cli, tmp_path: Path, source: str) -> None:
    options, content = SOURCES[source]
    file = tmp_path / "file"
    file.write_text(content)
    command = ("user", "import", str(file), "--from", source, *options)
    planned = await cli.json(*command, "--dry-run")
    assert (planned["dry_run"], planned["counts"]["created"], len(planned["skipped"])) == (True, 1, 1)
    assert "not exist" in await cli.refused("user", "show", "ada")
    output = await cli.done(*command)
    assert output.startswith("written: created 1, replaced 0, unchanged 0\nleft out: ")
    assert await opens(cli, "ada", PASSWORD)
    assert not await opens(cli, "ada", "wrong")
    again = await cli.json(*command)
    assert (again["counts"]["created"], len(again["skipped"])) == (0, 2)
    over = await cli.json(*command, "--overwrite")
    # Where the login has had its password hashed anew, it is another record than the file's.
    counts = over["counts"]
    assert (counts["created"], counts["replaced"] + counts["unchanged"]) == (0, 1)
    for secret in (SALTED, PASSWORD, MOSQUITTO[-20:]):
        assert secret not in output + json.dumps([planned, again, over]) + await cli.done("audit", "list", "--json")


async def test_passwords_as_they_are_from_standard_input(cli: Cli) -> None:
    content = b"user_id,password,is_superuser\nada,correct horse,false\n"
    await cli.done("user", "import", "-", "--from", "emqx-csv", "--plain", stdin=content)
    assert await opens(cli, "ada", PASSWORD)


async def test_rules_of_mosquitto(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "acl"
    file.write_text("topic read public/#\nuser ada\ntopic write out/+\npattern readwrite home/%u/#\n")
    output = await cli.done("acl", "import", str(file), "--from", "mosquitto-acl")
    assert "note: " in output
    await cli.done("user", "add", "ada", "--no-password")
    for topic in ("out/1", "home/ada/x"):
        answer = await cli.json("acl", "explain", "c", topic, "--username", "ada")
        assert answer["allowed"] is True
    answer = await cli.json("acl", "explain", "c", "public/x", "--username", "", "--action", "subscribe")
    assert (answer["allowed"], answer["decided_by"]) == (True, "group")


async def test_what_may_deny_is_not_left_out(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "acl"
    file.write_text("user ada\ntopic read #\ntopic deny a/#/b\n")
    command = ("acl", "import", str(file), "--from", "mosquitto-acl")
    assert "nothing is written" in await cli.refused(*command)
    ended = await cli.run(*command, "--dry-run")
    assert (ended.status, "refused: " in ended.output, "line 3" in ended.output) == (1, True, True)
    ended = await cli.run(*command, "--dry-run", "--json")
    assert (ended.status, "line 3" in json.loads(ended.output)["refusal"]) == (1, True)
    assert "no rules" in await cli.refused("acl", "show", "--user", "ada")


async def test_dynamic_security_asks_before_it_replaces_everything(cli: Cli, tmp_path: Path) -> None:
    document = {
        "defaultACLAccess": {"publishClientSend": True},
        "roles": [{"rolename": "r", "acls": [{"acltype": "publishClientSend", "topic": "t", "allow": True}]}],
        "clients": [{"username": "ada", "encoded_password": MOSQUITTO, "roles": [{"rolename": "r"}]}],
        "groups": [{"groupname": "g", "clients": [{"username": "ada"}]}],
    }
    file = tmp_path / "dynamic-security.json"
    file.write_text(json.dumps(document))
    for noun in ("user", "acl"):
        command = (noun, "import", str(file), "--from", "dynamic-security")
        assert "--yes" in await cli.refused(*command, status=2)
        assert (await cli.json(*command, "--dry-run"))["counts"]["removed"] == 1
        assert "mqtt" in await cli.done("user", "list")
    await cli.done(*command, "--yes")
    assert [user["login"] for user in (await cli.json("user", "list"))["data"]] == ["ada"]
    assert (await cli.json("user", "show", "ada"))["groups"] == [{"name": "g", "priority": -1}]
    assert (await cli.json("acl", "default"))["publish"] == "allow"
    assert await opens(cli, "ada", PASSWORD)


@pytest.mark.parametrize(("source", "content"), [("emqx-json", b"{"), ("emqx-csv", b"\xff\xfe\0")])
async def test_another_kind_of_file(stopped: Cli, source: str, content: bytes) -> None:
    stopped.in_process = True
    await stopped.refused("user", "import", "-", "--from", source, stdin=content)


def test_both_ends_take_files_of_the_same_size() -> None:
    assert files.MAX_FILE == models_imports.MAX_FILE


async def test_a_file_larger_than_other_bodies(running: Cli, tmp_path: Path) -> None:
    """The limit of the API's JSON bodies is 8 MiB; a file of many users is larger."""
    running.in_process = True
    file = tmp_path / "acl"
    file.write_text("# " + "x" * 1_000 + "\n" + ("#" + "y" * 998 + "\n") * 10_000 + "user ada\ntopic read t\n")
    assert file.stat().st_size > 9_000_000
    report = await running.json("acl", "import", str(file), "--from", "mosquitto-acl")
    assert report["counts"]["users"] == 1
