"""Calls about traces."""

from . import CallRow

CALLS: list[CallRow] = []
