"""The journal on disk: what persistent sessions are owed, in a database of its own."""

from .session_store import SessionStore

__all__ = ["SessionStore"]
