"""The part of the route table that says who may connect and do what."""

from typing import Any

from ...routes import Route
from .table_authentication import AUTHENTICATION
from .table_authorization import AUTHORIZATION
from .table_banned import BANNED

ACCESS: tuple[Route[Any, Any], ...] = (*AUTHENTICATION, *AUTHORIZATION, *BANNED)
