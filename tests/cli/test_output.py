"""What is printed: for people, for programs, and for terminals that obey."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from wardenmq.cli.failures import Unusable
from wardenmq.cli.moments import end_of, moment
from wardenmq.cli.options import split_priorities
from wardenmq.cli.table import column, format_fields, format_table, visible

from .commands import Cli

COLUMNS = [column("name"), column("what it is", "what")]


def test_a_table_has_a_heading_and_columns() -> None:
    rows = [{"name": "a", "what": True}, {"name": "longer", "what": ["x", "y"]}, {"name": "", "what": None}]
    assert format_table(rows, COLUMNS).splitlines() == [
        "NAME    WHAT IT IS",
        "a       yes",
        "longer  x, y",
        "-       -",
    ]


def test_a_record_has_a_line_for_each_entry() -> None:
    record = {"name": "a", "what": ["x", "y"]}
    assert format_fields(record, COLUMNS).splitlines() == ["name        a", "what it is  x", "            y"]
    assert format_fields({"name": [], "what": 0}, COLUMNS).splitlines() == ["name        -", "what it is  0"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain ü €", "plain ü €"), ("a\x1b[2J", r"a\x1b[2J"), ("a\nb", r"a\nb"), ("\u202eabc", r"\u202eabc")],
)
def test_what_a_terminal_would_obey_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


async def test_names_that_turn_the_writing_round(cli: Cli) -> None:
    name = "a\u202eb\u2028c"
    cli.in_process = True
    created = await cli.done("user", "add", name, "--no-password", "--json")
    assert json.loads(created)["login"] == name
    for output in (created, await cli.done("user", "list"), await cli.done("user", "show", name)):
        assert output.replace("\n", "").isprintable()
        assert r"a\u202eb\u2028c" in output
    assert r"a\u202eb" in await cli.refused("user", "add", name, "--no-password")


async def test_a_terminal_that_lacks_a_letter(stopped: Cli) -> None:
    await stopped.done("user", "add", "a€", "--no-password")
    environment = {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    listed = await stopped.run("user", "list", environment=environment)
    assert (listed.status, r"a\u20ac" in listed.output) == (0, True)
    shown = await stopped.run("user", "show", "a€", "--json", environment=environment)
    assert json.loads(shown.output)["login"] == "a€"
    refused = await stopped.run("user", "show", "b€", environment=environment)
    assert (refused.status, refused.errors) == (1, "wardenmq: The user 'b\\u20ac' does not exist.\n")


async def test_an_empty_list(cli: Cli) -> None:
    cli.in_process = True
    ended = await cli.run("ban", "list")
    assert (ended.status, ended.output, ended.errors) == (0, "", "There are no such bans.\n")
    answer = await cli.json("ban", "list")
    assert answer == {"data": [], "meta": {"page": 1, "limit": 1, "hasnext": False, "count": 0}}


async def test_nothing_to_print_is_nothing_in_json(cli: Cli) -> None:
    cli.in_process = True
    await cli.done("role", "add", "r")
    assert await cli.done("user", "grant", "mqtt", "r", "--json") == ""
    assert await cli.done("role", "delete", "r", "--json") == ""


async def test_the_audit_log_is_gathered_up_to_the_limit(cli: Cli) -> None:
    cli.in_process = True
    for number in range(3):
        await cli.done("role", "add", f"r{number}")
    answer = await cli.json("audit", "list", "--action", "role.create", "--limit", "2")
    assert ([row["target"] for row in answer["data"]], answer["meta"]) == (
        ["r2", "r1"],
        {"limit": 2, "hasnext": True},
    )
    before = str(answer["data"][-1]["id"])
    answer = await cli.json("audit", "list", "--action", "role.*", "--before", before, "--limit", "5000")
    assert ([row["target"] for row in answer["data"]], answer["meta"]["hasnext"]) == (["r0"], False)
    assert await cli.json("audit", "list", "--since", "1h", "--until", "30m") == {
        "data": [],
        "meta": {"limit": 100, "hasnext": False},
    }


async def test_an_explanation_in_words(cli: Cli) -> None:
    cli.in_process = True
    await cli.done("role", "add", "r", "--wildcard-subs", "no")
    await cli.done("role", "allow", "r", "subscribePattern", "t/#")
    await cli.done("user", "add", "alice", "--no-password", "--role", "r")
    await cli.done("acl", "add", "deny", "publish", "t/1", "--client", "c", "--qos", "1,2", "--retain", "yes")
    explain = ("acl", "explain", "c")
    denied = await cli.done(*explain, "t/1", "--username", "alice", "--qos", "1", "--retain", "--address", "192.0.2.1")
    assert denied.splitlines() == [
        "denied: publish t/1",
        "decided by: client id c, rule 1: deny publish t/1 qos 1,2 retain yes",
        "client: c, user name alice, from 192.0.2.1, no session",
        "",
        "LAYER      NAME  ANSWER        RULE",
        "rule file  -     no rule fits  -",
        "client id  c     deny          rule 1: deny publish t/1 qos 1,2 retain yes",
    ]
    allowed = await cli.done(*explain, "t/2", "--username", "alice", "--action", "subscribe")
    assert "decided by: role r, rule 1: allow subscribePattern t/# priority 0" in allowed
    guarded = await cli.done(*explain, "t/+", "--username", "alice", "--action", "subscribe")
    assert "decided by: role r, the role allows no subscriptions with + or #" in guarded
    default = await cli.done(*explain, "x", "--username", "nobody")
    assert "decided by: no rule fits, so the default decides" in default
    assert "remark: The client cannot connect: the login is unknown." in default


async def test_a_live_session_is_explained_as_it_is(running: Cli) -> None:
    import aiomqtt

    running.in_process = True
    assert running.server is not None
    credentials = running.server.credentials
    host, port = running.server.address("mqtt")
    async with aiomqtt.Client(
        host,
        port,
        identifier="live",
        username=credentials["mqtt_username"],
        password=credentials["mqtt_password"],
        timeout=30,
    ):
        output = await running.done("acl", "explain", "live", "any/topic")
    assert "allowed: publish any/topic" in output
    assert "client: live, user name mqtt, from 127.0.0.1, listener tcp:default, connected" in output


def test_how_long_from_now() -> None:
    for text, span in (("90s", 90), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000), ("2w", 1_209_600)):
        for past, sign in ((False, 1), (True, -1)):
            before = datetime.now(UTC).replace(microsecond=0)
            now = datetime.fromisoformat(moment(text, past=past)) - sign * timedelta(seconds=span)
            assert before <= now <= datetime.now(UTC)


def test_moments_as_they_are_written() -> None:
    assert moment("2026-01-31T12:00:00Z") == "2026-01-31T12:00:00+00:00"
    assert re.fullmatch(r"2026-01-31T00:00:00[+-]\d\d:\d\d", moment("2026-01-31"))
    assert (end_of(None), end_of("never")) == (None, None)
    for text in ("", "soon", "5", "5y", "-5m", "9999999999d", "2026-13-01"):
        with pytest.raises(Unusable):
            moment(text)


def test_priorities_behind_names() -> None:
    assert split_priorities(["r", "r=5", "r=-5", "a=b", "a=5=-1", "=", "r=٣"]) == [
        {"name": "r"},
        {"name": "r", "priority": 5},
        {"name": "r", "priority": -5},
        {"name": "a=b"},
        {"name": "a=5", "priority": -1},
        {"name": "="},
        {"name": "r=٣"},
    ]
