"""The part of the route table about the configuration."""

from typing import Any

from ...routes import Route
from .table_configs import CONFIG_ROUTES
from .table_data import DATA
from .table_listeners import LISTENER_ROUTES

SETTINGS: tuple[Route[Any, Any], ...] = (*LISTENER_ROUTES, *CONFIG_ROUTES, *DATA)
