"""The part of the route table about those who manage the broker."""

from typing import Any

from ...routes import Route

DASHBOARD: tuple[Route[Any, Any], ...] = ()
