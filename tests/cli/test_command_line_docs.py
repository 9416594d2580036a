"""docs/command-line.md: its commands work in their order, and no verb is left out."""

import json
import re
import shlex
from pathlib import Path

import pytest

from .commands import Cli
from .test_every_verb import verbs

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|text)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
FILES = {
    "sensor-1.password": "s3cret\n",
    "passwd": "bob:$6$c2FsdHNhbHQ=$AAAA\n",
    "users.csv": f"user_id,password_hash,salt,is_superuser\nbob,{'0' * 64},salt,false\n",
    "aclfile": "user bob\ntopic read t/#\n",
    "dynamic-security.json": json.dumps({"clients": [], "groups": [], "roles": []}),
}


def test_every_verb_is_shown() -> None:
    shown = {tuple(shlex.split(command)[1:3]) for command in COMMANDS}
    assert shown == verbs()


async def test_the_commands_work(stopped: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped.in_process = True
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    expected = [block for kind, block in BLOCKS if kind == "text"]
    for command in COMMANDS:
        words, redirections = shlex.split(command)[1:], dict[str, str]()
        for sign in ("<", ">"):
            if sign in words:
                redirections[sign] = words.pop(words.index(sign) + 1)
                words.remove(sign)
        stdin = (tmp_path / redirections["<"]).read_bytes() if "<" in redirections else b""
        place = [] if "--data-dir" in words else ["--data-dir", str(stopped.data_dir)]
        words = [str(stopped.data_dir) if word == "/var/lib/wardenmq" else word for word in words]
        ended = await stopped.run(*words, stdin=stdin, place=place)
        assert (ended.status, ended.errors) == (0, ""), (command, ended)
        if ">" in redirections:
            (tmp_path / redirections[">"]).write_text(ended.output)
        if "explain" in words:
            assert ended.output == expected.pop(0)
    assert expected == []
