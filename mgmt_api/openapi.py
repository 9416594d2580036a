"""The OpenAPI document of a facade, written from its route table."""

from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from .routes import Facade, Route

_COMPONENTS = "#/components/schemas/{model}"
_ERROR = "#/components/schemas/Error"
_FILE = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_FILE_ERRORS: dict[int, tuple[str, ...]] = {413: ("BAD_REQUEST",)}
_BODY_ERRORS: dict[int, tuple[str, ...]] = {**_FILE_ERRORS, 415: ("UNSUPPORTED_MEDIA_TYPE",)}


def documented_errors(facade: Facade, route: Route[Any, Any]) -> dict[int, tuple[str, ...]]:
    """List the errors of an operation by status: its own and those that its checks bring."""
    errors: dict[int, tuple[str, ...]] = {} if route.public else dict(facade.caller_errors)
    if route.body is not None:
        errors |= _FILE_ERRORS if route.takes_file else _BODY_ERRORS
    if route.body is not None or route.query is not None:
        errors[400] = ("BAD_REQUEST",)
    for status, codes in route.errors.items():
        errors[status] = tuple(dict.fromkeys((*errors.get(status, ()), *codes)))
    return dict(sorted(errors.items()))


def document(facade: Facade, version: str) -> dict[str, Any]:
    """Describe every operation of a facade, OpenAPI 3.1."""
    schemas = _Schemas(facade)
    paths: dict[str, dict[str, Any]] = {}
    for index, route in enumerate(facade.routes):
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(facade, index, route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": facade.title, "version": version},
        "servers": [{"url": facade.prefix}],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {name: dict(scheme) for name, scheme in facade.security.items()},
        },
    }


class _Schemas:
    """Generate the schemas of all types of a table at once, so that shared ones are written once."""

    def __init__(self, facade: Facade) -> None:
        inputs: list[tuple[tuple[int, str], JsonSchemaMode, TypeAdapter[Any]]] = []
        for index, route in enumerate(facade.routes):
            if (body := route.body_adapter) is not None:
                inputs.append(((index, "body"), "validation", body))
            for status, answer in _answers(route).items():
                inputs.append(((index, str(status)), "serialization", TypeAdapter(answer)))
        self._by_key, definitions = TypeAdapter.json_schemas(
            inputs, ref_template=_COMPONENTS, schema_generator=GenerateJsonSchema
        )
        self.components: dict[str, Any] = {**definitions.get("$defs", {}), "Error": _ERROR_SCHEMA}

    def of(self, index: int, part: str) -> dict[str, Any]:
        """Return the schema of a body or an answer."""
        mode: JsonSchemaMode = "validation" if part == "body" else "serialization"
        return self._by_key[((index, part), mode)]


_ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
}


def _answers(route: Route[Any, Any]) -> dict[int, Any]:
    bodies: dict[int, Any] = {route.status: route.answer, **route.other_answers}
    return {status: answer for status, answer in bodies.items() if answer is not None}


def _operation(facade: Facade, index: int, route: Route[Any, Any], schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": getattr(route.handler, "__name__", f"operation_{index}"),
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": _responses(facade, index, route, schemas),
        "security": [] if route.public else [{name: []} for name in facade.security],
    }
    if route.takes_file:
        operation["requestBody"] = {"required": True, "content": _FILE}
    elif route.body is not None:
        schema = schemas.of(index, "body")
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _path_parameters(route: Route[Any, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in route.path_parameters
    ]


def _query_parameters(route: Route[Any, Any]) -> list[dict[str, Any]]:
    model = route.query_model
    if model is None:
        return []
    parameters: list[dict[str, Any]] = []
    for name, schema in model.model_json_schema()["properties"].items():
        described: dict[str, Any] = {key: value for key, value in schema.items() if key not in ("title", "description")}
        parameter: dict[str, Any] = {"name": name, "in": "query", "required": False, "schema": described}
        if "description" in schema:
            parameter["description"] = schema["description"]
        parameters.append(parameter)
    return parameters


def _responses(facade: Facade, index: int, route: Route[Any, Any], schemas: _Schemas) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, codes in documented_errors(facade, route).items():
        responses[str(status)] = {
            "description": ", ".join(codes),
            "content": {"application/json": {"schema": {"$ref": _ERROR}}},
        }
    for status in (route.status, *route.other_answers):
        response: dict[str, Any] = {"description": route.summary if status == route.status else "see the schema"}
        if (status, route.answer) == (route.status, str):
            response["content"] = {"text/plain": {"schema": {"type": "string"}}}
        elif status in _answers(route):
            response["content"] = {"application/json": {"schema": schemas.of(index, str(status))}}
        responses[str(status)] = response
    return dict(sorted(responses.items()))
