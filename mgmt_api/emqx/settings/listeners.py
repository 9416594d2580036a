"""The broker's listeners: what there is, and what is made of it while the broker runs."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal

from amqtt.errors import BrokerError
from pydantic import ValidationError

from ....broker.listeners.bound_listener import BoundListener
from ....broker.listeners.definition import ListenerDefinition
from ...configuration import Changes, Governed, Root
from ...decoding import describe_problems
from ...errors import ApiError, bad_request
from ...routes import Answer, Call
from ...state import ApiState
from .certificates import forget_certificates, keep_certificates
from .listener_forms import SECRET, define, describe, settled, show, shown_bind
from .models_listeners import (
    KINDS,
    NAME_PATTERN,
    ONLY_SENT,
    ChangedListeners,
    Listener,
    ListenerBody,
    ListenerQuery,
    ListenerRow,
    NewListener,
    SslOptions,
    Status,
    StoredListener,
    TypeRow,
)

MAX_LISTENERS = 100
_DONE = Answer(b"", 200)


# -- what is in force


def definitions_of(governed: Governed, changes: ChangedListeners) -> dict[str, ListenerDefinition]:
    """Lay what the API changed over what the configuration says; raises `ApiError` 400."""
    configured = governed.broker.configured_listeners
    by_id = {each.listener_id: each for each in configured.values()}
    result = {key: each for key, each in configured.items() if each.listener_id not in changes.deleted}
    for listener_id, stored in changes.changed.items():
        base = by_id.get(listener_id)
        definition = define(listener_id, stored, base)
        if base is None and definition.key in configured:
            raise bad_request(f"{listener_id}: is the name of another listener", "BAD_LISTENER_ID")
        result[definition.key] = definition if base is None else _with_fixed(governed, definition, base)
    return result


def _with_fixed(governed: Governed, definition: ListenerDefinition, base: ListenerDefinition) -> ListenerDefinition:
    """Have what the command line and the environment say of an address win."""
    if "bind" in fixed_keys(governed, base.key):
        definition.config.bind = base.config.bind
    return definition


def fixed_keys(governed: Governed, name: str) -> set[str]:
    """Name what the command line and the environment say of a listener of the configuration."""
    listeners: Any = governed.fixed.get("listeners", {})
    return set(listeners.get(name, {}))


async def _apply(governed: Governed, changes: ChangedListeners) -> None:
    try:
        await governed.broker.listeners.change(definitions_of(governed, changes))
    except BrokerError as error:
        raise bad_request(str(error)) from error


LISTENERS: Root[ChangedListeners] = Root("listeners", ChangedListeners, lambda _: ChangedListeners(), _apply)
"""Only what differs from the configuration file is kept, so that the file still decides on the rest."""


def stored_of(state: ApiState, definition: ListenerDefinition) -> StoredListener:
    """Give a listener's object: as the API was told, or else as the configuration says."""
    changes = state.configuration.get(LISTENERS)
    told = changes.changed.get(definition.listener_id)
    found = settled(definition.kind, describe(definition)) if told is None else told
    return found.model_copy(update={"bind": str(definition.config.bind)})


def shown_definitions(state: ApiState) -> list[ListenerDefinition]:
    """List the listeners that EMQX has a type for."""
    return [each for each in state.broker.listeners.definitions.values() if each.kind in KINDS]


# -- looking


async def list_listeners(call: Call[ListenerQuery, None]) -> list[ListenerRow]:
    """List the listeners, of one type or all."""
    wanted = call.query.type
    return [_row(call.state, each) for each in shown_definitions(call.state) if wanted in (None, each.kind)]


async def list_types(call: Call[None, None]) -> list[TypeRow]:
    """Sum the listeners up by type."""
    rows: list[TypeRow] = []
    for kind in KINDS:
        found = [each for each in shown_definitions(call.state) if each.kind == kind]
        if not found:
            continue
        statuses = [_status(call.state, each) for each in found]
        running: list[bool | Literal["inconsistent"]] = [status["running"] for status in statuses]
        bounds = [status["max_connections"] for status in statuses]
        numbers = [bound for bound in bounds if isinstance(bound, int)]
        total = Status(
            running="inconsistent" if len(set(running)) > 1 else running[0],
            max_connections=sum(numbers) if len(numbers) == len(bounds) else "infinity",
            current_connections=sum(status["current_connections"] for status in statuses),
        )
        rows.append(
            {
                "type": kind,
                "enable": any(each.enabled for each in found),
                "ids": [each.listener_id for each in found],
                "status": total,
                "node_status": [{"node": call.state.node, "status": total}],
            }
        )
    return rows


