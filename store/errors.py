"""What can go wrong in the store; `message` is a sentence for whoever asked and never holds a secret."""


class StoreError(Exception):
    """Be the root of all errors of the store."""

    def __init__(self, message: str) -> None:
        # What it quotes may hold what would steer a terminal, or what no answer in UTF-8 can carry.
        shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in message)
        super().__init__(shown)
        self.message = shown


class Invalid(StoreError):
    """Refuse a value that breaks a rule of the model."""


class NotFound(StoreError):
    """Say that the record to be changed or deleted does not exist."""


class AlreadyExists(StoreError):
    """Say that a record of this name exists."""


class UnknownReference(Invalid):
    """Refuse a change that names a role, group, user, tenant or other record that does not exist."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"The {kind} '{name[:200]}' does not exist.")
        self.kind = kind
        """`role`, `group`, `user`, `client id`, `tenant`, `integration`, ..."""
        self.name = name


class CircularReference(Invalid):
    """Refuse a change after which a record would depend on itself."""


class InUse(StoreError):
    """Say that the record cannot go or change because another one needs it as it is."""


class Overloaded(StoreError):
    """Say that too much work is waiting already; nothing was done."""


class DatabaseUnavailable(StoreError):
    """Say that the database could not be opened, read or written; nothing was changed."""


class DatabaseDamaged(StoreError):
    """Say that the file is not a database of this program or is damaged; it was left as it is."""


class DatabaseTooNew(StoreError):
    """Say that a newer release wrote the database; it was left as it is."""
