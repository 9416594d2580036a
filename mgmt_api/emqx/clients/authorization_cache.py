"""What is remembered of one client's rights."""

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from ....store.acl.access import ClientAccess
from ....store.records import PUBLISH
from ...routes import Call
from ...timestamps import to_milliseconds
from .clients import find_session


class CachedAccess(TypedDict):
    """What was decided on; `retain` of publishes alone."""

    action_type: Literal["publish", "subscribe"]
    qos: int
    retain: NotRequired[bool]


class CachedDecision(TypedDict):
    """One decision that is remembered."""

    access: CachedAccess
    topic: str
    result: Literal["allow", "deny"]
    updated_time: int


async def list_cache(call: Call[None, None]) -> list[CachedDecision]:
    """List what is remembered of a client's rights, oldest first."""
    access = find_session(call.state, call.path["clientid"]).identity.policy
    if not isinstance(access, ClientAccess):
        return []
    rows: list[CachedDecision] = []
    for kept in access.kept():
        asked: CachedAccess = {"action_type": "subscribe", "qos": kept.qos}
        if kept.operation == PUBLISH:
            asked = {"action_type": "publish", "qos": kept.qos, "retain": kept.retain}
        rows.append(
            {
                "access": asked,
                "topic": kept.topic,
                "result": "allow" if kept.allowed else "deny",
                "updated_time": to_milliseconds(kept.updated_at),
            }
        )
    return rows


async def clear_cache(call: Call[None, None]) -> None:
    """Have everything decided anew that a client wants to do from now on."""
    session = find_session(call.state, call.path["clientid"])
    if isinstance(session.identity.policy, ClientAccess):
        session.identity.policy.forget()
    if session.link is not None:
        session.link.forget_decisions()
