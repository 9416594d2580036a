"""Whether the rows of sessions.db fit each other, and what is done about those that do not.

A batch of the broker's is written whole or not at all, so nothing of this comes by itself: it is what damage, another
program or a mistake of ours leaves.
"""

import sqlite3
from dataclasses import dataclass
from typing import Any

_FLAG = "IFNULL({0}, -1) NOT IN (0, 1)"
_QOS = "IFNULL({0}, -1) NOT IN (0, 1, 2)"
_BITS = "lowest_bits({0}, count)"


@dataclass(frozen=True, slots=True)
class Rule:
    """Name rows that must not be, and what is done with them."""

    table: str
    where: str
    words: str
    repair: str | None = None
    """What is set in them; None where they are deleted."""
    harmless: bool = False
    """Whether they cost room only."""

    @property
    def count(self) -> str:
        """Count them."""
        return f"SELECT count(*) FROM {self.table} WHERE {self.where}"  # noqa: S608 (texts of this module)

    @property
    def mend(self) -> str:
        """Put them right, or away."""
        if self.repair is None:
            return f"DELETE FROM {self.table} WHERE {self.where}"  # noqa: S608
        return f"UPDATE {self.table} SET {self.repair} WHERE {self.where}"  # noqa: S608


def _any(*conditions: str) -> str:
    return " OR ".join(f"({condition})" for condition in conditions)


_WRONG_WILL = _any("typeof(will_payload) <> 'blob'", _QOS.format("will_qos"), _FLAG.format("will_retain"))
_NO_SESSION = "session_id NOT IN (SELECT id FROM sessions)"

RULES = (
    Rule(
        "sessions",
        _any(
            "typeof(client_id) <> 'text'",
            "IFNULL(protocol_version, 0) NOT IN (3, 4, 5)",
            *(_FLAG.format(column) for column in ("clean_start", "claimed", "confined", "superuser")),
            *(f"typeof({column}) <> 'integer' OR {column} < 0" for column in ("window", "sent", "keep_alive")),
            *(f"typeof({column}) <> 'real'" for column in ("created_at", "connected_at")),
            *(f"typeof({column}) NOT IN ('real', 'null')" for column in ("expiry_interval", "disconnected_at")),
        ),
        "sessions with impossible values",
    ),
    Rule(
        "sessions",
        f"will_topic IS NOT NULL AND ({_WRONG_WILL})",
        "sessions whose will has impossible values",
        repair="will_topic = NULL, will_at = NULL",
    ),
    Rule(
        "subscriptions",
        _any(
            "typeof(topic_filter) <> 'text' OR topic_filter = ''",
            _QOS.format("qos"),
            *(_FLAG.format(column) for column in ("no_local", "retain_as_published")),
            "IFNULL(retain_handling, -1) NOT IN (0, 1, 2)",
            "identifier IS NOT NULL AND identifier NOT BETWEEN 1 AND 268435455",
        ),
        "subscriptions with impossible values",
    ),
    Rule(
        "messages",
        _any(
            "typeof(topic) <> 'text' OR topic = ''",
            "typeof(data) <> 'blob'",
            _QOS.format("qos"),
            _FLAG.format("retain"),
            "typeof(count) <> 'integer' OR count < 1",
            "typeof(body) <> 'integer' OR body < 0",
            "typeof(id_at) <> 'integer' OR id_at < 0",
            "length(data) % count <> 0 OR body > length(data) / count OR id_at > length(data) / count",
        ),
        "messages with impossible values",
    ),
    Rule(
        "deliveries",
        _any(
            "typeof(position) <> 'integer' OR position < 0",
            "typeof(message_id) <> 'integer'",
            "typeof(first) <> 'integer' OR first < 0",
            "typeof(count) <> 'integer' OR count < 1",
            "IFNULL(qos, -1) NOT IN (1, 2)",
            _FLAG.format("retain"),
            *(f"typeof({column}) <> 'blob'" for column in ("identifiers", "done", "received")),
            "typeof(share) <> 'text'",
        ),
        "deliveries with impossible values",
    ),
    Rule(
        "deliveries",
        f"done <> {_BITS.format('done')} OR received <> {_BITS.format('received')}",
        "deliveries with more acknowledgements than messages",
        repair=f"done = {_BITS.format('done')}, received = {_BITS.format('received')}",
    ),
    Rule("unreleased", "packet_id NOT BETWEEN 1 AND 65535", "unreleased packets with impossible values"),
    Rule(
        "retained",
        _any("typeof(topic) <> 'text' OR topic = ''", "typeof(payload) <> 'blob'", _QOS.format("qos")),
        "retained messages with impossible values",
    ),
    Rule("subscriptions", _NO_SESSION, "subscriptions without a session"),
    Rule("deliveries", _NO_SESSION, "deliveries without a session"),
    Rule("unreleased", _NO_SESSION, "unreleased packets without a session"),
    Rule(
        "deliveries",
        "message_id NOT IN (SELECT id FROM messages)",
        "deliveries whose message is missing",
    ),
    Rule(
        "deliveries",
        "first + count > (SELECT messages.count FROM messages WHERE id = message_id)",
        "deliveries of more messages than there are",
    ),
    Rule(
        "deliveries",
        "(session_id, position) IN (SELECT session_id, position FROM (SELECT session_id, position, "
        "lag(position + count) OVER (PARTITION BY session_id ORDER BY position) AS earlier FROM deliveries) "
        "WHERE position < earlier)",
        "deliveries at positions that are taken",
    ),
    Rule(
        "messages",
        "id NOT IN (SELECT message_id FROM deliveries WHERE message_id IS NOT NULL)",
        "messages that nobody is owed",
        harmless=True,
    ),
)
"""In the order in which they are put right: what one deletes, another one misses."""


def count_inconsistent(connection: sqlite3.Connection) -> list[tuple[Rule, int]]:
    """Count the rows that each rule finds, where it finds any. Raises sqlite3.Error."""
    _define(connection)
    connection.execute("BEGIN")  # all of it is about the same moment
    try:
        counts = [(rule, int(connection.execute(rule.count).fetchone()[0])) for rule in RULES]
    finally:
        connection.execute("ROLLBACK")
    return [(rule, count) for rule, count in counts if count]


def mend_inconsistent(connection: sqlite3.Connection) -> list[tuple[Rule, int]]:
    """Put right what the rules find, in one transaction, and count it. Raises sqlite3.Error."""
    _define(connection)
    mended: list[tuple[Rule, int]] = []
    connection.execute("BEGIN IMMEDIATE")
    try:
        for rule in RULES:
            count = connection.execute(rule.mend).rowcount
            if count > 0:
                mended.append((rule, count))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return mended


def _define(connection: sqlite3.Connection) -> None:
    connection.create_function("lowest_bits", 2, _lowest_bits, deterministic=True)


def _lowest_bits(field: Any, count: Any) -> Any:
    """Cut a little-endian bit field to so many bits, in its shortest form; what is none stays as it is."""
    if not isinstance(field, bytes) or not field or not isinstance(count, int) or count < 1:
        return field
    bits = int.from_bytes(field, "little") & ((1 << min(count, len(field) * 8)) - 1)
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")
