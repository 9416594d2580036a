"""Calls about data backups."""

import gzip
import io
import tarfile
from collections.abc import Mapping

from . import CallRow

NAME = "emqx-export-2026-01-31-12-00-00.000.tar.gz"
META = b'version = "0"\nedition = "wardenmq"\nformat = 1\n'


def archive(files: Mapping[str, bytes], folder: str = "emqx-export-2026-01-31-12-00-00.000") -> bytes:
    """Pack files into an archive as a backup is one."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as stream, tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in files.items():
            header = tarfile.TarInfo(f"{folder}/{name}")
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return packed.getvalue()


_FILE = "/data/files/{filename}"
_ONE = {"filename": NAME}
_WRONG = {"filename": "one.zip"}
_BROKEN = "broken.tar.gz"
_UNKNOWN = {"filename": "nobody.tar.gz"}

CALLS: list[CallRow] = [
    ("GET", "/data/files", {}, "", None, 200),
    ("POST", "/data/files", {}, "", (NAME, archive({"META.hocon": META})), 204),
    ("POST", "/data/files", {}, "", (NAME, archive({"META.hocon": META})), 400),
    ("POST", "/data/files", {}, "", ("one.zip", b""), 400),
    ("POST", "/data/files", {}, "", (_BROKEN, b"no archive"), 400),
    ("POST", "/data/export", {}, "", None, 200),
    ("POST", "/data/export", {}, "", {"table_sets": ["banned", "psk"], "root_keys": ["mqtt"]}, 200),
    ("POST", "/data/export", {}, "", {"table_sets": ["nobody"]}, 400),
    ("POST", "/data/export", {}, "", {"root_keys": ["nobody"]}, 400),
    ("GET", "/data/files", {}, "page=1&limit=2", None, 200),
    ("GET", "/data/files", {}, "limit=0", None, 400),
    ("POST", "/data/import", {}, "", {"filename": NAME}, 204),
    ("POST", "/data/import", {}, "", {"filename": "nobody.tar.gz"}, 400),
    ("POST", "/data/import", {}, "", {"filename": NAME, "node": "nobody"}, 400),
    ("POST", "/data/import", {}, "", {}, 400),
    ("GET", _FILE, _ONE, "", None, 200),
    ("GET", _FILE, _ONE, "node=nobody", None, 400),
    ("GET", _FILE, _WRONG, "", None, 400),
    ("GET", _FILE, _UNKNOWN, "", None, 404),
    ("DELETE", _FILE, _ONE, "", None, 204),
    ("DELETE", _FILE, _ONE, "", None, 404),
    ("DELETE", _FILE, _WRONG, "", None, 400),
]
