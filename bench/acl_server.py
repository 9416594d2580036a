"""The server process of `acl.py`: runs wardenmq as users do, and writes to its store when told to.

It is told by lines on standard input and answers each with one line of JSON on standard output.
"""

import asyncio
import json
import logging
import random
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
from acl_store import WATCHERS_FROM, a_token, own_rule, rules_of_watcher, user
from wardenmq.config.settings import Settings
from wardenmq.server import Server, _fast_loop
from wardenmq.store.credentials.scram import MIN_ITERATIONS
from wardenmq.store.credentials.stored_secrets import SHA256_TOKEN, StoredSecret
from wardenmq.store.directory import Directory
from wardenmq.store.records import RoleAcl, Rule

TICK_SECONDS = 0.001


class StallWatch:
    """Look at the clock every millisecond and keep the longest time for which the loop did not come round."""

    def __init__(self) -> None:
        self.longest = self.longest_of_cpu = 0.0
        self._loop = asyncio.get_running_loop()
        self._at, self._cpu = time.perf_counter(), time.thread_time()
        self._handle = self._loop.call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        now, cpu = time.perf_counter(), time.thread_time()
        self.longest = max(self.longest, now - self._at - TICK_SECONDS)
        self.longest_of_cpu = max(self.longest_of_cpu, cpu - self._cpu)
        self._at, self._cpu = now, cpu
        self._handle = self._loop.call_later(TICK_SECONDS, self._tick)

    def stop(self) -> None:
        """Look no more."""
        self._handle.cancel()


async def prepare_watchers(directory: Directory, watchers: int) -> None:
    """Give those who are to subscribe the rules by which they may."""
    for number in range(watchers):
        await directory.set_rules(
            "username", user(WATCHERS_FROM + number), rules_of_watcher(number, shown=True, zone=True)
        )


