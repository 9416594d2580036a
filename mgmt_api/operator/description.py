"""The document of this API."""

from ..routes import Answer, Call


async def get_document(call: Call[None, None]) -> Answer:
    """Give the OpenAPI document."""
    return Answer(call.state.operator_document, 200)
