"""What a start costs when much is in the journal: time until the server is ready, its memory, what it then delivers.

The journal is filled by copying, row by row, what the server itself wrote of one session and one message.
"""

import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brokers import cpu_seconds
from clients import subscribe
from durable_brokers import UNBOUNDED_STORE, WARDENMQ, memory_bytes, wardenmq
from durable_loads import TOPIC, Exchange, Publisher, Ring, Subscriber, drain, open_session
from rows import Requirement, Results, Row, Sample

PROCESS = WARDENMQ[1]
MODEL = "restart-00000"
"""The session whose rows are copied."""
SESSIONS, OWED_SESSIONS, OWED_MESSAGES = 100_000, 1_000, 1_000
START_SECONDS = 600.0
MEBIBYTE = 1_048_576
_ROWS_AT_ONCE = 10_000


def client_id(number: int) -> str:
    """Name the n-th session."""
    return f"restart-{number:05d}"


def _ring(number: int, messages: int, payload_bytes: int) -> Ring:
    """Give what is kept for the n-th session."""
    return Ring(1, [payload_bytes] * messages, b" for %05d" % number)


def write_model(data: Path, payload_bytes: int) -> None:
    """Have the server itself write one session that is owed one message."""
    ring = _ring(0, 1, payload_bytes)
    with wardenmq(data, "process", {"mqtt": UNBOUNDED_STORE}) as endpoint:
        subscriber = Subscriber(ring)
        sock = open_session(endpoint, MODEL)
        subscriber.attach(sock)
        subscribe(sock, TOPIC, 1)
        subscriber.detach()
        with open_session(endpoint, "restart-publisher", clean=True) as publishing:
            Exchange(Publisher(publishing, ring), (), 1).run(0.0)  # opens the session
            exchange = Exchange(Publisher(publishing, ring), (), 1)
            exchange.publisher.send(1)
            exchange.run(0.0)
            if exchange.wrong:
                raise RuntimeError("the message to copy was not acknowledged")


class Filling:
    """Copy the rows of one session and its message many times over."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        self._connection = connection
        self._session = self._only("sessions")
        self._subscription = self._only("subscriptions")
        self._message = self._only("messages")
        self._delivery = self._only("deliveries")

    def sessions(self, count: int) -> None:
        """Add sessions with one subscription each, until there are so many."""
        first = self._session["id"]
        numbers = range(1, count)
        self._insert("sessions", ({**self._session, "id": first + n, "client_id": client_id(n)} for n in numbers))
        filters = ({**self._subscription, "session_id": first + n, "topic_filter": f"restart/{n}"} for n in numbers)
        self._insert("subscriptions", filters)

    def messages(self, sessions: int, messages: int, payload_bytes: int) -> None:
        """Owe the first sessions so many messages each, every one a row by itself."""
        self._connection.execute("DELETE FROM messages")
        self._connection.execute("DELETE FROM deliveries")
        base = self._message["id"]
        self._insert("messages", self._message_rows(base, sessions, messages, payload_bytes))
        owed = (
            {
                **self._delivery,
                "session_id": self._session["id"] + number // messages,
                "position": number % messages,
                "message_id": base + number,
                "first": 0,
                "count": 1,
            }
            for number in range(sessions * messages)
        )
        self._insert("deliveries", owed)

    def _message_rows(
        self, base: int, sessions: int, messages: int, payload_bytes: int
    ) -> Iterator[Mapping[str, object]]:
        for session in range(sessions):
            ring = _ring(session, 1, payload_bytes)
            for number in range(messages):
                payload = ring.payload(number, payload_bytes)
                row = {"id": base + session * messages + number, "data": payload, "count": 1, "body": 0, "id_at": 0}
                yield {**self._message, **row}

    def _only(self, table: str) -> Mapping[str, Any]:
        rows = self._connection.execute(f"SELECT * FROM {table}").fetchall()
        if len(rows) != 1:
            raise RuntimeError(f"{len(rows)} rows in {table} instead of the one to copy")
        return dict(rows[0])

    def _insert(self, table: str, rows: Iterator[Mapping[str, object]]) -> None:
        first = next(rows, None)
        if first is None:
            return
        names = list(first)
        statement = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        self._connection.execute(statement, list(first.values()))
        self._connection.executemany(statement, (tuple(row.values()) for row in rows))


def fill(database: Path, sessions: int, owed_sessions: int, messages: int, payload_bytes: int) -> None:
    """Fill a journal that holds the model."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        with connection:
            filling = Filling(connection)
            filling.sessions(sessions)
            filling.messages(owed_sessions, messages, payload_bytes)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@dataclass(frozen=True, slots=True)
class Restart:
    """A start on a full journal; then all that was kept is fetched."""

    name: str
    payload_bytes: int
    unit: str = "messages"
    contenders: tuple[str, ...] = (PROCESS,)
    requirements: tuple[Requirement, ...] = ()
    sessions: int = SESSIONS
    owed_sessions: int = OWED_SESSIONS
    owed_messages: int = OWED_MESSAGES

    def measure(self, names: Sequence[str], rounds: int, seconds: float) -> Results:
        """Fill a journal and start on it once."""
        from wardenmq.store.file_names import SESSIONS_NAME

        with tempfile.TemporaryDirectory() as directory:
            data = Path(directory) / "data"
            write_model(data, self.payload_bytes)
            fill(data / SESSIONS_NAME, self.sessions, self.owed_sessions, self.owed_messages, self.payload_bytes)
            megabytes = (data / SESSIONS_NAME).stat().st_size / MEBIBYTE
            begun = time.monotonic()
            with wardenmq(data, "process", {"mqtt": UNBOUNDED_STORE}, start_seconds=START_SECONDS) as endpoint:
                ready = time.monotonic() - begun
                resident, peak = memory_bytes(endpoint.pid)
                cpu = cpu_seconds(endpoint.pid)
                extra = {"database_mib": megabytes, "ready_s": ready, "ready_rss_mib": resident / MEBIBYTE}
                extra |= {"ready_peak_mib": peak / MEBIBYTE, "ready_cpu_s": cpu}
                begun, lost = time.monotonic(), 0
                for number in range(self.owed_sessions):
                    subscriber = Subscriber(_ring(number, self.owed_messages, self.payload_bytes))
                    subscriber.attach(open_session(endpoint, client_id(number), present=True))
                    drain(subscriber, self.owed_messages, 0.0)
                    lost += abs(self.owed_messages - subscriber.delivered) + subscriber.altered
                    subscriber.detach()
                wall = time.monotonic() - begun
                extra["fetched_peak_mib"] = memory_bytes(endpoint.pid)[1] / MEBIBYTE
                sample = Sample(
                    self.owed_sessions * self.owed_messages, cpu_seconds(endpoint.pid) - cpu, wall, lost, extra
                )
        return Results({PROCESS: [sample]})


RESTARTS: tuple[Row, ...] = (
    Restart("restart, 1,000,000 messages of 100 B, 100,000 sessions", 100),
    Restart("restart, 1,000,000 messages of 1 kB, 100,000 sessions", 1_000),
)
