"""Who wrote what."""

import asyncio

from ...store.records import AuditEntry
from ..encoding import SLICE, Page, encode_rows
from ..routes import Call
from .fields import shown_time
from .models_bans import AuditQuery, AuditRow


async def list_entries(call: Call[AuditQuery, None]) -> Page:
    """List entries of the audit log, newest first."""
    query = call.query

    async def read(before: int | None, limit: int) -> list[AuditEntry]:
        return await call.state.directory.audit.entries(
            since=query.since,
            until=query.until,
            actor=query.actor,
            facade=query.facade,
            action=query.action,
            target=query.target,
            before_id=before,
            limit=limit,
        )

    entries = await read(query.before, query.limit)
    hasnext = len(entries) == query.limit and bool(await read(entries[-1].id, 1))
    slices: list[bytes] = []
    for start in range(0, len(entries), SLICE):
        slices.append(encode_rows([_show(entry) for entry in entries[start : start + SLICE]]))
        await asyncio.sleep(0)
    return Page(slices, {"limit": query.limit, "hasnext": hasnext})


def _show(entry: AuditEntry) -> AuditRow:
    return {
        "id": entry.id,
        "at": shown_time(entry.at) or "",
        "actor": entry.actor,
        "facade": entry.facade,
        "action": entry.action,
        "target": entry.target,
        "detail": dict(entry.detail),
    }
