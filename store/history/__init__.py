"""What has been, recorded in a database of its own, `history.db`: a burst of it never delays the control plane."""

from .history_store import HistoryStore

__all__ = ["HistoryStore"]