async def get_listener(call: Call[None, None]) -> Listener:
    """Show one listener."""
    return _show(call.state, _find(call.state, call.path["id"]))


def _row(state: ApiState, definition: ListenerDefinition) -> ListenerRow:
    status, stored = _status(state, definition), stored_of(state, definition)
    return {
        "id": definition.listener_id,
        "type": definition.kind,  # pyright: ignore[reportReturnType]
        "name": definition.name,
        "enable": definition.enabled,
        "number": 1,
        "bind": shown_bind(stored, _address(state, definition)),
        "acceptors": stored.acceptors,
        "status": status,
        "node_status": [{"node": state.node, "status": status}],
    }


def _status(state: ApiState, definition: ListenerDefinition) -> Status:
    bound = definition.config.max_connections
    return {
        "running": _address(state, definition) is not None,
        "max_connections": bound if bound > 0 else "infinity",
        "current_connections": _connections(state, definition),
    }


def _show(state: ApiState, definition: ListenerDefinition) -> Listener:
    stored = stored_of(state, definition)
    address = _address(state, definition)
    return show(definition, stored, state.broker.settings, address, _connections(state, definition))


def _address(state: ApiState, definition: ListenerDefinition) -> tuple[str, int] | None:
    listener = state.broker.listeners.by_name.get(definition.key)
    return None if listener is None else listener.address


def _connections(state: ApiState, definition: ListenerDefinition) -> int:
    listener = state.broker.listeners.by_name.get(definition.key)
    return listener.limits.open if isinstance(listener, BoundListener) else 0


def _find(state: ApiState, listener_id: str) -> ListenerDefinition:
    """Give a listener; raises `ApiError` 400 for what is no id, 404 where there is none."""
    kind, colon, name = listener_id.partition(":")
    if not colon or not name or kind not in (*KINDS, "quic"):
        raise bad_request("id: must be TYPE:NAME, the type one of tcp, ssl, ws and wss")
    for definition in shown_definitions(state):
        if definition.listener_id == listener_id:
            return definition
    raise ApiError(404, "BAD_LISTENER_ID", f"Listener not found: {listener_id[:300]}")


# -- changing


async def create_listener(call: Call[None, NewListener]) -> Listener:
    """Make a listener and open it."""
    body, state = call.body, call.state
    if not NAME_PATTERN.fullmatch(body.name):
        raise bad_request("name: must be letters, digits, - and _", "BAD_LISTENER_ID")
    listener_id = f"{body.type}:{body.name}"
    given = StoredListener.model_validate(body.model_dump(exclude_unset=True, exclude=set(ONLY_SENT)))
    async with changing_listeners(call, listener_id) as changes:
        present = shown_definitions(state)
        if any(each.listener_id == listener_id for each in present):
            raise bad_request(f"Listener exists already: {listener_id}", "BAD_LISTENER_ID")
        if len(present) >= MAX_LISTENERS:
            raise bad_request(f"there are {MAX_LISTENERS} listeners already, and no more are allowed")
        stored = await keep_files(state, listener_id, settled(body.type, given))
        before = state.configuration.get(LISTENERS)
        kept = [each for each in before.deleted if each != listener_id]
        changed = {**before.changed, listener_id: stored}
        await changes.put(LISTENERS, ChangedListeners(changed=changed, deleted=kept))
        return _show(state, _find(state, listener_id))


async def update_listener(call: Call[None, ListenerBody]) -> Listener:
    """Change what is given of a listener; its connections stay unless it needs another address or handshake."""
    body, state, listener_id = call.body, call.state, call.path["id"]
    async with changing_listeners(call, listener_id) as changes:
        definition = _find(state, listener_id)
        for field, own in (("id", listener_id), ("type", definition.kind), ("name", definition.name)):
            if getattr(body, field) not in (None, own):
                raise bad_request(f"{field}: is not the one in the path", "BAD_LISTENER_ID")
        await _put(state, changes, listener_id, await _merged(state, definition, body))
        return _show(state, _find(state, listener_id))


async def delete_listener(call: Call[None, None]) -> None:
    """Close a listener and its connections, and forget it."""
    state, listener_id = call.state, call.path["id"]
    configured = {each.listener_id for each in state.broker.configured_listeners.values()}
    async with changing_listeners(call, listener_id) as changes:
        _find(state, listener_id)
        before = state.configuration.get(LISTENERS)
        changed = {key: each for key, each in before.changed.items() if key != listener_id}
        deleted = [listener_id] if listener_id in configured else []
        await changes.put(LISTENERS, ChangedListeners(changed=changed, deleted=[*before.deleted, *deleted]))


