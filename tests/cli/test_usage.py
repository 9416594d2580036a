"""Commands that make no sense: exit status 2 and what to do instead; and help that costs little."""

import subprocess
import sys
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner
from wardenmq.cli import app

from .commands import Cli
from .test_every_verb import verbs
from .test_passwords import commands

WRONG: list[list[str]] = [
    ["user", "frobnicate"],
    ["user", "show"],
    ["user", "show", "a", "b"],
    ["user", "show", "a", "--password", "x"],
    ["user", "show", ""],
    ["user", "show", "a", "--login-type", "email"],
    ["user", "set", "a"],
    ["user", "set", "a", "--expires", "tomorrow"],
    ["user", "set", "a", "--expires", "999999999w"],
    ["user", "set", "a", "--superuser", "perhaps"],
    ["user", "add", "a", "--client-id-mode", "exclusive", "--no-password"],
    ["user", "import", "nowhere", "--from", "emqx-csv"],
    ["user", "import", "."],
    ["user", "import", ".", "--from", "somewhere"],
    ["role", "allow", "r", "publish", "t"],
    ["role", "allow", "r", "publishClientSend", "t", "--priority", "high"],
    ["role", "set", "r"],
    ["group", "set", "g"],
    ["group", "anonymous", "g", "--none"],
    ["acl", "show"],
    ["acl", "show", "--user", "a", "--all"],
    ["acl", "show", "--user", ""],
    ["acl", "add", "permit", "publish", "t", "--all"],
    ["acl", "set", "nowhere", "--all"],
    ["acl", "clear", "--all"],
    ["acl", "explain", "c"],
    ["acl", "explain", "c", "t", "--qos", "3"],
    ["acl", "explain", "c", "t", "--action", "unsubscribe"],
    ["ban", "add", "clientid"],
    ["ban", "add", "everybody", "x"],
    ["ban", "clear"],
    ["audit", "list", "--limit", "0"],
    ["audit", "list", "--since", "yesterday"],
]


async def test_wrong_usage(stopped: Cli) -> None:
    stopped.in_process = True
    for arguments in WRONG:
        ended = await stopped.run(*arguments)
        assert (ended.status, ended.output) == (2, ""), (arguments, ended)
        assert ended.errors, arguments


REFUSED: list[list[str]] = [
    ["user", "grant", "nobody", "nothing"],
    ["user", "grant", "mqtt", "nothing"],
    ["user", "add", "mqtt", "--no-password"],
    ["user", "add", "a\x1b[2Jb", "--no-password"],
    ["user", "add", "x", "--no-password", "--role", "nothing"],
    ["role", "show", "nothing"],
    ["group", "delete", "nothing"],
    ["group", "join", "nothing", "mqtt"],
    ["acl", "show", "--client", "nobody"],
    ["acl", "clear", "--all", "--yes"],
    ["acl", "add", "allow", "publish", "a/#/b", "--all"],
    ["acl", "add", "allow", "publish", "a", "--all", "--qos", "7"],
    ["acl", "add", "allow", "publish", "a", "--all", "--address", "nowhere"],
    ["acl", "explain", "c", "a/#"],
    ["ban", "add", "peerhost", "nowhere"],
    ["ban", "add", "clientid", "c", "--until", "2000-01-01T00:00:00Z"],
    ["ban", "remove", "clientid", "c"],
    ["audit", "list", "--before", "0"],
]


async def test_what_is_refused(cli: Cli) -> None:
    cli.in_process = True
    for arguments in REFUSED:
        sentence = await cli.refused(*arguments)
        assert sentence.isprintable()
        assert sentence.endswith((".", "2.")) or ": " in sentence, sentence


async def test_a_command_that_a_shell_gets_wrong(cli: Cli) -> None:
    cli.in_process = False
    ended = await cli.run("user", "delete")
    assert (ended.status, ended.output) == (2, "")
    assert "NAME" in ended.errors
    assert await cli.refused("user", "delete", "nobody") == "The user name 'nobody' does not exist."
    for arguments in (("user", "show", b"\xff"), ("role", "add", b"\xff"), ("user", "list", "--like", b"\xff")):
        assert "UTF-8" in await cli.refused(*arguments, status=2)


async def test_rules_that_are_no_json(cli: Cli) -> None:
    cli.in_process = True
    for text in (b"[", b"\xff", b"[" * 100_000):
        sentence = await cli.refused("acl", "set", "-", "--all", stdin=text, status=2)
        assert sentence.startswith("- is")
    for text in (b"17", b"{}", b'{"rules": 17}', b'[{"topic": "t"}]'):
        assert "rules" in await cli.refused("acl", "set", "-", "--all", stdin=text)
    shown = await cli.done("acl", "show", "--user", "mqtt", "--json")
    answer = await cli.json("acl", "set", "-", "--client", "c", stdin=shown.encode())
    assert [rule["topic"] for rule in answer["rules"]] == ["#"]


# -- help


@pytest.mark.parametrize("noun", [[], *sorted({(noun,) for noun, _ in verbs()}), *sorted(verbs())])
def test_help_explains_everything(noun: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*noun, "--help"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Usage:" in result.stdout


def test_every_option_and_argument_is_explained() -> None:
    for path, command in commands(get_command(app)):
        assert command.help, path
        for parameter in command.params:
            assert explains_itself(parameter), (path, parameter.name)


def explains_itself(parameter: Any) -> bool:
    """Tell whether a parameter has a help text, or a name in capitals that says all there is."""
    return bool(parameter.help) or "|" in (parameter.metavar or "")


def test_help_loads_nothing_heavy() -> None:
    heavy = {"aiohttp", "aiosqlite", "amqtt", "asyncio", "http.client", "sqlite3", "ssl", "yaml"}
    code = "import sys\nfrom wardenmq.cli import app\napp(sys.argv[1:], standalone_mode=False)\nprint(*sys.modules)"
    for noun in ([], ["user"]):
        ended = subprocess.run(
            [sys.executable, "-c", code, *noun, "--help"], capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 0, ended.stderr
        assert set(ended.stdout.split()) & heavy == set()
