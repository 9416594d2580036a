"""Rows of a damaged database read from the bytes of its file, page by page, whatever leads to them.

Where an inner page of a table is lost, all below it is out of SQLite's reach, though it may be most of the table; and
of a page that is damaged in part SQLite reads nothing. Here each page with rows is read that is not marked as free. To
which table a row belongs is seen by the number and the types of its columns. The format is described at
https://www.sqlite.org/fileformat2.html.
"""

import mmap
import sqlite3
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .key_search import Key
from .salvage import Row, TableShape, key_of

_INDEX_INNER, _INDEX_LEAF, _TABLE_LEAF = 0x02, 0x0A, 0x0D
_MAGIC = b"SQLite format 3\0"
_HEADER_SIZE = 100
_PAGE_SIZE = 4_096
"""What ours have; for a file that does not say it any more."""
_PAGE_SIZE_AT, _RESERVED_AT, _FREE_AT, _FREE_COUNT_AT = 16, 20, 32, 36
_CLASSES = {"INTEGER": int, "REAL": float, "TEXT": str, "BLOB": bytes}
_INTEGER_SIZES = (0, 1, 2, 3, 4, 6, 8)
_REAL, _ZERO, _ONE, _BYTES = 7, 8, 9, 12
"""Kinds of a column; those below are integers, the last and all above it bytes or texts."""


class Unfit(ValueError):
    """Say that bytes are not what they would have to be."""


@dataclass(frozen=True, slots=True)
class RowKind:
    """Tell rows of a table from those of others."""

    shape: TableShape
    types: tuple[str, ...]
    required: tuple[bool, ...]
    kept: tuple[int, ...]
    """Which column of the table comes where in what is kept."""
    rowid_at: int | None
    """The column that is the rowid."""

    @property
    def has_rowid(self) -> bool:
        """Whether the table is ordered by rowid."""
        return self.shape.key == ("rowid",)

    def fit(self, rowid: int | None, values: Sequence[Any]) -> tuple[Key, Row] | None:
        """Give key and columns; None where it is no row of this table."""
        if (rowid is not None) != self.has_rowid or len(values) != len(self.types):
            return None
        row: list[Any] = [None] * len(values)
        for at, value in zip(self.kept, values, strict=True):
            row[at] = value
        if self.rowid_at is not None:
            row[self.rowid_at] = rowid
        if not all(map(_is_typed, row, self.types, self.required)):
            return None
        columns = dict(zip(self.shape.columns, row, strict=True))
        return key_of([rowid] if self.has_rowid else [columns[name] for name in self.shape.key]), tuple(row)


def row_kinds(connection: sqlite3.Connection, shapes: Sequence[TableShape]) -> list[RowKind]:
    """List the kinds of rows that cannot be mistaken for each other, nor for entries of an index.

    Asks a sound database of the same schema. Raises sqlite3.Error.
    """
    kinds = [_kind(connection, shape) for shape in shapes]
    signatures = Counter((kind.has_rowid, kind.types) for kind in kinds)
    for kind in kinds:
        columns = dict(zip(kind.shape.columns, kind.types, strict=True))
        for index in connection.execute(f"PRAGMA index_list({kind.shape.name})").fetchall():
            indexed = connection.execute(f"PRAGMA index_info({index[1]})").fetchall()
            signatures[False, (*(columns[str(column[2])] for column in indexed), "INTEGER")] += 1
    return [kind for kind in kinds if signatures[kind.has_rowid, kind.types] == 1 and _CLASSES.keys() >= {*kind.types}]


