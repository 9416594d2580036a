"""The part of the route table about traces."""

from typing import Any

from ...routes import Route

TRACING: tuple[Route[Any, Any], ...] = ()
