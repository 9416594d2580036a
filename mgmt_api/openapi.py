"""The OpenAPI document of a facade, written from its route table."""

from collections import Counter
from collections.abc import Mapping
from re import compile as compile_pattern
from typing import Any, cast

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from .multipart import UploadedFile
from .routes import Facade, Route

_NO_WORD = compile_pattern(r"\W+")
_COMPONENTS = "#/components/schemas/{model}"
_ERROR = "#/components/schemas/Error"
_BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
_BODY_ERRORS: dict[int, tuple[str, ...]] = {413: ("BAD_REQUEST",), 415: ("UNSUPPORTED_MEDIA_TYPE",)}


def documented_errors(facade: Facade, route: Route[Any, Any]) -> dict[int, tuple[str, ...]]:
    """List the errors of an operation by status: its own and those that its checks bring."""
    errors: dict[int, tuple[str, ...]] = {} if route.public is True else dict(facade.caller_errors)
    if route.bearer_only:
        errors[401] = (*errors[401], "API_KEY_NOT_ALLOW")
    if route.body is not None:
        errors |= _BODY_ERRORS
    if route.body is not None or route.query is not None or route.path_parameters:
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
            for media_type in route.body_forms:
                form: Any = route.body_forms[media_type]
                if form is not UploadedFile:
                    inputs.append(((index, f"body {media_type}"), "validation", TypeAdapter(form)))
            for status, answer in _answers(route).items():
                inputs.append(((index, str(status)), "serialization", TypeAdapter(answer)))
            for media_type in route.other_types:
                other: Any = route.other_types[media_type]
                inputs.append(((index, media_type), "serialization", TypeAdapter(other)))
        self._by_key, definitions = TypeAdapter.json_schemas(
            inputs, ref_template=_COMPONENTS, schema_generator=GenerateJsonSchema
        )
        self._short = _short_names(definitions.get("$defs", {}))
        found: dict[str, Any] = self._renamed(definitions.get("$defs", {}))
        self.components: dict[str, Any] = {self._short[name]: schema for name, schema in found.items()}
        self.components["Error"] = _ERROR_SCHEMA

    def _renamed(self, schemas: Any) -> Any:
        """Have references lead to the short names."""
        if isinstance(schemas, dict):
            read = cast("dict[str, Any]", schemas)
            return {key: self._renamed(value) if key != "$ref" else self._led(value) for key, value in read.items()}
        if isinstance(schemas, list):
            return [self._renamed(value) for value in cast("list[Any]", schemas)]
        return schemas

    def _led(self, reference: Any) -> Any:
        if not isinstance(reference, str):
            return self._renamed(reference)
        head, slash, name = reference.rpartition("/")
        return f"{head}{slash}{self._short.get(name, name)}"

    def of(self, index: int, part: str) -> dict[str, Any]:
        """Return the schema of a body or an answer."""
        mode: JsonSchemaMode = "validation" if part.startswith("body") else "serialization"
        return self._renamed(self._by_key[((index, part), mode)])


def _short_names(schemas: Mapping[str, Any]) -> dict[str, str]:
    """Shorten the names of models that are called alike in several modules: the whole path is nobody's business."""
    short = {name: ".".join(name.split("__")[-2:]) for name in schemas}
    taken = Counter(short.values())
    return {name: chosen if taken[chosen] == 1 else name for name, chosen in short.items()}


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
        "operationId": _NO_WORD.sub("_", f"{route.method.lower()}{route.path}").strip("_"),
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": _responses(facade, index, route, schemas),
        "security": _security(facade, route),
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": _body_content(index, route, schemas)}
    return operation


def _security(facade: Facade, route: Route[Any, Any]) -> list[dict[str, list[str]]]:
    """Say by which schemes a caller can name himself; an empty one stands for none at all."""
    if route.public is True:
        return []
    schemes = {
        name: scheme
        for name, scheme in facade.security.items()
        if not route.bearer_only or scheme["scheme"] == "bearer"
    }
    offered: list[dict[str, list[str]]] = [{name: []} for name in schemes]
    return offered if route.public is False else [*offered, {}]


def _body_content(index: int, route: Route[Any, Any], schemas: _Schemas) -> dict[str, Any]:
    """Describe the forms of a body by media type."""
    if not route.body_forms:
        return {route.body_type: {"schema": _body_schema(route) or schemas.of(index, "body")}}
    return {
        media_type: {"schema": _file_schema(route) if form is UploadedFile else schemas.of(index, f"body {media_type}")}
        for media_type, form in route.body_forms.items()
    }


def _body_schema(route: Route[Any, Any]) -> dict[str, Any] | None:
    """Describe a body that is no JSON."""
    if route.body is str:
        return {"type": "string"}
    if route.body is bytes:
        return _BINARY
    if route.body is UploadedFile:
        return _file_schema(route)
    return None


def _file_schema(route: Route[Any, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [route.file_field], "properties": {route.file_field: _BINARY}}


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
        content = _content(index, status, route, schemas)
        if content:
            response["content"] = content
        responses[str(status)] = response
    return dict(sorted(responses.items()))


def _content(index: int, status: int, route: Route[Any, Any], schemas: _Schemas) -> dict[str, Any]:
    """Describe the forms of an answer by media type."""
    answer = _answers(route).get(status)
    if answer is None:
        return {}
    if answer is bytes:
        content: dict[str, Any] = {route.answer_type or "application/octet-stream": {"schema": _BINARY}}
    elif answer is str:
        content = {route.answer_type or "text/plain": {"schema": {"type": "string"}}}
    else:
        content = {route.answer_type or "application/json": {"schema": schemas.of(index, str(status))}}
    if status == route.status:
        for media_type in route.other_types:
            content[media_type] = {"schema": schemas.of(index, media_type)}
    return content
