"""The files of Swagger UI that lie beside this module, ready to be sent; nothing of them comes from another host."""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from ...later import Later
from ...state import Part

FOLDER = Path(__file__).with_name("static") / "swagger-ui"
PAGE = "index.html"
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".png": "image/png",
}
_PACKED = frozenset({".html", ".css", ".js"})


@dataclass(frozen=True, slots=True)
class Asset:
    """Hold one file."""

    content_type: str
    data: bytes = field(repr=False)
    packed: bytes | None = field(repr=False)
    """The same with gzip, where that makes it smaller."""
    tag: str
    """The ETag, without what tells the two forms apart."""


SwaggerUi = Mapping[str, Asset]


def read_swagger_ui() -> SwaggerUi:
    """Read all files by name; blocks for the time that it takes to pack them."""
    assets: dict[str, Asset] = {}
    for path in sorted(FOLDER.iterdir()):
        content_type = _TYPES.get(path.suffix)
        if content_type is not None:
            data = path.read_bytes()
            packed = gzip.compress(data, mtime=0) if path.suffix in _PACKED else None
            assets[path.name] = Asset(content_type, data, packed, sha256(data).hexdigest()[:32])
    return assets


SWAGGER_UI: Part[Later[SwaggerUi]] = Part(lambda _: Later(read_swagger_ui))
"""The files, read when somebody asks for one first."""
