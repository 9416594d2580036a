"""The configuration of a backup laid over the one that holds: it adds and overwrites, and takes nothing away.

Of lists, entries with the same key take each other's place. They come in the backup's order, for with authenticators
and sources of rules it matters who is asked first; what only this server has is asked after them.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from ....store.errors import StoreError
from ...configuration import Root
from ...decoding import describe_problems
from ...errors import ApiError, bad_request, from_store
from ...routes import Call
from ..messaging import auto_subscribe, topic_rewrite
from ..messaging.topic_metrics import TOPIC_METRICS
from .configs import READ_ONLY, check_fixed
from .export_configuration import NOT_PORTABLE
from .hocon import HoconError, merged, read_hocon
from .import_problems import Problems
from .listener_tree import change_tree
from .listeners import LISTENERS

_MAX_TOPICS = 512
"""EMQX's bound of measured topics."""

Key = Callable[[Mapping[str, Any]], object]

_LISTS: dict[str, tuple[Key, int]] = {
    "authentication": (lambda entry: (entry.get("mechanism"), entry.get("backend")), 100),
    "sources": (lambda entry: entry.get("type"), 100),
    auto_subscribe.AUTO_SUBSCRIBE.name: (lambda entry: entry.get("topic"), auto_subscribe.MAX_SUBSCRIPTIONS),
    TOPIC_METRICS.name: (lambda entry: entry.get("topic"), _MAX_TOPICS),
    topic_rewrite.REWRITE.name: (
        lambda entry: (entry.get("action"), entry.get("source_topic"), entry.get("re")),
        topic_rewrite.MAX_RULES,
    ),
}
"""By what the entries of lists are told apart, and how many there may be."""


async def import_configuration(call: Call[Any, Any], data: bytes, problems: Problems) -> None:
    """Put in force what the text says; each root for itself."""
    try:
        given = await asyncio.to_thread(_read, data)
    except HoconError as error:
        problems.add("cluster.hocon", str(error))
        return
    roots = call.state.configuration.roots
    for name in given.keys() - roots.keys() - set(READ_ONLY):
        problems.add(name, "there is no such part of the configuration here")
    for name, root in roots.items():
        if name in given:
            await _try(name, problems, _put_listeners if root is LISTENERS else _put, call, root, given[name], problems)


def _read(data: bytes) -> dict[str, Any]:
    try:
        return read_hocon(data.decode())
    except UnicodeDecodeError:
        raise HoconError("scan_error", 1, "is not UTF-8") from None


async def _try(where: str, problems: Problems, work: Any, *arguments: Any) -> None:
    """Do something; what it refuses is among the problems."""
    try:
        await work(*arguments)
    except ValidationError as error:
        problems.add(where, describe_problems(error, where))
    except ApiError as error:
        problems.add(where, error.message)
    except StoreError as error:
        known = from_store(error)
        if known is None:
            raise
        problems.add(where, known.message)


async def _put(call: Call[Any, Any], root: Root[Any], given: Any, problems: Problems) -> None:
    state, adapter = call.state, TypeAdapter[Any](root.model)

    def change(before: Any) -> Any:
        present = adapter.dump_python(before, mode="json", by_alias=True, exclude_none=True)
        value = adapter.validate_python(laid_over(root.name, present, given))
        check_fixed(state, root, value)
        return value

    await state.configuration.change(root, change, **call.origin)


async def _put_listeners(call: Call[Any, Any], root: Root[Any], given: Any, problems: Problems) -> None:
    """Change one listener after the other: an address that is taken here keeps none of the others out."""
    if not isinstance(given, dict):
        raise bad_request("must be listeners by type and name")
    for kind, by_name in cast("dict[str, Any]", given).items():
        if not isinstance(by_name, dict):
            problems.add(f"listeners.{kind}", "must be listeners by name")
            continue
        for name, fields in cast("dict[str, Any]", by_name).items():
            await _try(f"listeners.{kind}.{name}", problems, _put_listener, call, kind, name, fields)


async def _put_listener(call: Call[Any, Any], kind: str, name: str, fields: Any) -> None:
    await change_tree(call, {kind: {name: fields}})


def laid_over(name: str, present: Any, given: Any) -> Any:
    """Lay a root of a backup over the present value; raises `ApiError` 400 for a list that becomes too long."""
    if isinstance(present, list) and isinstance(given, list):
        return _lists(name, cast("list[Any]", present), cast("list[Any]", given))
    if not isinstance(present, dict) or not isinstance(given, dict):
        return given
    below, above = cast("dict[str, Any]", present), cast("dict[str, Any]", given)
    above = {key: value for key, value in above.items() if key not in NOT_PORTABLE.get(name, ())}
    below = {key: value for key, value in below.items() if key not in NOT_PORTABLE.get(name, ())}
    if name == "authorization" and isinstance(above.get("sources"), list):
        above["sources"] = laid_over("sources", below.get("sources", []), above["sources"])
    return merged(below, above)


def _lists(name: str, present: list[Any], given: list[Any]) -> list[Any]:
    if name not in _LISTS or not all(isinstance(entry, dict) for entry in given):
        return given
    key, most = _LISTS[name]
    coming = {key(entry): entry for entry in given}
    staying = [entry for entry in present if key(entry) not in coming]
    if len(coming) + len(staying) > most:
        raise bad_request(f"with those that are here there would be more than {most} entries")
    # The last rule of a rewrite that fits is the one that counts.
    in_order = [staying, [*coming.values()]] if name == topic_rewrite.REWRITE.name else [[*coming.values()], staying]
    return [*in_order[0], *in_order[1]]