class PageScan:
    """Read a file that nobody writes and whose log is empty."""

    def __init__(self, path: Path) -> None:
        """Map the file. Raises OSError, or ValueError where there is nothing in it."""
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._page_size, self._usable, self._free = _PAGE_SIZE, _PAGE_SIZE, set[int]()
        has_header = self._data[: len(_MAGIC)] == _MAGIC and len(self._data) > _HEADER_SIZE
        if has_header:
            size = int.from_bytes(self._data[_PAGE_SIZE_AT : _PAGE_SIZE_AT + 2], "big")
            self._page_size = 65_536 if size == 1 else size
            self._usable = self._page_size - self._data[_RESERVED_AT]
        if self._page_size < 512 or self._page_size & (self._page_size - 1):
            raise Unfit("pages of no possible size")
        self._count = len(self._data) // self._page_size
        if has_header:
            self._free = self._list_free()
        self.knows_what_is_free = has_header and len(self._free) == self._number(_FREE_COUNT_AT)
        """Whether no page is read that holds what was deleted."""

    def close(self) -> None:
        """Let go of the file."""
        self._data.close()

    def rows(
        self, kinds: Sequence[RowKind], is_wanted: Callable[[TableShape, Key], bool]
    ) -> Iterator[tuple[TableShape, Row]]:
        """Give the rows of these kinds whose keys are wanted."""
        for number in range(2, self._count + 1):
            if number in self._free:
                continue
            for cell in self._cells(number):
                with suppress(Unfit, IndexError, struct.error):
                    rowid, values = self._record(number, cell)
                    for kind in kinds:
                        found = kind.fit(rowid, values)
                        if found is not None and is_wanted(kind.shape, found[0]):
                            yield kind.shape, found[1]

    def _list_free(self) -> set[int]:
        """List the pages that are marked as free, as far as the list can be read."""
        found: set[int] = set()
        trunk = self._number(_FREE_AT)
        while 0 < trunk <= self._count and trunk not in found:
            found.add(trunk)
            offset = (trunk - 1) * self._page_size
            count = min(self._number(offset + 4), self._usable // 4 - 2)
            found.update(struct.unpack_from(f">{count}I", self._data, offset + 8))
            trunk = self._number(offset)
        return found

    def _number(self, offset: int) -> int:
        return int.from_bytes(self._data[offset : offset + 4], "big")

    def _cells(self, number: int) -> list[int]:
        """List where in the file the cells of a page with rows begin; none where it cannot be such a page."""
        start = (number - 1) * self._page_size
        kind = self._data[start]
        if kind not in (_INDEX_INNER, _INDEX_LEAF, _TABLE_LEAF):
            return []
        header = 12 if kind == _INDEX_INNER else 8
        count = int.from_bytes(self._data[start + 3 : start + 5], "big")
        if count > (self._usable - header) // 4:
            return []
        cells = struct.unpack_from(f">{count}H", self._data, start + header)
        return [start + cell for cell in cells if header + 2 * count <= cell < self._usable]

    def _record(self, number: int, cell: int) -> tuple[int | None, list[Any]]:
        """Read the rowid, where there is one, and the columns."""
        start = (number - 1) * self._page_size
        kind, rowid = self._data[start], None
        size, at = _read_varint(self._data, cell + 4 if kind == _INDEX_INNER else cell)
        if kind == _TABLE_LEAF:
            rowid, at = _read_varint(self._data, at)
        usable = self._usable
        most = usable - 35 if kind == _TABLE_LEAF else (usable - 12) * 64 // 255 - 23
        local = size
        if size > most:
            least = (usable - 12) * 32 // 255 - 23
            local = least + (size - least) % (usable - 4)
            local = local if local <= most else least
        if not 0 <= size <= len(self._data) or at + local > start + usable:
            raise Unfit("a record beyond its page")
        data = self._data[at : at + local]
        if size > local:
            data += self._overflow(self._number(at + local), size - local)
        return rowid, _read_columns(data)

    def _overflow(self, number: int, size: int) -> bytes:
        """Read what did not find room in its page."""
        parts: list[bytes] = []
        while size:
            if not 1 < number <= self._count or number in self._free:
                raise Unfit("a page that is not there")
            offset, length = (number - 1) * self._page_size, min(size, self._usable - 4)
            parts.append(self._data[offset + 4 : offset + 4 + length])
            size -= length
            number = self._number(offset)
        return b"".join(parts)


def _kind(connection: sqlite3.Connection, shape: TableShape) -> RowKind:
    found = connection.execute(f"PRAGMA table_info({shape.name})").fetchall()
    keys = [at for _, at in sorted((column[5], at) for at, column in enumerate(found) if column[5])]
    rowid_at = None
    kept = list(range(len(found)))
    if shape.key == ("rowid",):
        if len(keys) == 1 and found[keys[0]][2] == "INTEGER":
            rowid_at = keys[0]
    else:
        kept = [*keys, *(at for at in kept if at not in keys)]
    types = tuple(str(column[2]) for column in found)
    required = tuple(bool(column[3]) for column in found)
    return RowKind(shape, types, required, tuple(kept), rowid_at)


def _is_typed(value: object, kind: str, required: bool) -> bool:
    if value is None:
        return not required
    return isinstance(value, _CLASSES[kind]) or (kind == "REAL" and isinstance(value, int))


def _read_columns(data: bytes) -> list[Any]:
    size, at = _read_varint(data, 0)
    end, values = size, list[Any]()
    while at < size:
        kind, at = _read_varint(data, at)
        value, end = _read_value(data, kind, end)
        values.append(value)
    if end != len(data):
        raise Unfit("a record of another length")
    return values


def _read_value(data: bytes, kind: int, at: int) -> tuple[Any, int]:
    if kind < _REAL:
        end = at + _INTEGER_SIZES[kind]
        return int.from_bytes(data[at:end], "big", signed=True) if kind else None, end
    if kind == _REAL:
        return struct.unpack_from(">d", data, at)[0], at + 8
    if kind in (_ZERO, _ONE):
        return kind - _ZERO, at
    if kind < _BYTES:
        raise Unfit("a kind that is never written")
    end = at + (kind - _BYTES) // 2
    if kind % 2 == 0:
        return data[at:end], end
    try:
        return data[at:end].decode(), end
    except UnicodeDecodeError:
        raise Unfit("a text that is none") from None


def _read_varint(data: bytes | mmap.mmap, at: int) -> tuple[int, int]:
    """Read a number of one to nine bytes and tell where it ends."""
    value = 0
    for offset in range(at, at + 8):
        byte = data[offset]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, offset + 1
    value = value << 8 | data[at + 8]
    return value - (value >> 63 << 64), at + 9
