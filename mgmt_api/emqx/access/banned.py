"""Who is kept out."""

import asyncio
import json
from collections.abc import Sequence
from time import thread_time
from typing import get_args

from ....store import records
from ....store.acl.regular_expressions import MAX_TEXT, RegularExpression
from ....store.errors import AlreadyExists, NotFound
from ....store.networks import parse_address
from ....store.records import BanType
from ...encoding import SLICE, Page
from ...errors import ApiError, bad_request
from ...paging import paginate
from ...routes import Call
from .models_banned import INFINITY, Ban, BanQuery, NewBan, format_seconds

_EXACT: dict[str, BanType] = {"clientid": "clientid", "username": "username", "peerhost": "peerhost"}
_LIKE: dict[str, tuple[BanType, ...]] = {
    "like_clientid": ("clientid", "clientid_re"),
    "like_username": ("username", "username_re"),
    "like_peerhost": ("peerhost",),
    "like_peerhost_net": ("peerhost_net",),
}
_SEARCH_SECONDS = 0.005
"""What one search may cost."""
_ALL_SECONDS = 1.0
"""What all searches of one request may cost."""
_TURN = 0.003
"""After how long others have their turn."""


async def list_bans(call: Call[BanQuery, None]) -> Page:
    """List the bans that hold, oldest first."""
    query = call.query
    given = [name for name in (*_EXACT, *_LIKE) if getattr(query, name) is not None]
    if len(given) > 1:
        raise bad_request(f"too_many_filters: {', '.join(given)}")
    bans: Sequence[records.Ban] = call.state.directory.bans.all()
    name = given[0] if given else ""
    if name in _EXACT:
        wanted, kind = str(getattr(query, name)), _EXACT[name]
        if kind == "peerhost":
            parse_address(wanted)
        found = call.state.directory.bans.get(kind, wanted)
        bans = [] if found is None else [found]
    elif name in _LIKE:
        bans = await _search(bans, _LIKE[name], str(getattr(query, name)))
    return await paginate(bans, query, show_ban, counted=name not in _LIKE)


async def create_ban(call: Call[None, NewBan]) -> Ban:
    """Keep somebody out from now on; live sessions are closed."""
    new, bans = call.body, call.state.directory.bans
    try:
        ban = await bans.create(
            new.as_,
            new.who,
            by=new.by,
            reason=new.reason,
            at=new.at,
            until=None if isinstance(new.until, str) else new.until,
            **call.origin,
        )
    except AlreadyExists as error:
        known = bans.get(new.as_, new.who)
        message = error.message if known is None else json.dumps(show_ban(known), ensure_ascii=False)
        raise bad_request(message, "ALREADY_EXISTS") from None
    return show_ban(ban)


async def delete_ban(call: Call[None, None]) -> None:
    """Let somebody in again."""
    kind, who = call.path["as"], call.path["who"]
    if kind not in get_args(BanType):
        raise bad_request(f"as: must be one of {', '.join(get_args(BanType))}")
    try:
        await call.state.directory.bans.delete(kind, who, **call.origin)
    except NotFound as error:
        raise ApiError(404, "NOT_FOUND", error.message) from None


async def delete_bans(call: Call[None, None]) -> None:
    """Let everybody in again."""
    await call.state.directory.bans.delete_all(**call.origin)


def show_ban(ban: records.Ban) -> Ban:
    """Show a ban."""
    return {
        "as": ban.who_type,
        "who": ban.who,
        "by": ban.by,
        "reason": ban.reason,
        "at": format_seconds(ban.at),
        "until": INFINITY if ban.until is None else format_seconds(ban.until),
    }


async def _search(bans: Sequence[records.Ban], kinds: tuple[BanType, ...], text: str) -> list[records.Ban]:
    """Find the bans that an expression fits, without holding the event loop; raises `ApiError` where it costs much.

    A name that is longer than what is searched in is not found.
    """
    expression = RegularExpression(text)
    found: list[records.Ban] = []
    spent, begun = 0.0, thread_time()
    for count, ban in enumerate(bans, 1):
        if ban.who_type in kinds and len(ban.who) <= MAX_TEXT:
            fits = expression.search(ban.who, _SEARCH_SECONDS)
            if fits is None:
                raise bad_request("the regular expression takes too long")
            if fits:
                found.append(ban)
        turn = thread_time() - begun
        if turn >= _TURN or count % SLICE == 0:
            spent += turn
            if spent > _ALL_SECONDS:
                raise bad_request("the regular expression takes too long")
            await asyncio.sleep(0)
            begun = thread_time()
    return found
