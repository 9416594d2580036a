"""Ends of connections are counted by client id in a window of time; the clock is the test's."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from wardenmq.broker.engine import Engine
from wardenmq.broker.flapping import FlappingDetector, FlappingSettings
from wardenmq.broker.session import Session


class Scene:
    def __init__(self) -> None:
        self.now = 0.0
        self.bans: list[tuple[str, float]] = []
        self.engine = SimpleNamespace(session_watches=[])
        self.detector = FlappingDetector(cast("Engine", self.engine), lambda: self.now)

    def configure(self, settings: FlappingSettings | None) -> None:
        self.detector.configure(settings, lambda client_id, duration: self.bans.append((client_id, duration)))

    def end(self, client_id: str = "c", reason: str = "tcp_closed") -> None:
        session: Any = SimpleNamespace(client_id=client_id)
        for watch in self.engine.session_watches:
            watch.disconnected(cast("Session", session), reason)


def test_nothing_is_counted_until_it_is_told_to() -> None:
    scene = Scene()
    scene.end()
    assert scene.engine.session_watches == []
    scene.configure(FlappingSettings(max_count=1))
    scene.configure(FlappingSettings(max_count=1))
    assert scene.engine.session_watches == [scene.detector]
    scene.configure(None)
    assert scene.engine.session_watches == []


def test_as_many_ends_as_are_too_many_within_the_window() -> None:
    scene = Scene()
    scene.configure(FlappingSettings(window=10, max_count=3, ban_time=7))
    for client_id in ("c", "other", "c"):
        scene.end(client_id)
    assert scene.bans == []
    scene.now = 10.0
    scene.end()
    assert scene.bans == [("c", 7)]
    assert scene.detector.counted == 1


def test_a_window_that_is_over_begins_anew() -> None:
    scene = Scene()
    scene.configure(FlappingSettings(window=10, max_count=2))
    scene.end()
    scene.now = 10.5
    scene.end()
    assert scene.bans == []
    scene.end()
    assert scene.bans == [("c", 300.0)]


@pytest.mark.parametrize("reason", ["kicked", "banned", "shutdown", "takenover", "discarded", "expired"])
def test_ends_that_are_not_the_clients_doing(reason: str) -> None:
    scene = Scene()
    scene.configure(FlappingSettings(max_count=1))
    scene.end(reason=reason)
    assert scene.bans == []


def test_only_so_many_clients_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wardenmq.broker.flapping._MOST", 3)
    scene = Scene()
    scene.configure(FlappingSettings(max_count=5))
    for number in range(5):
        scene.end(f"c{number}")
    assert scene.detector.counted == 3
