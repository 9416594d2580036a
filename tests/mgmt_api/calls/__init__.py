"""Calls to every operation, an area a module: rows of `CALLS` are made one after the other in one server.

Each row: method, path as in the route table, its path parameters, query, body, expected status. A body that is bytes is
sent as it is, a tuple of file name and bytes as a form with that file, all else as JSON.
"""

from typing import Any, TypeAlias

CallRow: TypeAlias = tuple[str, str, dict[str, str], str, Any, int]
