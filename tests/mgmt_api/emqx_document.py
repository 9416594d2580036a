"""EMQX's own OpenAPI document, where it is at hand: its operations, and its schemas in a form that jsonschema takes."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError

FILE = Path(__file__).parents[3] / "shared" / "reference" / "emqx-ce-5.8-openapi.json"
METHODS = ("GET", "POST", "PUT", "DELETE")


@cache
def document() -> dict[str, Any]:
    """Read the document; skips the test where there is none."""
    if not FILE.exists():
        pytest.skip(f"EMQX's own document is not at {FILE}, so there is nothing to compare with")
    return json.loads(FILE.read_text())


def operations() -> dict[tuple[str, str], dict[str, Any]]:
    """Give the operations by method and path."""
    return {
        (method.upper(), path): operation
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
        if method.upper() in METHODS
    }


def follow(node: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference, if it is one."""
    while "$ref" in node:
        found: Any = document()
        for step in node["$ref"].split("/")[1:]:
            found = found[step.replace("~1", "/").replace("~0", "~")]
        node = found
    return node


def query_parameters(method: str, path: str) -> dict[str, dict[str, Any]]:
    """Give the query parameters of an operation by name."""
    found = [follow(parameter) for parameter in operations()[method, path].get("parameters", [])]
    return {parameter["name"]: parameter for parameter in found if parameter["in"] == "query"}


def success_statuses(method: str, path: str) -> set[int]:
    """Give the statuses below 400 that an operation may answer with."""
    return {int(status) for status in operations()[method, path]["responses"] if status.isdigit() and int(status) < 400}


def answer_schema(method: str, path: str, status: int) -> dict[str, Any] | None:
    """Give the schema of an answer; None where the document has none for it."""
    response = operations()[method, path]["responses"].get(str(status))
    if response is None:
        return None
    content: Mapping[str, Any] = follow(response).get("content", {}).get("application/json", {})
    return content.get("schema")


def problems(schema: dict[str, Any], value: object) -> Iterator[str]:
    """Tell where a value is not what a schema says, place and sentence."""
    validator = Draft7Validator({**_understood(schema), "components": _components()})
    for error in validator.iter_errors(value):
        yield from _described(error)


def _described(error: ValidationError) -> Iterator[str]:
    place = "/".join("*" if isinstance(step, int) else str(step) for step in error.absolute_path)
    yield f"{place}: {error.validator}"


@cache
def _components() -> dict[str, Any]:
    return {"schemas": {name: _understood(s) for name, s in document()["components"]["schemas"].items()}}


def _understood(schema: Any) -> Any:
    """Turn what OpenAPI 3.0 means by a schema into a JSON Schema."""
    if isinstance(schema, list):
        return [_understood(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}
    # Its unions are written as oneOf, though a text may be a time and a word at once: one that fits is enough.
    turned = {
        "anyOf" if name == "oneOf" else name: _understood(part) if name != "enum" else part
        for name, part in schema.items()
        if name not in ("example", "examples", "default", "nullable", "deprecated", "format")
    }
    if schema.get("nullable") and isinstance(schema.get("type"), str):
        turned["type"] = [schema["type"], "null"]
    return turned
