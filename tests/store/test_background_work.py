"""Work beside the event loop: who pauses garbage collection, and who gives others their turn."""

import asyncio
import gc
import time

import pytest
from wardenmq.store.background_work import collection_paused, full_collection_put_off, in_slices


def test_collection_is_on_again_when_the_last_is_done() -> None:
    assert gc.isenabled()
    with collection_paused():
        with collection_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="x"), collection_paused():
        raise ValueError("x")
    assert gc.isenabled()


def test_collection_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with collection_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_full_collections_alone_are_put_off() -> None:
    before = gc.get_threshold()
    with full_collection_put_off():
        with full_collection_put_off():
            pass
        assert gc.isenabled()
        assert gc.get_threshold()[:2] == before[:2]
        assert gc.get_threshold()[2] > 1_000_000
    assert gc.get_threshold() == before


async def test_turns_are_given_in_threads_only(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    assert list(in_slices(range(1_000))) == list(range(1_000))
    assert not pauses
    assert await asyncio.to_thread(lambda: list(in_slices(range(1_000)))) == list(range(1_000))
    assert len(pauses) == 10
