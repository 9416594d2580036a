"""Every noun and verb, once in a row of commands that make sense, with the server running and stopped."""

import json
from pathlib import Path
from typing import Any

import pytest
from wardenmq.cli import app

from .commands import Cli

NAME = "ü/%?# &é"
DYNSEC = {"roles": [{"rolename": "imported"}], "clients": [{"username": "mqtt"}], "groups": []}

# The command, and what it must print: parts of the text, or parts of the JSON where they are a mapping.
ROW: list[tuple[list[str], tuple[str, ...] | dict[str, Any]]] = [
    (["role", "add", NAME, "--text-name", "R"], (NAME,)),
    (["role", "set", NAME, "--wildcard-subs", "no", "--disconnect"], {"allow_wildcard_subs": False, "text_name": "R"}),
    (["role", "allow", NAME, "publishClientSend", "t/%u/#", "--priority", "3"], ("allow", "t/%u/#", "priority 3")),
    (["role", "deny", NAME, "subscribeLiteral", "?/%2F"], {"acl_count": 2}),
    (["role", "remove", NAME, "subscribeLiteral", "?/%2F"], {"acl_count": 1}),
    (["role", "show", NAME], ("publishClientSend",)),
    (["role", "list", "--like", "ü"], ("NAME", NAME)),
    (["group", "add", NAME, "--role", f"{NAME}=5"], {"roles": [{"name": NAME, "priority": 5}]}),
    (["group", "set", NAME, "--text-description", "D"], ("D",)),
    (["group", "revoke", NAME, NAME], ("not",)),
    (["group", "grant", NAME, NAME, "--priority", "-2"], ("has the role",)),
    (["group", "list"], ("NAME", NAME)),
    (["user", "add", NAME, "--no-password", "--group", f"{NAME}=7", "--expires", "30d"], (NAME, "priority 7")),
    (["user", "set", NAME, "--label", "L", "--expires", "never"], {"label": "L", "expires_at": None}),
    (["user", "disable", NAME], {"disabled": True}),
    (["user", "enable", NAME], {"disabled": False}),
    (["user", "password", NAME, "--generate"], ("password (shown only now)",)),
    (["user", "grant", NAME, NAME, "--priority", "9"], ("has the role",)),
    (["user", "show", NAME], {"login": NAME, "roles": [{"name": NAME, "priority": 9}]}),
    (["user", "list", "--role", NAME], ("NAME", NAME)),
    (["group", "show", NAME], {"member_count": 1, "members": [{"name": NAME, "priority": 7}]}),
    (["acl", "explain", "c", "t/x", "--username", NAME], ("denied",)),
    (["acl", "explain", "c", "t/alice", "--username", "alice"], {"allowed": False, "decided_by": "default"}),
    (["user", "revoke", NAME, NAME], ("not",)),
    (["group", "leave", NAME, NAME], ("not in the group",)),
    (["group", "join", NAME, NAME], ("in the group",)),
    (["group", "anonymous", NAME], {"group": NAME}),
    (["group", "anonymous"], (NAME,)),
    (["group", "anonymous", "--none"], {"group": None}),
    (["acl", "add", "allow", "publish", "t/+", "--user", NAME, "--qos", "0,2", "--retain", "yes"], ("t/+", "0, 2")),
    (["acl", "add", "deny", "all", "eq #", "--client", NAME, "--address", "192.0.2.0/24"], ("ipaddr 192.0.2.0/24",)),
    (["acl", "add", "deny", "all", "x", "--client", NAME, "--first"], ("1", "x")),
    (["acl", "set", "RULES", "--all"], {"subject_type": "all"}),
    (["acl", "show", "--all"], ("from/file",)),
    (["acl", "list"], ("username", "clientid", "all", NAME)),
    (["acl", "explain", NAME, "x", "--action", "subscribe"], {"allowed": False, "decided_by": "clientid"}),
    (["acl", "clear", "--user", NAME, "--yes"], ("deleted",)),
    (["acl", "default", "--receive", "deny"], {"receive": "deny", "publish": "deny"}),
    (["acl", "import", "ACL", "--from", "mosquitto-acl"], ("users 1",)),
    (["user", "import", "PASSWORDS", "--from", "mosquitto-passwords", "--dry-run"], {"dry_run": True}),
    (["ban", "add", "username", NAME, "--until", "12h", "--reason", "noise", "--by", "me"], (NAME, "noise")),
    (["ban", "list", "--type", "username"], {"data": [{"who": NAME}]}),
    (["ban", "remove", "username", NAME], ("removed",)),
    (["ban", "add", "peerhost_net", "2001:db8::/32"], {"who": "2001:db8::/32", "until": None}),
    (["ban", "clear", "--yes"], ("removed",)),
    (["group", "delete", NAME], ("deleted",)),
    (["role", "delete", NAME], ("deleted",)),
    (["user", "delete", NAME], ("deleted",)),
    (["acl", "import", "DYNSEC", "--from", "dynamic-security", "--yes"], {"counts": {"roles": 1}}),
    (["audit", "list", "--action", "role.*", "--limit", "3", "--facade", "cli"], ("role.delete", "operator", "cli")),
]


def verbs() -> set[tuple[str, str]]:
    return {
        (str(group.typer_instance.info.name), str(command.name))
        for group in app.registered_groups
        if group.typer_instance is not None
        for command in group.typer_instance.registered_commands
    }


def test_the_row_leaves_no_verb_out() -> None:
    assert {(command[0], command[1]) for command, _ in ROW} == verbs()


def holds(whole: Any, part: Any) -> bool:
    """Tell whether JSON has what is expected of it: of mappings some keys, of lists as many entries."""
    if isinstance(part, dict):
        return all(key in whole and holds(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(holds(*pair) for pair in zip(whole, part, strict=True))
    return whole == part


async def test_every_verb(cli: Cli, tmp_path: Path) -> None:
    rules = [{"topic": "from/file", "permission": "allow", "action": "all"}]
    (tmp_path / "RULES").write_text(json.dumps(rules))
    (tmp_path / "ACL").write_text("user bob\ntopic read t/#\n")
    (tmp_path / "PASSWORDS").write_text("bob:not hashed\n")
    (tmp_path / "DYNSEC").write_text(json.dumps(DYNSEC))
    files = {file: str(tmp_path / file) for file in ("RULES", "ACL", "PASSWORDS", "DYNSEC")}
    for words, expected in ROW:
        command = [files.get(word, word) for word in words]
        if isinstance(expected, dict):
            answer = await cli.json(*command)
            assert holds(answer, expected), (command, answer)
        else:
            output = await cli.done(*command)
            assert [part for part in expected if part not in output] == [], (command, output)


@pytest.mark.parametrize("state", ["running", "stopped"])
async def test_what_is_written_in_one_state_is_there_in_the_other(
    request: pytest.FixtureRequest, state: str, running: Cli
) -> None:
    assert running.server is not None
    if state == "stopped":
        await running.server.stop()
    await running.done("role", "add", "sensor")
    if state == "running":
        await running.server.stop()
    assert (await running.json("role", "show", "sensor"))["name"] == "sensor"
    rows = (await running.json("audit", "list", "--limit", "1"))["data"]
    assert [(row["actor"], row["facade"], row["action"]) for row in rows] == [("operator", "cli", "role.create")]
