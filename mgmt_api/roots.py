"""All roots of the configuration that the API can change, in the order in which they are put in force at the start."""

from typing import Any

from .configuration import Root

ROOTS: tuple[Root[Any], ...] = ()
