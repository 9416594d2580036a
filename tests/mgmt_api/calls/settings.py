"""Calls about the configuration."""

from . import CallRow

CALLS: list[CallRow] = []
