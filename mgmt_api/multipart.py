"""Files out of a `multipart/form-data` body (RFC 7578), which is there as a whole and bounded.

Only what an upload needs: of all parts the one file of a field.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from .errors import bad_request

MEDIA_TYPE = "multipart/form-data"
MAX_PARTS = 16
_MAX_HEADERS = 8_192
_MAX_BOUNDARY = 70
"""RFC 2046, 5.1.1."""
_MAX_NAME = 1_000
_PARAMETER = re.compile(r';\s*([A-Za-z*]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))')
_WRONG = "Invalid multipart/form-data received"


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """Hold a file as it was sent; nobody may take the name for a path that is safe."""

    name: str
    data: bytes = field(repr=False)


def read_file(data: bytes, content_type: str, name: str) -> UploadedFile:
    """Return the one file that the field `name` holds; raises `ApiError` 400. `content_type` is the whole header."""
    found: UploadedFile | None = None
    for head, content in _parts(data, _boundary(content_type)):
        parameters = _disposition(head)
        if parameters.get("name") != name:
            continue
        file_name = parameters.get("filename*") or parameters.get("filename")
        if not file_name:
            raise bad_request(f"body: {name}: must be a file with a name")
        if found is not None:
            raise bad_request(f"body: {name}: must be one file")
        found = UploadedFile(file_name[:_MAX_NAME], content)
    if found is None:
        raise bad_request(f"body: {name}: Field required")
    return found


def _boundary(content_type: str) -> bytes:
    _, semicolon, parameters = content_type.partition(";")
    boundary = _parameters(semicolon + parameters).get("boundary", "")
    if not 0 < len(boundary) <= _MAX_BOUNDARY or not boundary.isascii():
        raise bad_request(_WRONG)
    return boundary.encode()


def _parts(data: bytes, boundary: bytes) -> list[tuple[bytes, bytes]]:
    """Split a body into the headers and the content of each part; what stands around the parts is left out."""
    delimiter = b"\r\n--" + boundary
    position = 0 if data.startswith(delimiter[2:]) else data.find(delimiter)
    if position < 0:
        raise bad_request(_WRONG)
    position += len(delimiter) if position or data.startswith(delimiter) else len(delimiter) - 2
    parts: list[tuple[bytes, bytes]] = []
    while not data.startswith(b"--", position):
        begin = data.find(b"\r\n", position)
        # white space may follow a boundary, and nothing else
        if begin < 0 or begin - position > _MAX_BOUNDARY or data[position:begin].strip(b" \t"):
            raise bad_request(_WRONG)
        end = data.find(delimiter, begin)
        if end < 0 or len(parts) == MAX_PARTS:
            raise bad_request(_WRONG)
        blank = data.find(b"\r\n\r\n", begin, end)
        if blank < 0 or blank - begin > _MAX_HEADERS:
            raise bad_request(_WRONG)
        parts.append((data[begin:blank], data[blank + 4 : end]))
        position = end + len(delimiter)
    return parts


def _disposition(head: bytes) -> dict[str, str]:
    """Return the parameters of a part's Content-Disposition."""
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.strip().lower() == b"content-disposition":
            kind, semicolon, parameters = value.decode(errors="replace").partition(";")
            if kind.strip().lower() != "form-data":
                raise bad_request(_WRONG)
            return _parameters(semicolon + parameters)
    raise bad_request(_WRONG)


def _parameters(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for match in _PARAMETER.finditer(text):
        key, quoted, bare = match.group(1).lower(), match.group(2), match.group(3)
        value = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        # RFC 8187 names a character set before the value; browsers write quotes as %22 all the same
        found[key] = unquote(value.split("'", 2)[-1]) if key.endswith("*") else value.replace("%22", '"')
    return found
