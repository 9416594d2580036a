"""The catalogue of error codes."""

from typing_extensions import TypedDict

from ...errors import ApiError
from ...routes import Call

CATALOGUE = {
    "BAD_USERNAME_OR_PWD": "The user name or the password is wrong",
    "BAD_API_KEY_OR_SECRET": "The API key or its secret is wrong",
    "BAD_REQUEST": "The request is malformed or says something that cannot be",
    "NOT_MATCH": "The conditions do not match",
    "ALREADY_EXISTS": "What is to be created exists already",
    "BAD_CONFIG_SCHEMA": "The configuration does not fit its schema",
    "BAD_LISTENER_ID": "The listener's id is unknown or malformed",
    "BAD_NODE_NAME": "No node has this name",
    "BAD_RPC": "A call to another node failed",
    "BAD_TOPIC": "The topic is malformed",
    "EXCEED_LIMIT": "There would be more than there may be",
    "INVALID_PARAMETER": "A parameter is outside its range",
    "CONFLICT": "Something else is in the way",
    "NO_DEFAULT_VALUE": "There is no default to go back to",
    "DEPENDENCY_EXISTS": "Something else still needs it",
    "MESSAGE_ID_SCHEMA_ERROR": "The message id is malformed",
    "INVALID_ID": "The id is malformed",
    "MESSAGE_ID_NOT_FOUND": "No message has this id",
    "NOT_FOUND": "There is no such thing",
    "CLIENTID_NOT_FOUND": "No client has this id",
    "CLIENT_NOT_FOUND": "There is no such client",
    "RESOURCE_NOT_FOUND": "There is no such resource",
    "TOPIC_NOT_FOUND": "There is no such topic",
    "USER_NOT_FOUND": "There is no such user",
    "INTERNAL_ERROR": "The server failed",
    "SERVICE_UNAVAILABLE": "The server cannot do this now",
    "SOURCE_ERROR": "A source failed",
    "UPDATE_FAILED": "The change failed",
    "REST_FAILED": "Going back to the default failed",
    "CLIENT_NOT_RESPONSE": "The client does not answer",
    "UNSUPPORTED_MEDIA_TYPE": "The body's media type is not the one that is taken",
}


class ErrorCode(TypedDict):
    """Describe a code."""

    code: str
    description: str


async def list_codes(call: Call[None, None]) -> list[ErrorCode]:
    """List all codes."""
    return [{"code": code, "description": description} for code, description in CATALOGUE.items()]


async def get_code(call: Call[None, None]) -> ErrorCode:
    """Describe a code."""
    code = call.path["code"]
    if code not in CATALOGUE:
        raise ApiError(404, "NOT_FOUND", "There is no such error code")
    return {"code": code, "description": CATALOGUE[code]}
