"""Who answers: the owner of the data directory, as whoever may read the lock file there can find out."""

from pydantic import Field
from typing_extensions import TypedDict

from ..errors import ApiError
from ..paging import Query
from ..routes import Call


class IdentityQuery(Query):
    """Ask for a proof."""

    challenge: str = Field(pattern=r"\A[0-9a-f]{64}\z", description="32 random bytes, never the same again")


class Identity(TypedDict):
    """Prove who answers: HMAC-SHA-256 of the challenge, with the key in the lock file."""

    proof: str


async def prove_identity(call: Call[IdentityQuery, None]) -> Identity:
    """Prove to own the data directory."""
    prove = call.state.prove
    if prove is None:
        raise ApiError(404, "NOT_FOUND", "This server has no data directory of its own.")
    return {"proof": prove(call.query.challenge)}
