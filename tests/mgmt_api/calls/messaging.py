"""Calls about what is done with messages."""

from . import CallRow

CALLS: list[CallRow] = []
