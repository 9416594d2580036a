"""Whether the rows of sessions.db fit each other, and what is done about those that do not.

A batch of the broker's is written whole or not at all, so nothing of this comes by itself: it is what damage, another
program or a mistake of ours leaves. SQLite's own check finds none of it: its pages may be sound while a row says what
no broker ever wrote. Every column is looked at, for one value of a kind that is not expected is enough to keep a server
from reading the table at its start.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..broker.routing.topics import InvalidTopic, check_filter, check_name, split_share

# Each is true of a value that must not be. A text that is not UTF-8 cannot be handed over as one, so texts go as bytes.
_NO_TEXT = "typeof({0}) <> 'text' OR NOT is_text(CAST({0} AS BLOB))"
_NO_TEXT_OR_NULL = f"{{0}} IS NOT NULL AND ({_NO_TEXT})"
_NO_NAME = "typeof({0}) <> 'text' OR NOT is_topic_name(CAST({0} AS BLOB))"
_NO_FILTER = "typeof({0}) <> 'text' OR NOT is_topic_filter(CAST({0} AS BLOB))"
_UNREADABLE = "typeof({0}) = 'text' AND NOT is_text(CAST({0} AS BLOB))"
_NO_BLOB = "typeof({0}) <> 'blob'"
_NO_FLAG = "IFNULL({0}, -1) NOT IN (0, 1)"
_NO_QOS = "IFNULL({0}, -1) NOT IN (0, 1, 2)"
_NO_MOMENT = "typeof({0}) <> 'real' OR {0} NOT BETWEEN 0 AND 253402300799"  # the end of the year 9999
_NO_MOMENT_OR_NULL = f"{{0}} IS NOT NULL AND ({_NO_MOMENT})"
_FIELDS = "typeof({0}) = 'blob' AND typeof(count) = 'integer'"
_BITS = f"CASE WHEN {_FIELDS} THEN lowest_bits({{0}}, count) ELSE {{0}} END"
_MOST_MESSAGES = 65_535
"""Messages in one row: there are no more packet identifiers."""
_MOST_SECONDS = 4_294_967_295
"""What an interval of MQTT can be."""
_MOST = 1 << 62
"""Ids and positions beyond it were never come to, and what is added to them has to be kept, too."""


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


def _each(wrong: str, *columns: str) -> str:
    return _any(*(wrong.format(column) for column in columns))


def _not_within(column: str, least: int, most: int) -> str:
    return f"typeof({column}) <> 'integer' OR {column} NOT BETWEEN {least} AND {most}"


_WILL = (
    "will_topic",
    "will_payload",
    "will_qos",
    "will_retain",
    "will_properties",
    "will_message_expiry",
    "will_delay",
)
_WRONG_WILL = _any(
    _NO_NAME.format("will_topic"),
    _each(_NO_BLOB, "will_payload", "will_properties"),
    _NO_QOS.format("will_qos"),
    _NO_FLAG.format("will_retain"),
    f"will_message_expiry IS NOT NULL AND ({_not_within('will_message_expiry', 0, _MOST_SECONDS)})",
    _not_within("will_delay", 0, _MOST_SECONDS),
    _NO_MOMENT_OR_NULL.format("will_at"),
)
_NO_SESSION = "session_id NOT IN (SELECT id FROM sessions)"

RULES = (
    Rule(
        "state",
        _any(
            _NO_TEXT.format("name"),
            _UNREADABLE.format("value"),
            f"name = 'alive_at' AND ({_NO_MOMENT.format('value')})",
        ),
        "notes of the server with impossible values",
    ),
    Rule(
        "sessions",
        _any(
            _not_within("id", 0, _MOST),
            _each(_NO_TEXT, "client_id", "peer_host", "listener", "protocol_name"),
            _each(_NO_TEXT_OR_NULL, "username", "principal", "certificate_name"),
            "typeof(peer_port) <> 'integer'",
            "IFNULL(protocol_version, 0) NOT IN (3, 4, 5)",
            _each(_NO_FLAG, "clean_start", "claimed", "confined", "superuser"),
            *(_not_within(column, 0, _MOST) for column in ("window", "sent", "keep_alive")),
            _each(_NO_MOMENT, "created_at", "connected_at"),
            _NO_MOMENT_OR_NULL.format("disconnected_at"),
            "typeof(expiry_interval) NOT IN ('real', 'null') OR expiry_interval NOT BETWEEN 0 AND 1e15",
        ),
        "sessions with impossible values",
    ),
    Rule(
        "sessions",
        # Where there is none, the other columns mean nothing, but are read.
        f"CASE WHEN will_topic IS NULL THEN {_each(_UNREADABLE, *_WILL, 'will_at')} ELSE {_WRONG_WILL} END",
        "sessions whose will has impossible values",
        repair=", ".join(f"{column} = NULL" for column in (*_WILL, "will_at")),
    ),
    Rule(
        "sessions",
        # Nobody else gets the session, and its own client, who brings them again, need not be without it.
        _NO_TEXT_OR_NULL.format("rights"),
        "sessions whose token's rights cannot be read",
        repair="rights = ''",
    ),
    Rule(
        "subscriptions",
        # Without it, rights are asked about the filter that there is.
        f"asked <> '' AND ({_NO_FILTER.format('asked')})",  # NULL is what the server subscribed the client to
        "subscriptions that were asked for with a filter that is none",
        repair="asked = ''",
    ),
    Rule(
        "subscriptions",
        _any(
            _NO_FILTER.format("topic_filter"),
            _NO_QOS.format("qos"),
            _each(_NO_FLAG, "no_local", "retain_as_published"),
            "IFNULL(retain_handling, -1) NOT IN (0, 1, 2)",
            f"identifier IS NOT NULL AND ({_not_within('identifier', 1, 268_435_455)})",
        ),
        "subscriptions with impossible values",
    ),
    *(
        Rule(
            table,
            _NO_MOMENT.format("published_at"),
            f"{words} messages published at an impossible time",
            repair="published_at = 0.0",
        )
        for table, words in (("messages", "owed"), ("retained", "retained"), ("delayed", "delayed"))
    ),
    Rule("messages", _NO_TEXT.format("sender"), "messages whose publisher's name cannot be read", repair="sender = ''"),
    Rule(
        "messages",
        _any(
            _not_within("id", 0, _MOST),
            _NO_NAME.format("topic"),
            _each(_NO_BLOB, "data", "properties"),
            _NO_QOS.format("qos"),
            _NO_FLAG.format("retain"),
            _NO_MOMENT_OR_NULL.format("expires_at"),
            _not_within("count", 1, _MOST_MESSAGES),
            *(f"typeof({column}) <> 'integer' OR {column} < 0" for column in ("body", "id_at")),
            "length(data) % count <> 0 OR body > length(data) / count OR id_at > length(data) / count",
        ),
        "messages with impossible values",
    ),
    Rule(
        "deliveries",
        # It says only who else may have the message where this session ends.
        f"IFNULL(share, 0) <> '' AND ({_NO_FILTER.format('share')})",
        "deliveries whose shared subscription is none",
        repair="share = ''",
    ),
    Rule(
        "deliveries",
        _any(
            _not_within("position", 0, _MOST),
            "typeof(message_id) <> 'integer'",
            _not_within("first", 0, _MOST_MESSAGES),
            _not_within("count", 1, _MOST_MESSAGES),
            "IFNULL(qos, -1) NOT IN (1, 2)",
            _NO_FLAG.format("retain"),
            _each(_NO_BLOB, "identifiers", "done", "received"),
        ),
        "deliveries with impossible values",
    ),
    Rule(
        "deliveries",
        f"done <> {_BITS.format('done')} OR received <> {_BITS.format('received')}",
        "deliveries with more acknowledgements than messages",
        repair=f"done = {_BITS.format('done')}, received = {_BITS.format('received')}",
    ),
    Rule(
        "deliveries",
        f"{_FIELDS.format('done')} AND is_settled(done, count)",
        "deliveries of which nothing is owed any more",
        harmless=True,
    ),
    Rule("unreleased", _not_within("packet_id", 1, 65_535), "unreleased packets with impossible values"),
    Rule(
        "retained",
        _NO_TEXT.format("sender"),
        "retained messages whose publisher's name cannot be read",
        repair="sender = ''",
    ),
    Rule(
        "retained",
        _any(
            _NO_NAME.format("topic"),
            _each(_NO_BLOB, "payload", "properties"),
            _NO_QOS.format("qos"),
            _NO_MOMENT_OR_NULL.format("expires_at"),
        ),
        "retained messages with impossible values",
    ),
    Rule(
        "delayed",
        _NO_TEXT.format("sender"),
        "delayed messages whose publisher's name cannot be read",
        repair="sender = ''",
    ),
    Rule(
        "delayed",
        _any(
            _not_within("id", 0, _MOST),
            _each(_NO_MOMENT, "due", "delay"),
            _NO_NAME.format("topic"),
            _each(_NO_BLOB, "payload", "properties"),
            _NO_QOS.format("qos"),
            _NO_FLAG.format("retain"),
            _NO_MOMENT_OR_NULL.format("expires_at"),
        ),
        "delayed messages with impossible values",
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
        # One that claims to be of a million would make all after it look wrong.
        "(session_id, position) IN (SELECT session_id, position FROM (SELECT session_id, position, "  # noqa: S608
        "lag(position + count) OVER (PARTITION BY session_id ORDER BY position) AS earlier FROM deliveries "
        f"WHERE count BETWEEN 1 AND {_MOST_MESSAGES}) WHERE position < earlier)",
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
    functions: tuple[tuple[str, int, Callable[..., Any]], ...] = (
        ("lowest_bits", 2, _lowest_bits),
        ("is_settled", 2, _is_settled),
        ("is_text", 1, _is_text),
        ("is_topic_name", 1, _is_topic_name),
        ("is_topic_filter", 1, _is_topic_filter),
    )
    for name, count, function in functions:
        connection.create_function(name, count, function, deterministic=True)


def _is_text(value: Any) -> bool:
    return _decode(value) is not None


def _is_topic_name(value: Any) -> bool:
    text = _decode(value)
    try:
        check_name(text or "")
    except InvalidTopic:
        return False
    return True


def _is_topic_filter(value: Any) -> bool:
    """Tell whether somebody may have subscribed to it, shared or not."""
    text = _decode(value)
    try:
        check_filter(split_share(text or "")[1])
    except InvalidTopic:
        return False
    return True


def _decode(value: Any) -> str | None:
    try:
        return value.decode() if isinstance(value, bytes) else None
    except UnicodeDecodeError:
        return None


def _is_settled(done: Any, count: Any) -> bool:
    """Tell whether a bit field says of all of so many messages that they are acknowledged."""
    if not isinstance(done, bytes) or not isinstance(count, int) or not 1 <= count <= _MOST_MESSAGES:
        return False
    everything = (1 << count) - 1
    return int.from_bytes(done[: (count + 7) // 8], "little") & everything == everything


def _lowest_bits(field: Any, count: Any) -> Any:
    """Cut a little-endian bit field to so many bits, in its shortest form; what is none stays as it is."""
    if not isinstance(field, bytes) or not field or not isinstance(count, int) or count < 1:
        return field
    bits = int.from_bytes(field, "little") & ((1 << min(count, len(field) * 8)) - 1)
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")
