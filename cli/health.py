"""What a server that runs says of itself to everybody."""

import http.client
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from ..store.examination import Finding

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_TIMEOUT = 10.0
_MAX_ANSWER = 65_536
_CHECK = "health"


def examine_health(url: str) -> "list[Finding]":
    """Ask the management API of a server for its health, without a credential and without a proxy."""
    from ..store.examination import Finding

    try:
        status, answer = _ask(url)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        return [Finding(_CHECK, "problem", f"The management API at {url} gives no answer: {reason}.")]
    if status == 200:
        return [Finding(_CHECK, "ok", "The server says that it is well.")]
    problems = _problems(answer)
    if status == 503 and problems:
        return [Finding(_CHECK, "problem", f"The server says: {problem}") for problem in problems]
    return [Finding(_CHECK, "warning", f"What answers at {url} does not tell its health (status {status}).")]


def _ask(url: str) -> tuple[int, bytes]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection = http.client.HTTPConnection(_ANY_ADDRESS.get(host, host), parts.port, timeout=_TIMEOUT)
    try:
        connection.request("GET", "/health", headers={"Accept": "application/json"})
        with connection.getresponse() as response:
            return response.status, response.read(_MAX_ANSWER)
    finally:
        connection.close()


def _problems(answer: bytes) -> list[str]:
    """Take the sentences out of an answer that anybody may have written."""
    try:
        found: Any = json.loads(answer)["problems"]
        return [str(problem["message"]) for problem in found]
    except (ValueError, LookupError, TypeError, RecursionError):
        return []
