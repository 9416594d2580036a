"""The configuration as a whole and root by root: shown, changed, set back to its defaults."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from ....store.errors import StoreError
from ...configuration import Changes, Governed, Root
from ...errors import ApiError, from_store
from ...limits import Body
from ...routes import Answer, Call
from ...state import ApiState
from ..access.authentication_root import AUTHENTICATION
from ..messaging.delayed import DELAYED
from . import log_root, mqtt_root
from .flapping_root import FlappingDetect
from .hocon import HoconError, merged, read_hocon, write_hocon
from .listener_tree import ids_of, listener_tree, read_tree
from .listeners import LISTENERS, changing_listeners

READ_ONLY = ("cluster", "rpc", "node")
SECRET = "******"  # noqa: S105 - what stands in a secret's place

_CHECKS: Mapping[str, Callable[[Governed, Any], None]] = {
    "mqtt": mqtt_root.check_fixed,
    "log": log_root.check_fixed,
}
"""What refuses a change that the command line or the environment would override."""

_TURNS: Mapping[str, int] = {LISTENERS.name: -1, AUTHENTICATION.name: 1, DELAYED.name: 2}
"""Who is put in force before or behind the others: first what may find an address taken, last what forgets logins and
messages, for these would not come back.
"""


class ConfigsQuery(BaseModel):
    """Which root is asked for."""

    key: Annotated[str, Field(max_length=255)] | None = None
    node: Annotated[str, Field(max_length=255)] | None = None


class ChangeQuery(BaseModel):
    """How a configuration that is sent meets the one that holds."""

    mode: Literal["merge", "replace"] = "merge"
    ignore_readonly: bool = False


class ResetQuery(BaseModel):
    """Which value is set back."""

    conf_path: Annotated[str, Field(max_length=1_024)] | None = None


class Zone(Body):
    """What holds for all clients."""

    mqtt: mqtt_root.Mqtt = mqtt_root.Mqtt()
    flapping_detect: FlappingDetect = FlappingDetect()
    force_shutdown: mqtt_root.ForceShutdown = mqtt_root.ForceShutdown()
    force_gc: mqtt_root.ForceGc = mqtt_root.ForceGc()
    durable_sessions: mqtt_root.DurableSessions = mqtt_root.DurableSessions()


# -- all of it


async def get_configs(call: Call[ConfigsQuery, None]) -> Answer:
    """Show all roots or one, as HOCON or JSON."""
    state, key = call.state, call.query.key
    as_text = _wants_text(call.accept)
    if call.query.node not in (None, state.node):
        raise ApiError(500, "BAD_NODE", f"Node not found: {call.query.node}")
    roots = state.configuration.roots
    if key is not None and key not in roots:
        raise ApiError(404, "NOT_FOUND", f"Config not found: {key}")
    shown: dict[str, Any] = {}
    for name, root in roots.items():
        if key in (None, name):
            shown[name] = _shown(state, root)
            await asyncio.sleep(0)
    if not as_text:
        return Answer(shown if key is None else shown[key], 200)
    return Answer(await asyncio.to_thread(write_hocon, shown), 200, "text/plain")


def _wants_text(accept: str) -> bool:
    """Say whether text is wanted, or JSON; raises `ApiError` 400 where neither is."""
    types = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    if not accept.strip() or "text/plain" in types or "*/*" in types:
        return True
    if "application/json" in types:
        return False
    raise ApiError(400, "INVALID_ACCEPT", "Accept must be text/plain or application/json")


def _shown(state: ApiState, root: Root[Any]) -> Any:
    if root is LISTENERS:
        return listener_tree(state)
    return state.configuration.as_json(root)


async def put_configs(call: Call[ChangeQuery, str]) -> Answer:
    """Change what a text in HOCON says; what it leaves out stays, or in the mode `replace` is the default."""
    try:
        given = await asyncio.to_thread(read_hocon, call.body)
    except HoconError as error:
        return _wrong({"type": error.kind, "line": error.line, "reason": error.reason})
    for name in READ_ONLY:
        if name in given and not call.query.ignore_readonly:
            return _wrong(f"Cannot update read-only key '{name}'")
    given = {name: value for name, value in given.items() if name not in READ_ONLY}
    roots = call.state.configuration.roots
    unknown = {name: '{root_key_not_found,"unknown root"}' for name in given if name not in roots}
    if unknown:
        return _wrong(unknown)
    return await _change_all(call, given)


async def _change_all(call: Call[ChangeQuery, str], given: Mapping[str, Any]) -> Answer:
    """Put all of it in force, or nothing: it is checked as a whole first, and undone where a part fails then."""
    state, replace = call.state, call.query.mode == "replace"
    try:
        touched = set(ids_of(given[LISTENERS.name])) if LISTENERS.name in given else set[str]()
    except ApiError as error:
        return _wrong({LISTENERS.name: _refusal("validation_error", LISTENERS.name, error)})
    if replace and LISTENERS.name in given:
        touched |= state.configuration.get(LISTENERS).changed.keys()
    async with changing_listeners(call, *touched) as changes:
        values: dict[str, Any] = {}
        wrong: dict[str, object] = {}
        for name, value in given.items():
            root = state.configuration.roots[name]
            try:
                if root is LISTENERS:
                    values[name] = await read_tree(state, value, replace=replace)
                else:
                    values[name] = _checked(state, root, value, call.query.mode)
            except ValidationError as error:
                wrong[name] = _problem(name, error)
            except ApiError as error:
                wrong[name] = _refusal("validation_error", name, error)
        if not wrong:
            wrong = await _put_all(state, changes, values)
    return _wrong(wrong) if wrong else Answer(b"", 200)


async def _put_all(state: ApiState, changes: Changes, values: Mapping[str, Any]) -> dict[str, object]:
    """Put values in force; returns what is wrong with the first that fails, and then all is as it was."""
    for name in sorted(values, key=lambda name: _TURNS.get(name, 0)):
        try:
            await changes.put(state.configuration.roots[name], values[name])
        except ApiError as error:
            await changes.undo()
            return {name: _refusal("update_failed", name, error)}
        except StoreError as error:
            await changes.undo()
            known = from_store(error)
            if known is None:
                raise
            return {name: _refusal("update_failed", name, known)}
    return {}


def _refusal(kind: str, name: str, error: ApiError) -> dict[str, object]:
    return {"kind": kind, "path": name, "reason": error.message}


def _wrong(errors: object) -> Answer:
    return Answer({"errors": errors}, 400)


def _checked(state: ApiState, root: Root[Any], value: Any, mode: str) -> Any:
    """Make a root's value of what was sent; raises ValidationError, `ApiError`."""
    present = state.configuration.as_json(root, masked=False)
    if isinstance(present, dict) and isinstance(value, dict):
        sent = _with_secrets(cast("dict[str, Any]", value), cast("dict[str, Any]", present))
        value = merged(cast("dict[str, Any]", present), sent) if mode == "merge" else sent
    checked = TypeAdapter[Any](root.model).validate_python(value)
    check_fixed(state, root, checked)
    return checked


