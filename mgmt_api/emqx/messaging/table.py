"""The part of the route table about what is done with messages beside routing them."""

from typing import Any

from ...routes import Route

MESSAGING: tuple[Route[Any, Any], ...] = ()
