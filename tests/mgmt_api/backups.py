"""Export, upload, import: what a test of data backups says in a line."""

import json
from typing import Any

from .callers import V5, Api, Reply, form
from .calls.data import META, archive


async def exported(api: Api, *table_sets: str, **body: Any) -> str:
    """Export, and give the name of the file."""
    reply = await api.call("POST", f"{V5}/data/export", {"table_sets": [*table_sets], **body})
    assert reply.status == 200, reply.body
    return reply.json["filename"]


async def uploaded(api: Api, name: str, data: bytes) -> Reply:
    """Upload an archive."""
    body, headers = form(name, data)
    return await api.call("POST", f"{V5}/data/files", data=body, headers=headers)


async def imported(api: Api, name: str) -> Reply:
    """Import an archive that is there."""
    return await api.call("POST", f"{V5}/data/import", {"filename": name})


async def taken_over(api: Api, data: bytes, name: str = "given.tar.gz") -> Reply:
    """Upload and import an archive."""
    reply = await uploaded(api, name, data)
    assert reply.status == 204, reply.body
    return await imported(api, name)


def table(name: str, rows: list[Any]) -> bytes:
    """Make an archive with one table."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    return archive({"META.hocon": META, f"mnesia/{name}": text.encode()})