def _with_secrets(sent: dict[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    """Put the secrets back in whose places stand what they are shown as."""
    result: dict[str, Any] = {}
    for key, value in sent.items():
        before = present.get(key)
        if value == SECRET and isinstance(before, str):
            result[key] = before
        elif isinstance(value, dict) and isinstance(before, dict):
            result[key] = _with_secrets(cast("dict[str, Any]", value), cast("dict[str, Any]", before))
        else:
            result[key] = value
    return result


def check_fixed(state: ApiState, root: Root[Any], value: Any) -> None:
    """Raise `ApiError` 403 for a change that the command line or the environment override."""
    check = _CHECKS.get(root.name)
    if check is not None:
        check(state.configuration.governed, value)


def _problem(name: str, error: ValidationError) -> dict[str, object]:
    """Tell the first thing that is wrong as EMQX does, without what was sent: it may be a secret."""
    first: ErrorDetails = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        return {
            "kind": "validation_error",
            "path": ".".join((name, *place[:-1])),
            "reason": "unknown_fields",
            "unknown": place[-1],
        }
    return {"kind": "validation_error", "path": ".".join((name, *place)), "reason": first["msg"]}


# -- root by root


def reader(root: Root[Any]) -> Callable[[Call[None, None]], Awaitable[Any]]:
    """Make what shows one root."""

    async def get_root(call: Call[None, None]) -> Any:
        return call.state.configuration.as_json(root)

    return get_root


def writer(root: Root[Any]) -> Callable[[Call[None, Any]], Awaitable[Any]]:
    """Make what changes one root: what is left out has its default."""

    async def put_root(call: Call[None, Any]) -> Any:
        check_fixed(call.state, root, call.body)
        await call.state.configuration.put(root, call.body, **call.origin)
        return call.state.configuration.as_json(root)

    return put_root


async def get_zone(call: Call[None, None]) -> dict[str, Any]:
    """Show what holds for all clients."""
    return {name: call.state.configuration.as_json(root) for name, root in mqtt_root.ZONE.items()}


async def put_zone(call: Call[None, Zone]) -> dict[str, Any]:
    """Change what holds for all clients; parts that are not sent stay as they are."""
    sent = [
        (root, getattr(call.body, name)) for name, root in mqtt_root.ZONE.items() if name in call.body.model_fields_set
    ]
    for root, value in sent:
        check_fixed(call.state, root, value)
    async with call.state.configuration.changing(**call.origin) as changes:
        try:
            for root, value in sent:
                await changes.put(root, value)
        except (ApiError, StoreError):
            await changes.undo()
            raise
    return await get_zone(cast("Call[None, None]", call))


async def reset_root(call: Call[ResetQuery, None]) -> Answer:
    """Set a value of a root back to its default."""
    name, path = call.path["rootname"], call.query.conf_path
    root = call.state.configuration.roots.get(name)
    if root is None or name not in RESETTABLE:
        raise ApiError(400, "BAD_REQUEST", f"rootname: must be one of {', '.join(RESETTABLE)}")
    if not path:
        raise ApiError(400, "NO_DEFAULT_VALUE", f"There is no default value for {name} as a whole")
    adapter = TypeAdapter[Any](root.model)
    try:
        plain = adapter.dump_python(adapter.validate_python({}), mode="json", by_alias=True, exclude_none=True)
    except ValidationError:
        raise ApiError(400, "NO_DEFAULT_VALUE", f"There is no default value for {name}") from None
    places = path.split(".")
    default: Any = plain
    for place in places:
        if not isinstance(default, dict) or place not in default:
            raise ApiError(400, "NO_DEFAULT_VALUE", f"There is no default value for {name}.{path}")
        default = cast("dict[str, Any]", default)[place]
    given: Any = default
    for place in reversed(places):
        given = {place: given}
    try:
        async with call.state.configuration.changing(**call.origin) as changes:
            await changes.put(root, _checked(call.state, root, given, "merge"))
    except ValidationError as error:
        raise ApiError(400, "REST_FAILED", str(_problem(name, error)["reason"])) from None
    except ApiError as error:
        raise ApiError(403 if error.status == 403 else 400, "REST_FAILED", error.message) from None
    return Answer(b"", 200)


RESETTABLE = ("broker", "log", "sysmon", "sys_topics", "alarm", "dashboard")
