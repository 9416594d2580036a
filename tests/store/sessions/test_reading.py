"""Reading: what is committed, in pieces that are bounded, whatever the writer is doing."""

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest
from wardenmq.store.errors import DatabaseDamaged, DatabaseUnavailable, StoreError
from wardenmq.store.sessions import connections, reading

from .journals import Journal, delivery, everything, expected, message, retained, session, subscription, upserts


async def test_messages_are_loaded_by_id(journal: Journal) -> None:
    rows = [message(number, b"x" * number) for number in range(3_000)]
    await journal.write(upserts(messages=rows))
    assert await journal.store.load([5, 7, 6]) == [rows[5], rows[6], rows[7]]
    assert await journal.store.load([5, 99_999, 5, -1]) == [rows[5]]
    assert await journal.store.load([]) == []
    assert await journal.store.load(range(3_000)) == rows
    assert journal.store.load_now([2_999, 99_999]) == [rows[2_999]]


async def test_only_what_is_committed_is_read(journal: Journal, held_up: sqlite3.Connection) -> None:
    number = journal.submit(upserts(messages=[message(1)]))
    assert await journal.store.load([1]) == journal.store.load_now([1]) == []  # nor does it wait for the batch
    assert await journal.read() == {name: [] for name in await journal.read()}
    held_up.execute("ROLLBACK")
    assert await journal.outcome(number) == ("committed",)
    assert await journal.store.load([1]) == journal.store.load_now([1]) == [message(1)]


async def test_what_is_deleted_is_not_read(journal: Journal) -> None:
    await journal.write(everything(1))
    assert await journal.store.load([1]) == [message(1)]
    await journal.write({"messages": {1: None}})
    assert await journal.store.load([1]) == []


async def test_all_tables_are_scanned_in_the_order_of_their_keys(journal: Journal) -> None:
    count = 12_000
    batch = upserts(
        sessions=[session(number) for number in range(count)],
        subscriptions=[subscription(number % 5, f"f/{number}") for number in range(count)],
        messages=[message(number) for number in range(count)],
        deliveries=[delivery(number % 5, number, number) for number in range(count)],
        unreleased=[(number % 5, number) for number in range(count)],
        retained=[retained(f"t/{number}") for number in range(count)],
    )
    await journal.write(batch)
    wanted = expected(batch)
    wanted["messages"] = [(*row[:9], row[10], len(row[9])) for row in wanted["messages"]]
    for name in batch:
        pieces = [piece async for piece in journal.store.scan(name)]
        assert [len(piece) for piece in pieces] == [5_000, 5_000, 2_000]
        assert [row for piece in pieces for row in piece] == wanted[name]


async def test_of_messages_the_size_is_scanned(journal: Journal) -> None:
    run = (2, "a", "p", 1, 0, b"\1", 5.5, 4, 6, b"packet.." * 4, 3, 7.5)
    await journal.write(upserts(messages=[message(1, b"x" * 100_000), run]))
    assert (await journal.read())["messages"] == [
        (1, "a/b", "publisher", 1, 0, b"", None, 1, 0, 0, 100_000),
        (2, "a", "p", 1, 0, b"\1", 5.5, 4, 6, 3, 32),
    ]


async def test_pieces_of_long_rows_are_smaller(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_PIECE_BYTES", 10_000)
    rows = [retained(f"t/{number:03}", bytes(4_000)) for number in range(20)]
    wills = [session(number, will_topic="w", will_payload=bytes(4_000)) for number in range(20)]
    await journal.write(upserts(retained=rows, sessions=wills))
    for name, wanted in (("retained", rows), ("sessions", wills)):
        pieces = [piece async for piece in journal.store.scan(name)]
        assert {len(piece) for piece in pieces} == {3, 2}
        assert [row for piece in pieces for row in piece] == [
            tuple(
                float(value) if column in (16, 17) and name == "sessions" else value for column, value in enumerate(row)
            )
            for row in wanted
        ]


async def test_an_empty_table_has_no_pieces(journal: Journal) -> None:
    assert [piece async for piece in journal.store.scan("deliveries")] == []


async def test_a_table_may_change_while_it_is_scanned(journal: Journal) -> None:
    await journal.write(upserts(messages=[message(number) for number in range(12_000)]))
    seen: list[int] = []
    async for piece in journal.store.scan("messages"):
        seen += [row[0] for row in piece]
        await journal.write({"messages": {piece[-1][0]: None, piece[-1][0] + 1: None}})
    assert seen == [number for number in range(12_000) if number not in (5_000, 10_001)]


async def test_reading_has_a_thread_of_its_own(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []
    plain = journal.store._reader._run

    def run(*arguments: object) -> object:
        threads.append(threading.current_thread().name)
        return plain(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(journal.store._reader, "_run", run)
    await journal.store.load([1])
    journal.store.load_now([1])
    await journal.read()
    assert len({*threads}) == 1
    assert threads[0].startswith("wardenmq-journal-reader")


async def test_the_connection_that_reads_cannot_write(journal: Journal) -> None:
    reader = journal.store._reader
    with pytest.raises(DatabaseUnavailable, match="readonly"):
        await asyncio.get_running_loop().run_in_executor(
            journal.store._reading, reader._run, "DELETE FROM messages", ()
        )


async def test_a_read_that_fails_is_told_and_the_next_one_begins_anew(
    path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await journal.write(everything(1))
    await asyncio.get_running_loop().run_in_executor(journal.store._reading, journal.store._reader.close)

    def refuse(path: Path) -> sqlite3.Connection:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(connections, "for_reading", refuse)
        for attempt in (journal.store.load, journal.store.load_now):
            with pytest.raises(StoreError, match="could not be read") as caught:
                found = attempt([1])
                assert not isinstance(found, list)
                await found
            assert caught.value.message.endswith(".")
            assert str(path) in caught.value.message
        with pytest.raises(StoreError):
            await journal.read()
    assert await journal.store.load([1]) == [message(1)]


async def test_a_text_that_was_overwritten_is_damage(path: Path) -> None:
    journal = await Journal.open(path)
    await journal.write(upserts(messages=[message(1, topic="spoilt/topic"), message(2)]))
    await journal.close()
    content = path.read_bytes()
    assert content.count(b"spoilt/topic") == 1
    path.write_bytes(content.replace(b"spoilt/topic", b"spoilt/\xff\xfe\xff\xff\xff"))
    again = await Journal.open(path)  # the structure of the file is sound
    assert again.store.problem is None
    with pytest.raises(DatabaseDamaged, match="could not be read"):
        await again.store.load([1, 2])
    with pytest.raises(DatabaseDamaged):
        await again.read()
    assert await again.store.load([2]) == [message(2)]
    await again.close()


async def test_a_closed_store_reads_nothing(path: Path) -> None:
    journal = await Journal.open(path)
    await journal.close()
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await journal.store.load([1])
    with pytest.raises(DatabaseUnavailable, match="closed"):
        journal.store.load_now([1])
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await journal.read()
