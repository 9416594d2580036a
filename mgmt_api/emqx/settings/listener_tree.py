"""The root `listeners` as a whole: listeners by type and name, for the configuration's own operations."""

from typing import Any, cast

from pydantic import ValidationError

from ...decoding import describe_problems
from ...errors import bad_request
from ...routes import Call
from ...state import ApiState
from .listener_forms import SECRET, settled
from .listeners import (
    LISTENERS,
    MAX_LISTENERS,
    changing_listeners,
    check_bind,
    keep_files,
    overlay,
    shown_definitions,
    stored_of,
)
from .models_listeners import KINDS, NAME_PATTERN, ChangedListeners, StoredListener


def listener_tree(state: ApiState) -> dict[str, dict[str, Any]]:
    """Show all listeners, without secrets."""
    tree: dict[str, dict[str, Any]] = {}
    for definition in shown_definitions(state):
        fields = stored_of(state, definition).model_dump(mode="json", exclude_none=True)
        if "password" in fields.get("ssl_options", {}):
            fields["ssl_options"]["password"] = SECRET
        tree.setdefault(definition.kind, {})[definition.name] = fields
    return tree


async def change_tree(call: Call[Any, Any], value: Any) -> None:
    """Put listeners in force, and store them; those that are not named stay. Raises `ApiError` 400."""
    async with changing_listeners(call, *ids_of(value)) as changes:
        await changes.put(LISTENERS, await read_tree(call.state, value, replace=False))


def ids_of(value: Any) -> list[str]:
    """List the listeners that are named; raises `ApiError` 400."""
    return [f"{kind}:{name}" for kind, name, _ in _entries(value)]


async def read_tree(state: ApiState, value: Any, *, replace: bool) -> ChangedListeners:
    """Make of listeners that are sent what is to be kept; raises `ApiError` 400.

    Those that are not named stay, unless all are to be replaced. Nobody else may change them meanwhile.
    """
    present = {each.listener_id: each for each in shown_definitions(state)}
    wanted: dict[str, StoredListener] = {}
    for kind, name, fields in _entries(value):
        listener_id = f"{kind}:{name}"
        definition = present.get(listener_id)
        if definition is not None:
            before = stored_of(state, definition).model_dump(exclude_none=True)
            fields = _with_password(fields, before)  # noqa: PLW2901
            if not replace:
                fields = overlay(before, fields)  # noqa: PLW2901
        try:
            stored = settled(kind, StoredListener.model_validate(fields))
        except ValidationError as error:
            raise bad_request(describe_problems(error, f"{kind}.{name}")) from None
        if definition is not None:
            check_bind(state, definition, stored_of(state, definition).bind, stored.bind)
        wanted[listener_id] = await keep_files(state, listener_id, stored)
    if len(present.keys() | wanted.keys()) > MAX_LISTENERS:
        raise bad_request(f"more than {MAX_LISTENERS} listeners")
    if replace:
        configured = {each.listener_id for each in state.broker.configured_listeners.values() if each.kind in KINDS}
        return ChangedListeners(changed=wanted, deleted=sorted(configured - wanted.keys()))
    kept = state.configuration.get(LISTENERS)
    return ChangedListeners(
        changed={**kept.changed, **wanted}, deleted=[each for each in kept.deleted if each not in wanted]
    )


def _with_password(fields: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Put the password of a key back where what is sent is what it is shown as."""
    options = fields.get("ssl_options")
    if not isinstance(options, dict) or cast("dict[str, Any]", options).get("password") != SECRET:
        return fields
    password = before.get("ssl_options", {}).get("password")
    return {**fields, "ssl_options": {**cast("dict[str, Any]", options), "password": password}}


def _entries(value: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """List type, name and fields; raises `ApiError` 400."""
    entries: list[tuple[str, str, dict[str, Any]]] = []
    if not isinstance(value, dict):
        raise bad_request("must be listeners by type and name")
    for kind, by_name in cast("dict[str, Any]", value).items():
        if kind not in KINDS or not isinstance(by_name, dict):
            raise bad_request(f"{kind}: is none of the types {', '.join(KINDS)}")
        for name, fields in cast("dict[str, Any]", by_name).items():
            if not NAME_PATTERN.fullmatch(name) or not isinstance(fields, dict):
                raise bad_request(f"{kind}.{name}: is no listener")
            entries.append((kind, name, dict(cast("dict[str, Any]", fields))))
    return entries
