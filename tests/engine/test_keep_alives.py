"""Many keep-alives on one timer."""

import asyncio
import gc

import pytest
from wardenmq.broker.keep_alives import KeepAlives

from ..clocks import ignore_stalls
from .conditions import until


class Client:
    """Note when it was looked at."""

    def __init__(self, looked: list["Client"]) -> None:
        self.turn = 0
        self.looked = looked

    def check_silence(self) -> None:
        self.looked.append(self)


async def test_each_is_looked_at_once_and_not_too_early() -> None:
    ignore_stalls()
    loop = asyncio.get_running_loop()
    keep_alives, looked = KeepAlives(loop), list[Client]()
    late, early = Client(looked), Client(looked)
    begun = loop.time()
    keep_alives.watch(late, 0.6)
    keep_alives.watch(early, 0.1)
    await until(lambda: bool(looked))
    assert looked == [early]
    assert loop.time() - begun >= 0.1
    await until(lambda: len(looked) > 1)
    assert looked == [early, late]
    assert loop.time() - begun >= 0.6
    await asyncio.sleep(0.3)
    assert len(looked) == 2


async def test_who_has_gone_is_not_looked_at_and_not_kept() -> None:
    keep_alives, looked = KeepAlives(asyncio.get_running_loop()), list[Client]()
    gone, stays = Client(looked), Client(looked)
    turn = keep_alives.watch(gone, 0.1)
    keep_alives.watch(stays, 0.1)
    keep_alives.forget(gone, turn)
    keep_alives.forget(gone, turn)
    assert not any(isinstance(each, set) and gone in each for each in gc.get_referrers(gone))
    await until(lambda: bool(looked))
    assert looked == [stays]


async def test_a_client_that_is_looked_at_may_be_watched_again() -> None:
    keep_alives, looked = KeepAlives(asyncio.get_running_loop()), list[Client]()

    class Lively(Client):
        def check_silence(self) -> None:
            super().check_silence()
            if len(self.looked) < 3:
                keep_alives.watch(self, 0.0)

    keep_alives.watch(Lively(looked), 0.0)
    await until(lambda: len(looked) == 3)


async def test_a_fault_with_one_client_leaves_the_others_watched(caplog: pytest.LogCaptureFixture) -> None:
    keep_alives, looked = KeepAlives(asyncio.get_running_loop()), list[Client]()

    class Broken(Client):
        def check_silence(self) -> None:
            raise RuntimeError("this client is broken")

    clients = [Client(looked) for _ in range(20)]
    for client in [*clients[:10], Broken(looked), *clients[10:]]:
        keep_alives.watch(client, 0.05)
    keep_alives.watch(Client(looked), 0.6)
    await until(lambda: len(looked) == 21)
    assert set(clients) < set(looked)
    assert "this client is broken" in caplog.text
