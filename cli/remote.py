"""The way to a server that runs: its management API, with the operator token that lies in its data directory."""

import http.client
from pathlib import Path
from urllib.parse import urlsplit

from .failures import Unusable

_TIMEOUT = 60.0
_SLOW_TIMEOUT = 3_600.0
"""For files: a hundred thousand passwords in plain text take the server an hour to hash."""
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class Unreachable(Exception):
    """Say that nobody answers at the server's address; it may have ended."""


class RemoteTransport:
    """Make requests over one connection, without a proxy: the token goes to this machine's server alone."""

    def __init__(self, url: str, data_dir: Path) -> None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        self._connection = http.client.HTTPConnection(_ANY_ADDRESS.get(host, host), parts.port, timeout=_TIMEOUT)
        self._url = url
        self._data_dir = data_dir
        self._token = ""

    def open(self) -> None:
        """Read the token and connect. Raises `Unusable` or `Unreachable`."""
        self._token = _read_token(self._data_dir)
        try:
            self._connection.connect()
        except OSError as error:
            raise Unreachable(
                f"its management API at {self._url} cannot be reached: {error.strerror or error}"
            ) from None

    def call(self, method: str, path: str, query_string: str, content_type: str, data: bytes) -> tuple[int, bytes]:
        """Send one request and read its answer. Raises `Unusable`."""
        from ..mgmt_api.operator.address import PREFIX, VIA_COMMAND_LINE, VIA_HEADER

        headers = {"Authorization": f"Bearer {self._token}", VIA_HEADER: VIA_COMMAND_LINE, "Accept": "application/json"}
        if content_type:
            headers["Content-Type"] = content_type
        target = f"{PREFIX}{path}" + (f"?{query_string}" if query_string else "")
        if self._connection.sock is not None:
            self._connection.sock.settimeout(_SLOW_TIMEOUT if content_type == "application/octet-stream" else _TIMEOUT)
        try:
            self._connection.request(method, target, data, headers)
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
            raise Unusable(
                f"The management API at {self._url} gave no answer: {reason}. The change may have been made."
                if method != "GET"
                else f"The management API at {self._url} gave no answer: {reason}."
            ) from None
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
