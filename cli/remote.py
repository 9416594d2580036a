"""The way to a server that runs: its management API, with the operator token that lies in its data directory.

The token is told to nobody but the owner of that directory: on each connection, before anything else, whoever answers
has to prove to have the key in the lock file. A server that has just ended leaves its port to anybody.
"""

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..mgmt_api.operator.address import IDENTITY_PATH, PREFIX, VIA_COMMAND_LINE, VIA_HEADER
from ..store.lock import Owner, new_challenge
from .failures import Unusable

_IDENTITY_TIMEOUT = 10.0
_MAX_PROOF = 4_096
_TIMEOUT = 60.0
_SLOW_TIMEOUT = 3_600.0
"""For files: a hundred thousand passwords in plain text take the server an hour to hash."""
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class Unreachable(Exception):
    """Say that the owner does not answer at its address, nobody or somebody else does; it may have ended."""


class RemoteTransport:
    """Make requests over one connection, without a proxy: the token goes to this machine's server alone."""

    def __init__(self, owner: Owner, url: str, data_dir: Path) -> None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        self._connection = http.client.HTTPConnection(
            _ANY_ADDRESS.get(host, host), parts.port, timeout=_IDENTITY_TIMEOUT
        )
        # Never by itself: whoever answers on a new connection has proved nothing yet.
        self._connection.auto_open = 0
        self._owner = owner
        self._url = url
        self._data_dir = data_dir
        self._token = ""

    def open(self) -> None:
        """Read the token, connect, and find out who answers. Raises `Unusable` or `Unreachable`."""
        self._token = _read_token(self._data_dir)
        try:
            self._connection.connect()
        except OSError as error:
            raise Unreachable(
                f"its management API at {self._url} cannot be reached: {error.strerror or error}"
            ) from None
        self._check_identity()

    def call(self, method: str, path: str, query_string: str, content_type: str, data: bytes) -> tuple[int, bytes]:
        """Send one request and read its answer. Raises `Unusable`."""
        headers = {"Authorization": f"Bearer {self._token}", VIA_HEADER: VIA_COMMAND_LINE, "Accept": "application/json"}
        if content_type:
            headers["Content-Type"] = content_type
        target = f"{PREFIX}{path}" + (f"?{query_string}" if query_string else "")
        if self._connection.sock is None:
            try:
                self.open()
            except Unreachable as unreachable:
                raise Unusable(f"The server's connection was lost, and {unreachable}.") from None
        if self._connection.sock is not None:
            self._connection.sock.settimeout(_SLOW_TIMEOUT if content_type == "application/octet-stream" else _TIMEOUT)
        try:
            self._connection.request(method, target, data, headers)
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            sentence = f"The management API at {self._url} gave no answer: {_reason(error)}."
            raise Unusable(sentence if method == "GET" else f"{sentence} The change may have been made.") from None
        if response.status in (401, 403):
            raise Unusable(
                f"The server does not take the operator token in {_token_file(self._data_dir)}: it is another server's."
            )
        if response.getheader("Content-Type", "").partition(";")[0] != "application/json" and response.status != 204:
            raise Unusable(f"What answers at {self._url} is not this release of wardenmq.")
        return response.status, answer

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _check_identity(self) -> None:
        """Have whoever answers on this connection prove to be the owner. Raises `Unreachable`."""
        challenge = new_challenge()
        try:
            self._connection.request(
                "GET", f"{PREFIX}{IDENTITY_PATH}?challenge={challenge}", headers={"Accept": "application/json"}
            )
            with self._connection.getresponse() as response:
                answer = response.read(_MAX_PROOF)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"its management API at {self._url} gave no answer: {_reason(error)}") from None
        if not self._owner.is_proved(challenge, _proof(answer)):
            raise Unreachable(f"who answers at {self._url} is not the owner, or not of this release")


def _proof(answer: bytes) -> str:
    """Take the proof out of an answer that anybody may have written."""
    try:
        proof: Any = json.loads(answer)["proof"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return proof if isinstance(proof, str) else ""


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def _token_file(data_dir: Path) -> Path:
    from ..store.file_names import OPERATOR_TOKEN_NAME

    return data_dir / OPERATOR_TOKEN_NAME


def _read_token(data_dir: Path) -> str:
    file = _token_file(data_dir)
    try:
        token = file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise Unusable(f"The operator token cannot be read from {file}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Unusable(f"There is no operator token in {file}.") from None
    if not token or not token.isprintable() or " " in token:
        raise Unusable(f"There is no operator token in {file}.")
    return token