class Storm:
    """Turn rules round and note, of those who are told by them what they may, when each was in force."""

    def __init__(self, directory: Directory, users: int, watchers: int) -> None:
        self._directory = directory
        self._rng = random.Random(1)
        self._users = users
        self._watchers = watchers
        self._allowed: dict[str, bool] = {}
        self._common = list(directory.rules("all") or ())
        self.timeline: list[tuple[str, bool, float, float]] = []
        self.taken: dict[str, list[float]] = {}

    async def write(self, number: int) -> None:
        """Do one write: most of those who publish, some of those who subscribe, now and then others and for all."""
        rng = self._rng
        if number % 50 == 49:
            await self._for_all(number // 50)
        elif number % 10 == 9:
            other = self._users + rng.randrange(1_000)
            await self._set(other, [own_rule(other, allowed=rng.random() < 0.5)])
        elif number % 10 in (3, 6):
            await self._watcher(rng.randrange(self._watchers), rng.choice(("shown", "zone")))
        else:
            chosen = rng.randrange(self._users)
            allowed = self._turn(f"publish {chosen}")
            await self._noted(f"publish {chosen}", allowed, chosen, [own_rule(chosen, allowed=allowed)])

    async def _for_all(self, number: int) -> None:
        rule = Rule(f"new/{number}/${{clientid}}/#", "allow", "all")
        begun = time.perf_counter()
        if number % 4 == 3:
            kind = "whole list"
            self._rng.shuffle(self._common)
            await self._directory.set_rules("all", "", self._common)
        else:
            kind = "one rule"
            await self._directory.add_rule("all", "", rule, first=number % 2 == 0)
        self.taken.setdefault(kind, []).append((time.perf_counter() - begun) * 1_000)

    async def _watcher(self, number: int, what: str) -> None:
        name = f"{what} {number}"
        allowed = self._turn(name)
        shown, zone = (self._allowed.get(f"{each} {number}", True) for each in ("shown", "zone"))
        await self._noted(name, allowed, WATCHERS_FROM + number, rules_of_watcher(number, shown=shown, zone=zone))

    def _turn(self, name: str) -> bool:
        self._allowed[name] = not self._allowed.get(name, True)
        return self._allowed[name]

    async def _noted(self, name: str, allowed: bool, number: int, rules: list[Rule]) -> None:
        begun = time.monotonic()
        await self._set(number, rules)
        self.timeline.append((name, allowed, begun, time.monotonic()))

    async def _set(self, number: int, rules: list[Rule]) -> None:
        await self._directory.set_rules("username", user(number), rules)


async def storm(directory: Directory, users: int, watchers: int, writes: int) -> dict[str, object]:
    """Turn rules round as fast as it goes."""
    blowing = Storm(directory, users, watchers)
    watch = StallWatch()
    for number in range(writes):
        await blowing.write(number)
    watch.stop()
    return {
        "timeline": blowing.timeline,
        "taken": blowing.taken,
        "stall": watch.longest,
        "stall_cpu": watch.longest_of_cpu,
    }


async def measured_writes(directory: Directory, count: int) -> dict[str, list[float]]:
    """Time each kind of write, one object each; in milliseconds."""
    fresh = [f"new-{a_token()}" for _ in range(count)]
    kinds: dict[str, Callable[[int], Awaitable[object]]] = {
        "rules of a user name": lambda n: directory.set_rules("username", user(n), [own_rule(n, allowed=True)] * 10),
        "rules of a client id": lambda n: directory.set_rules("clientid", f"new-{n}", [Rule("a/#", "allow", "all")]),
        "new login": lambda n: directory.create_login(
            "username", fresh[n], None, secret=StoredSecret(SHA256_TOKEN, fresh[n].encode().ljust(32, b"."))
        ),
        "changed login": lambda n: directory.update_login("username", user(n + 5_000), disabled=True),
        "deleted login": lambda n: directory.delete_login("username", fresh[n]),
        "role": lambda n: directory.roles.create(f"role-{n}", acls=[RoleAcl("publishClientSend", "a/#", True)]),
        "role granted": lambda n: directory.roles.grant("username", user(n), f"role-{n}"),
        "role changed": lambda n: directory.roles.add_acl(f"role-{n}", RoleAcl("subscribePattern", "b/#", True)),
        "one rule behind 9,700 for all": lambda n: directory.add_rule("all", "", one_more(n)),
        "one rule before 9,800 for all": lambda n: directory.add_rule("all", "", one_more(-n), first=True),
        "ban": lambda n: directory.bans.create("clientid", f"banned-{n}"),
    }

    def one_more(number: int) -> Rule:
        return Rule(f"common/more {number}/+/${{clientid}}/#", "allow", "all")

    taken: dict[str, list[float]] = {}
    for kind, write in kinds.items():
        for number in range(count):
            begun = time.perf_counter()
            await write(number)
            taken.setdefault(kind, []).append((time.perf_counter() - begun) * 1_000)
    return taken


async def serve(data: Path) -> None:
    """Start the server on a data directory, say what that took, and follow orders until standard input ends."""
    process = psutil.Process()
    server = Server(
        Settings.load(
            overrides={
                "data_dir": data,
                "listeners": {"default": {"bind": "127.0.0.1:0"}, "ws": {"type": "ws", "bind": "127.0.0.1:0"}},
                "api": {"bind": "127.0.0.1:0"},
                "mqtt": {"scram_iterations": MIN_ITERATIONS},
            }
        )
    )
    begun, cpu = time.perf_counter(), time.process_time()
    await server.start(lambda text: None)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    try:
        port = int(server.addresses["mqtt"].rpartition(":")[2])
        tell(seconds=seconds, cpu=cpu, rss=process.memory_info().rss, port=port, pid=process.pid)
        directory = server._broker.directory  # type: ignore[union-attr]
        while order := (await asyncio.to_thread(sys.stdin.readline)).split():
            if order[0] == "storm":
                tell(**await storm(directory, *map(int, order[1:])))
            elif order[0] == "watchers":
                await prepare_watchers(directory, int(order[1]))
                tell()
            elif order[0] == "writes":
                tell(**await measured_writes(directory, int(order[1])))
    finally:
        await server.stop()


def tell(**answer: object) -> None:
    """Answer with a line."""
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    with asyncio.Runner(loop_factory=_fast_loop()) as runner:
        runner.run(serve(Path(sys.argv[1])))
