"""How a request fails: one exception with a wire meaning, and the one table from the store's errors to it."""

from collections.abc import Mapping

from ..store.errors import (
    AlreadyExists,
    CircularReference,
    InUse,
    Invalid,
    NotFound,
    Overloaded,
    StoreError,
    UnknownReference,
)


class ApiError(Exception):
    """End a request with a status, a code and a sentence that says what is wrong; never holds a secret."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


_STORE_ERRORS: tuple[tuple[type[StoreError], int, str], ...] = (
    (UnknownReference, 400, "UNKNOWN_REFERENCE"),
    (CircularReference, 400, "CIRCULAR_REFERENCE"),
    (Invalid, 400, "BAD_REQUEST"),
    (NotFound, 404, "NOT_FOUND"),
    (AlreadyExists, 409, "ALREADY_EXISTS"),
    (InUse, 409, "IN_USE"),
    (Overloaded, 503, "SERVICE_UNAVAILABLE"),
)


def from_store(error: StoreError) -> ApiError | None:
    """Translate what the store refuses; None for what is the server's own trouble."""
    for kind, status, code in _STORE_ERRORS:
        if isinstance(error, kind):
            return ApiError(status, code, error.message)
    return None


def bad_request(message: str, code: str = "BAD_REQUEST") -> ApiError:
    """Blame the request."""
    return ApiError(400, code, message)
