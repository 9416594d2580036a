"""The credential store: SQLite on disk, the directory in memory, and the decisions taken from it."""
