"""Every asynchronous test here runs on each event loop that the server may run on."""

import asyncio
from collections.abc import Callable, Mapping

import pytest

from .certificates import Authority


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    try:
        import uvloop
    except ImportError:
        return {"asyncio": asyncio.new_event_loop}
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def patient_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no connection cut off because the machine stalled: uvloop's time cannot be made steady."""
    for timeout in (
        "connection._TURN_AWAY_TIMEOUT",
        "outgoing._CLOSE_TIMEOUT",
        "outgoing._LINGER",
        "listeners.arrival._REFUSED_TIMEOUT",
        "listeners.arrival._TLS_CLOSE_TIMEOUT",
    ):
        monkeypatch.setattr(f"wardenmq.broker.{timeout}", 60.0)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Issue what the listeners and their clients need."""
    return Authority(tmp_path_factory.mktemp("authority"))
