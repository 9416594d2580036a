"""Turn what pydantic found wrong into one sentence for the person who wrote the configuration."""

import difflib
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Union, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError

from .errors import ConfigError

Location = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Name one layer of the configuration, preposition included, and hold what it said."""

    name: str
    values: Mapping[str, Any]

    def holds(self, location: Location) -> bool:
        """Tell whether this layer has something at the location."""
        value: object = self.values
        for step in location:
            if not isinstance(value, Mapping) or step not in value:
                return False
            value = cast("Mapping[object, object]", value)[step]
        return True


def explain(model: type[BaseModel], error: ValidationError, sources: Iterable[Source]) -> str:
    """Make one sentence of the first error, with the source that said it; sources come topmost first."""
    details = error.errors(include_url=False, include_context=False)
    # A misspelt name is the cause of whatever is missing besides.
    first = next((detail for detail in details if detail["type"] == "extra_forbidden"), details[0])
    location: Location = first["loc"]
    # What is missing no source holds, but one of them has the mapping that it is missing from.
    held = location[:-1] if first["type"] == "missing" else location
    said_by = next((source.name for source in sources if source.holds(held)), None)
    where = f" {said_by}" if said_by else ""
    name = ".".join(str(step) for step in location)
    if first["type"] == "extra_forbidden":
        return f"Unknown key '{name}'{where}{did_you_mean(str(location[-1]), known_keys(model, location[:-1]))}"
    reason = first["msg"].removeprefix("Value error, ").rstrip(".")
    if first["type"] in ("model_type", "dict_type"):
        reason = "must be a mapping"
    return f"The setting '{name}'{where} is not usable: {reason[:1].lower()}{reason[1:]}."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """End a sentence with the nearest known word, or with all of them where none is near."""
    choices = sorted(known)
    near = difflib.get_close_matches(word.lower(), choices, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known here are {', '.join(choices)}." if choices else "."


def known_keys(model: type[BaseModel], location: Location) -> list[str]:
    """List the keys that the model knows at a location; empty where any key goes."""
    annotation: object = model
    for step in location:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            field = annotation.model_fields.get(str(step))
            annotation = field.annotation if field is not None else None
        else:
            # A mapping of sections: whatever the entry is called, its value has the same keys.
            arguments = get_args(annotation)
            annotation = arguments[1] if get_origin(annotation) is dict else None
        if get_origin(annotation) in (Union, types.UnionType):
            annotation = next((one for one in get_args(annotation) if one is not type(None)), None)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return list(annotation.model_fields)
    return []


def check_environment(sections: Iterable[str], environment: Mapping[str, str], prefix: str) -> None:
    """Refuse a variable PREFIX<SECTION>__<NAME> whose section does not exist; raises ConfigError.

    Names without "__" are left alone: Kubernetes sets such ones (WARDENMQ_PORT, ...) for a service called wardenmq.
    """
    known = list(sections)
    for variable in environment:
        section, separator, _ = variable.upper().removeprefix(prefix).partition("__")
        if variable.upper().startswith(prefix) and separator and section.lower() not in known:
            hint = did_you_mean(section.lower(), known)
            raise ConfigError(f"Unknown section '{section.lower()}' in the environment variable {variable}{hint}")
