"""The root `listeners` as a whole: listeners by type and name, for the configuration's own operations."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

from pydantic import ValidationError

from ...decoding import describe_problems
from ...errors import bad_request
from ...routes import Call
from ...state import ApiState
from .listener_forms import SECRET, settled
from .listeners import LISTENERS, MAX_LISTENERS, keep_files, overlay, shown_definitions, stored_of
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


async def change_tree(call: Call[Any, Any], value: Any, *, replace: bool) -> Callable[[], Awaitable[object]]:
    """Check what is to become of the listeners, and give what brings it about; raises `ApiError` 400.

    Those that are not named stay, unless all are to be replaced.
    """
    state = call.state
    present = {each.listener_id: each for each in shown_definitions(state)}
    wanted: dict[str, StoredListener] = {}
    for kind, name, fields in _entries(value):
        listener_id = f"{kind}:{name}"
        definition = present.get(listener_id)
        if definition is not None and not replace:
            if fields.get("ssl_options", {}).get("password") == SECRET:
                del fields["ssl_options"]["password"]
            fields = overlay(stored_of(state, definition).model_dump(exclude_none=True), fields)  # noqa: PLW2901
        try:
            stored = settled(kind, StoredListener.model_validate(fields))
        except ValidationError as error:
            raise bad_request(describe_problems(error, f"{kind}.{name}")) from None
        wanted[listener_id] = await keep_files(state, listener_id, stored)
    if len(present.keys() | wanted.keys()) > MAX_LISTENERS:
        raise bad_request(f"more than {MAX_LISTENERS} listeners")
    configured = {each.listener_id for each in state.broker.configured_listeners.values() if each.kind in KINDS}

    def change(before: ChangedListeners) -> ChangedListeners:
        if replace:
            return ChangedListeners(changed=wanted, deleted=sorted(configured - wanted.keys()))
        return ChangedListeners(
            changed={**before.changed, **wanted}, deleted=[each for each in before.deleted if each not in wanted]
        )

    return lambda: state.configuration.change(LISTENERS, change, **call.origin)


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
