"""What can go wrong in the store; `message` is a sentence for whoever asked and never holds a secret."""


class StoreError(Exception):
    """Be the root of all errors of the store."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Invalid(StoreError):
    """Refuse a value that breaks a rule of the model."""


class NotFound(StoreError):
    """Say that the record to be changed or deleted does not exist."""


class AlreadyExists(StoreError):
    """Say that a record of this name exists."""


class Overloaded(StoreError):
    """Say that too much work is waiting already; nothing was done."""


class DatabaseUnavailable(StoreError):
    """Say that the database could not be opened, read or written; nothing was changed."""


class DatabaseDamaged(StoreError):
    """Say that the file is not a database of this program or is damaged; it was left as it is."""


class DatabaseTooNew(StoreError):
    """Say that a newer release wrote the database; it was left as it is."""
