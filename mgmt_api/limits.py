"""How much of one JSON body is looked at: a wrong body costs about as much as a right one."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

MAX_ENTRIES = 10_000
"""Entries of a list, unless its place says less."""
MAX_KEYS = 1_000
"""Keys of an object."""


def check_keys(value: Any) -> Any:
    """Refuse an object with very many keys before each of them is checked. Raises `ValueError`."""
    if isinstance(value, dict) and len(value) > MAX_KEYS:  # pyright: ignore[reportUnknownArgumentType]
        raise ValueError(f"there are more than {MAX_KEYS} keys")
    return value  # pyright: ignore[reportUnknownVariableType]


class Body(BaseModel):
    """An object that is sent to the API; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, value: Any) -> Any:
        return check_keys(value)
