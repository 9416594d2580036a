"""Calls about those who manage the broker."""

from . import CallRow

CALLS: list[CallRow] = []
