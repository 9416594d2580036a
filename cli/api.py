"""The operator's API as a command sees it, whether a server answers or the data directory is opened for the purpose."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

from ..mgmt_api.operator.address import MAX_TARGET, PREFIX
from .failures import Refused, Unusable
from .output import show
from .table import Column, format_fields, format_table
from .transport import Transport

_PAGE = 10_000
"""Rows of one request; the server looks at the whole list for each."""
_MAX_TARGET = MAX_TARGET - len(PREFIX) - 1
"""Bytes of path and query; what is longer is refused in either state, though only a server could not take it."""
Query = Mapping[str, object]


class Api:
    """Make requests and print what comes back; the way there is found when the first is made."""

    def __init__(self, data_dir: Path | None, config: Path | None, *, as_json: bool) -> None:
        self.as_json = as_json
        self._data_dir = data_dir
        self._config = config
        self._transport: Transport | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._transport is not None:
            self._transport.close()

    def call(
        self,
        method: str,
        *segments: str,
        query: Query | None = None,
        body: object = None,
        file: bytes | None = None,
    ) -> Any:
        """Make one request and return its JSON, None where there is none.

        The path's segments may hold anything; None in `query` is left out. Raises `Failure` or a `StoreError`.
        """
        try:
            path = "".join(f"/{_encode_segment(segment)}" for segment in segments)
            query_string = _encode_query(query or {})
            data = file or (b"" if body is None else json.dumps(body, ensure_ascii=False).encode())
        except UnicodeEncodeError:
            raise Unusable("An argument is not valid UTF-8.") from None
        if len(path) + len(query_string) > _MAX_TARGET:
            raise Refused("The names and topics of this command are too long together.")
        content_type = "application/json" if body is not None else "application/octet-stream" if file else ""
        status, answer = self._connected().call(method, path, query_string, content_type, data)
        value: Any = json.loads(answer) if answer else None
        if status >= 400:
            raise Refused(value["message"])
        return value

    def collect(self, *segments: str, query: Query | None = None) -> dict[str, Any]:
        """Get all pages of a list as one."""
        rows: list[Any] = []
        page: dict[str, Any] = {"meta": {"hasnext": True}}
        number = 1
        while page["meta"]["hasnext"]:
            page = self.call("GET", *segments, query={**(query or {}), "page": number, "limit": _PAGE})
            rows += page["data"]
            number += 1
        return {"data": rows, "meta": {"page": 1, "limit": max(len(rows), 1), "hasnext": False, "count": len(rows)}}

    def print_rows(self, page: Mapping[str, Any], columns: Sequence[Column], nothing: str) -> None:
        """Print a list: the page itself, or a table of its rows; `nothing` is what an empty one is told by."""
        if self.as_json:
            self.print_json(page)
        elif page["data"]:
            show(format_table(page["data"], columns))
        else:
            show(nothing, aside=True)

    def print_record(self, record: Mapping[str, Any], columns: Sequence[Column]) -> None:
        """Print one record: all of it, or its columns one below the other."""
        if self.as_json:
            self.print_json(record)
        else:
            show(format_fields(record, columns))

    def print_json(self, value: object) -> None:
        """Print an answer as the API gave it."""
        lines = json.dumps(value, ensure_ascii=False, indent=2).split("\n")
        show("\n".join(line if line.isprintable() else _escape(line) for line in lines).encode())

    def print_done(self, sentence: str) -> None:
        """Say what was done where there is nothing else to show; to a script nothing."""
        if not self.as_json:
            show(sentence)

    def _connected(self) -> Transport:
        if self._transport is None:
            from .connecting import connect

            self._transport = connect(self._data_dir, self._config)
        return self._transport


def _encode_segment(segment: str) -> str:
    if not segment:
        raise Unusable("A name must not be empty.")
    # "." and ".." would mean something to whatever reads the path on its way.
    return quote(segment, safe="") if segment.strip(".") else segment.replace(".", "%2E")


def _escape(line: str) -> str:
    """Write what a terminal might obey as JSON's own escapes: nothing but a string can hold it."""
    return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in line)


def _encode_query(query: Query) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return urlencode(
        {name: json.dumps(value) if isinstance(value, bool) else str(value) for name, value in given.items()}
    )
