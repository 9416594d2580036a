"""What the files in a data directory are called; imports nothing, for tools that only look for them."""

DATABASE_NAME = "wardenmq.db"
SESSIONS_NAME = "sessions.db"
HISTORY_NAME = "history.db"
CREDENTIALS_NAME = "initial-credentials.json"
OPERATOR_TOKEN_NAME = "operator-token"  # noqa: S105 (a file name)
