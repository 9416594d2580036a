"""From the bytes of a request to the models of its route.

Messages name the place and the rule, never the value: it may be a password.
"""

from collections.abc import Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin
from urllib.parse import unquote_plus

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from .errors import ApiError, bad_request

_MAX_PROBLEMS = 5
_MAX_MESSAGE = 1_000
_INVALID_JSON = "Invalid json message received"


def read_query(query_string: str, model: type[BaseModel]) -> BaseModel:
    """Check a query: of a repeated scalar the last value counts, arrays take all, a bare key is true."""
    given: dict[str, object] = {}
    for item in query_string.split("&"):
        key, equals, value = item.partition("=")
        name = _unquote(key)
        info = model.model_fields.get(name)
        if info is None:
            continue
        if not equals:
            if not _accepts(info.annotation, bool):
                raise bad_request(f"query: {name}: needs a value")
            given[name] = True
        elif _accepts(info.annotation, list):
            values = given.setdefault(name, [])
            if isinstance(values, list):
                values.append(_unquote(value))  # pyright: ignore[reportUnknownMemberType]
        else:
            given[name] = _unquote(value)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise bad_request(_describe(_problems(error), "query")) from None


def check_type(data: bytes, content_type: str, required: str) -> None:
    """Refuse a body of another media type, where there is a body. Raises `ApiError` 415."""
    if data and content_type != required:
        raise ApiError(415, "UNSUPPORTED_MEDIA_TYPE", f"content-type:{required} Required")


def read_text(data: bytes, content_type: str) -> str:
    """Take a body as text in UTF-8, whatever it is called unless that is a form with parts or JSON."""
    if content_type in ("application/json", "multipart/form-data"):
        check_type(data, content_type, "text/plain")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise bad_request("body: is not UTF-8") from None


def read_body(data: bytes, content_type: str, adapter: TypeAdapter[Any]) -> object:
    """Check a JSON body; none at all counts as an empty object."""
    check_type(data, content_type, "application/json")
    try:
        return adapter.validate_json(data or b"{}")
    except ValidationError as error:
        problems = _problems(error)
        if problems[0]["type"] == "json_invalid":
            raise bad_request(_INVALID_JSON) from None
        raise bad_request(_describe(problems, "body")) from None


def describe_problems(error: ValidationError, where: str) -> str:
    """Say what is wrong with a value that came in another way than as a body."""
    return _describe(_problems(error), where)


def _problems(error: ValidationError) -> list[ErrorDetails]:
    """List what is wrong; each call makes the whole list anew."""
    return error.errors(include_url=False, include_context=False, include_input=False)


def _describe(problems: Sequence[ErrorDetails], where: str) -> str:
    """Say what is wrong with which field, without repeating what was sent."""
    sentences = [
        ": ".join((where, *(str(part) for part in problem["loc"]), problem["msg"].removeprefix("Value error, ")))
        for problem in problems[:_MAX_PROBLEMS]
    ]
    if len(problems) > _MAX_PROBLEMS:
        sentences.append(f"and {len(problems) - _MAX_PROBLEMS} more")
    return "; ".join(sentences)[:_MAX_MESSAGE]


def _unquote(text: str) -> str:
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise bad_request("query: is not UTF-8") from None


def _accepts(annotation: Any, wanted: type) -> bool:
    """Tell whether a field's type is, or is a union with, `wanted`."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return any(_accepts(part, wanted) for part in get_args(annotation))
    return annotation is wanted or origin is wanted
