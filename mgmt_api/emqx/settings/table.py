"""The part of the route table about the configuration."""

from typing import Any

from ...routes import Route

SETTINGS: tuple[Route[Any, Any], ...] = ()
