"""Who is kept out."""

from ...store import records
from ...store.errors import NotFound
from ..encoding import Page
from ..paging import paginate
from ..routes import Call
from .fields import shown_time
from .models_bans import Ban, BanQuery, NewBan


async def list_bans(call: Call[BanQuery, None]) -> Page:
    """List bans, oldest first."""
    query = call.query
    part = query.like or ""

    def wanted(ban: records.Ban) -> bool:
        return query.who_type in (None, ban.who_type) and part in ban.who

    return await paginate(list(call.state.directory.bans.all()), query, _show, keep=wanted)


async def create_ban(call: Call[None, NewBan]) -> Ban:
    """Keep somebody out from now on; live sessions are closed."""
    new = call.body
    ban = await call.state.directory.bans.create(
        new.who_type, new.who, by=new.by, reason=new.reason, until=new.until, **call.origin
    )
    return _show(ban)


async def get_ban(call: Call[None, None]) -> Ban:
    """Show one ban."""
    ban = call.state.directory.bans.get(call.path["who_type"], call.path["who"])
    if ban is None:
        raise NotFound(f"There is no ban of '{call.path['who'][:200]}'.")
    return _show(ban)


async def delete_ban(call: Call[None, None]) -> None:
    """Let somebody in again."""
    await call.state.directory.bans.delete(call.path["who_type"], call.path["who"], **call.origin)


async def delete_bans(call: Call[None, None]) -> None:
    """Let everybody in again."""
    await call.state.directory.bans.delete_all(**call.origin)


def _show(ban: records.Ban) -> Ban:
    return {
        "who_type": ban.who_type,
        "who": ban.who,
        "by": ban.by,
        "reason": ban.reason,
        "at": shown_time(ban.at) or "",
        "until": shown_time(ban.until),
    }
