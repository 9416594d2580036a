"""The route table: each row says all there is to say about one operation.

The table drives the registration with aiohttp, the checks on a request, the OpenAPI document and the tests that
walk it. Handlers get what the checks have made of the request and return plain data.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from re import compile as compile_pattern
from typing import Annotated, Any, BinaryIO, Generic, NamedTuple, TypeVar, get_origin

from aiohttp import web
from pydantic import BaseModel, FailFast, Field, TypeAdapter

from ..store.records import ApiRole
from ..store.writer import Origin
from .errors import ApiError
from .limits import MAX_ENTRIES
from .multipart import MEDIA_TYPE as MULTIPART
from .multipart import UploadedFile
from .state import ApiState

Q = TypeVar("Q")
B = TypeVar("B")

_PARAMETER = compile_pattern(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Caller:
    """Name who sent a request."""

    name: str
    """For the audit log."""
    role: ApiRole
    facade: str = ""
    """What the audit log names as the way the request came; empty for the facade's own name."""
    user: str = ""
    """The dashboard user, where one is logged in."""
    token: str = field(default="", repr=False)
    """What the dashboard user showed, so that a logout can end it."""


@dataclass(frozen=True, slots=True)
class Call(Generic[Q, B]):
    """Hand a checked request to its handler; `query` and `body` are of the route's models."""

    state: ApiState
    path: Mapping[str, str]
    """The path's parameters, percent-decoded."""
    query: Q
    body: B
    origin: Origin
    """Who writes and by which facade, for the store's audit log."""
    caller: Caller | None = None
    """Who calls; None where the route is public."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """The request's headers, whatever the case of their names; they hold the caller's credential."""
    peer_host: str = ""
    """The address that the request came from."""

    @property
    def accept(self) -> str:
        """The Accept header."""
        return self.headers.get("Accept", "")


class OpenFile(NamedTuple):
    """A file that is sent piece by piece, however large it is, and then closed."""

    file: BinaryIO
    size: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer with another status, type or headers than the route's own."""

    body: object
    """Data, text, or bytes that are sent as they are, or an `OpenFile`."""
    status: int
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Route(Generic[Q, B]):
    """Describe one operation."""

    method: str
    path: str
    """Relative to the facade's prefix, parameters as `{name}`; each fills one segment."""
    handler: Callable[[Call[Q, B]], Awaitable[object]]
    summary: str
    tag: str
    query: type[Q] | None = None
    body: type[B] | None = None
    """The model of a JSON body; `bytes` for a file that is taken as it comes, `str` for text, `UploadedFile` for a form
    with one file, in the field `file_field`."""
    file_field: str = "filename"
    body_forms: Mapping[str, object] = field(default_factory=dict[str, object])
    """Types by media type of what a body that is `bytes` may hold, where the handler itself tells which it is."""
    max_body_size: int | None = None
    """Bytes of the body, where it is not the API's own limit."""
    max_entries: int = MAX_ENTRIES
    """Entries of a body that is a list."""
    answer: object = None
    """The type of the answer's body; None for none, `str` for text, `bytes` for a file."""
    answer_type: str = ""
    """The media type of the answer, where it is not the one that its type usually has."""
    other_types: Mapping[str, object] = field(default_factory=dict[str, object])
    """Types by media type of the same answer in another form."""
    status: int = 200
    other_answers: Mapping[int, object] = field(default_factory=dict[int, object])
    """Further statuses with bodies that are not the facade's error shape."""
    errors: Mapping[int, tuple[str, ...]] = field(default_factory=dict[int, tuple[str, ...]])
    """The error codes of this operation by status, beyond those that every operation has."""
    roles: frozenset[ApiRole] | None = None
    """Who may call it besides administrators; None: viewers, if it only reads."""
    public: bool | Callable[[ApiState], bool] = False
    """Whether it asks for no credential; where that can be configured, what is asked at each request."""
    bearer_only: bool = False
    """Whether it is for dashboard users alone, so that no API key opens it."""

    @property
    def path_parameters(self) -> tuple[str, ...]:
        """Name the path's parameters in their order."""
        return tuple(_PARAMETER.findall(self.path))

    @property
    def query_model(self) -> type[BaseModel] | None:
        """The query model, as what it is to pydantic."""
        model = self.query
        return model if model is not None and issubclass(model, BaseModel) else None

    @property
    def body_type(self) -> str:
        """The media type of the body."""
        kinds: dict[object, str] = {bytes: "application/octet-stream", str: "text/plain", UploadedFile: MULTIPART}
        return kinds.get(self.body, "application/json")

    @property
    def body_adapter(self) -> TypeAdapter[Any] | None:
        """What checks a JSON body; of a list it reports the first entry that is wrong, and no more than that."""
        if self.body is None or self.body in (bytes, str, UploadedFile):
            return None
        body: Any = self.body
        if get_origin(body) is list:
            body = Annotated[body, FailFast(), Field(max_length=self.max_entries)]
        return TypeAdapter(body)

    def is_public(self, state: ApiState) -> bool:
        """Tell whether it asks for no credential now."""
        return self.public if isinstance(self.public, bool) else self.public(state)

    def admits(self, role: ApiRole) -> bool:
        """Tell whether a role may call this operation."""
        if role == "administrator":
            return True
        if self.roles is not None:
            return role in self.roles
        return role == "viewer" and self.method == "GET"


@dataclass(frozen=True)
class Facade:
    """Bind a route table to a prefix, a way to tell who calls and a shape of errors."""

    name: str
    """For the audit log."""
    title: str
    prefix: str
    routes: tuple[Route[Any, Any], ...]
    authenticate: Callable[[web.Request, ApiState], Caller]
    """Say who sends a request; raises `ApiError` 401."""
    forbidden: ApiError
    """What a caller is told whose role does not suffice."""
    error_body: Callable[[ApiError], object]
    security: Mapping[str, Mapping[str, str]]
    """How callers name themselves: OpenAPI's security schemes by name."""
    caller_errors: Mapping[int, tuple[str, ...]]
    """The error codes by status that whoever may not call is told, whatever the operation."""
    bearer_required: Callable[[Route[Any, Any]], ApiError] | None = None
    """What somebody is told who shows an API key where it opens nothing, right or wrong."""