async def start_listener(call: Call[None, None]) -> Answer:
    """Open a listener; nothing happens where it is open."""
    async with changing_listeners(call) as changes:
        await _enable(call.state, changes, _find(call.state, call.path["id"]), True)
    return _DONE


async def stop_listener(call: Call[None, None]) -> Answer:
    """Close a listener and its connections; nothing happens where it is closed."""
    async with changing_listeners(call) as changes:
        await _enable(call.state, changes, _find(call.state, call.path["id"]), False)
    return _DONE


async def restart_listener(call: Call[None, None]) -> Answer:
    """Close a listener and its connections and open it anew."""
    state, listener_id = call.state, call.path["id"]
    async with changing_listeners(call) as changes:
        definition = _find(state, listener_id)
        if not definition.enabled:
            await _enable(state, changes, definition, True)
            return _DONE
        try:
            await state.broker.listeners.restart(definition.key)
        except BrokerError as error:
            raise bad_request(str(error)) from error
    return _DONE


@asynccontextmanager
async def changing_listeners(call: Call[Any, Any], *listener_ids: str) -> AsyncGenerator[Changes]:
    """Keep everybody else from changing listeners; afterwards these have no certificates' files but those they name."""
    state = call.state
    async with state.configuration.changing(**call.origin) as changes:
        try:
            yield changes
        finally:
            changed = state.configuration.get(LISTENERS).changed
            for listener_id in listener_ids:
                stored = changed.get(listener_id)
                options = None if stored is None else stored.ssl_options
                await asyncio.to_thread(forget_certificates, options, listener_id, state.data_dir)


async def _enable(state: ApiState, changes: Changes, definition: ListenerDefinition, enable: bool) -> None:
    if definition.enabled is enable and (_address(state, definition) is not None) is enable:
        return
    stored = stored_of(state, definition).model_copy(update={"enable": enable})
    await _put(state, changes, definition.listener_id, stored)


async def _put(state: ApiState, changes: Changes, listener_id: str, stored: StoredListener) -> None:
    before = state.configuration.get(LISTENERS)
    changed = {**before.changed, listener_id: stored}
    await changes.put(LISTENERS, ChangedListeners(changed=changed, deleted=before.deleted))


async def _merged(state: ApiState, definition: ListenerDefinition, body: ListenerBody) -> StoredListener:
    """Lay what is sent over what holds."""
    before = stored_of(state, definition)
    given = body.model_dump(exclude_unset=True, exclude_none=True, exclude=set(ONLY_SENT))
    if given.get("bind") == shown_bind(before, _address(state, definition)):
        given["bind"] = before.bind
    else:
        check_bind(state, definition, before.bind, given.get("bind", before.bind))
    if given.get("ssl_options", {}).get("password") == SECRET:
        del given["ssl_options"]["password"]
    whole = overlay(before.model_dump(exclude_none=True), given)
    try:
        stored = StoredListener.model_validate(whole)
    except ValidationError as error:
        raise bad_request(describe_problems(error, "body")) from None
    return await keep_files(state, definition.listener_id, settled(definition.kind, stored))


def check_bind(state: ApiState, definition: ListenerDefinition, present: str, wanted: object) -> None:
    """Raise `ApiError` 400 for another address where the command line or the environment give one."""
    if wanted != present and "bind" in fixed_keys(state.configuration.governed, definition.key):
        raise bad_request("bind: is given on the command line or in the environment, which the API cannot override")


def overlay(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Merge an object into an object, and what it holds likewise."""
    merged = dict(below)
    for key, value in above.items():
        present = merged.get(key)
        merged[key] = overlay(present, value) if isinstance(present, dict) and isinstance(value, dict) else value  # pyright: ignore[reportUnknownArgumentType]
    return merged


async def keep_files(state: ApiState, listener_id: str, stored: StoredListener) -> StoredListener:
    """Have certificates that came as text in files; raises `ApiError` 400, 500."""
    options: SslOptions | None = stored.ssl_options
    if options is None:
        return stored
    try:
        kept = await asyncio.to_thread(keep_certificates, options, listener_id, state.data_dir)
    except OSError as error:
        raise ApiError(500, "INTERNAL_ERROR", f"the certificates cannot be kept: {error.strerror}") from error
    return stored.model_copy(update={"ssl_options": kept})
