"""A facade in this process: the same operations, without a socket, for a data directory whose server is stopped."""

from typing import Any

from ..store.errors import StoreError
from .errors import ApiError, from_store
from .operation import Operation, Reply, Request
from .paths import SegmentPath
from .routes import Caller, Facade, Route
from .state import ApiState


class LocalFacade:
    """Carry out a facade's operations for one caller, who has shown to be the operator by owning the files."""

    def __init__(self, facade: Facade, state: ApiState, caller: Caller) -> None:
        self._facade = facade
        self._state = state
        self._caller = caller

    async def call(
        self, method: str, path: str, query_string: str = "", content_type: str = "", data: bytes = b""
    ) -> Reply:
        """Answer a request; `path` is percent-encoded and relative to the prefix.

        Raises the store's errors that are no fault of the request.
        """
        route, parameters = self._find(method, path)
        operation = Operation(self._facade, route)
        try:
            return await operation.carry_out(
                self._state, Request(parameters, query_string, content_type, data), self._caller
            )
        except ApiError as error:
            return operation.refuse(error)
        except StoreError as error:
            known = from_store(error)
            if known is None:
                raise
            return operation.refuse(known)

    def _find(self, method: str, path: str) -> tuple[Route[Any, Any], dict[str, str]]:
        for route in self._facade.routes:
            if route.method == method and (parameters := SegmentPath(route.path).match(path)) is not None:
                return route, parameters
        raise LookupError(f"{self._facade.name} has no {method} {path}")
