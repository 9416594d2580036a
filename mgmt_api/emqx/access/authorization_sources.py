"""Where rules come from, in which order they are asked, and what is kept of the decisions."""

import asyncio

from ....store.acl.access import ClientAccess
from ....store.errors import AlreadyExists, NotFound
from ....store.source_order import BuiltInSource, FileSource, Source
from ....store.sources import CacheSettings, SourceReport
from ...encoding import SLICE
from ...errors import bad_request
from ...quantities import seconds
from ...routes import Call
from ...state import ApiState
from .authorization import max_rules
from .models_sources import (
    BACKENDS,
    Cache,
    CacheRow,
    NewBuiltIn,
    NewFile,
    NewSource,
    OrderedSource,
    Position,
    Settings,
    SettingsRow,
    SourceList,
    SourceMetrics,
    SourceRow,
    SourceStatus,
)


async def get_settings(call: Call[None, None]) -> SettingsRow:
    """Show what holds where no rule fits, what a denied client meets, and what is kept of decisions."""
    return _settings(call.state)


async def set_settings(call: Call[None, Settings]) -> SettingsRow:
    """Set them, in force at once for the clients that are there."""
    new, sources = call.body, call.state.directory.sources
    cache = sources.cache if new.cache is None else read_cache(new.cache)
    await sources.configure(new.no_match, new.deny_action, cache, **call.origin)
    return _settings(call.state)


async def delete_cache(call: Call[None, None]) -> None:
    """Forget what was decided on any client."""
    for count, session in enumerate(list(call.state.broker.registry), 1):
        access = session.identity.policy
        if isinstance(access, ClientAccess):
            access.forget()
        if count % SLICE == 0:
            await asyncio.sleep(0)


async def list_sources(call: Call[None, None]) -> SourceList:
    """List the sources in the order in which they are asked."""
    return {"sources": [show_source(call.state, source) for source in call.state.directory.sources.all]}


async def create_source(call: Call[None, NewSource]) -> None:
    """Put a source before all others."""
    source = read_source(call.body.root)
    try:
        await call.state.directory.sources.create(source, **call.origin)
    except AlreadyExists as error:
        raise bad_request(error.message) from None


async def get_source(call: Call[None, None]) -> SourceRow:
    """Show one source."""
    return show_source(call.state, _existing(call))


async def update_source(call: Call[None, NewSource]) -> None:
    """Change a source; it keeps its place."""
    kind = _type(call.path["type"])
    if call.body.root.type != kind:
        raise bad_request("Type mismatch")
    new = read_source(call.body.root)
    known = call.state.directory.sources.get(kind)
    if isinstance(new, BuiltInSource) and new.max_rules is None and isinstance(known, BuiltInSource):
        new = BuiltInSource(known.max_rules, new.enabled)
    await call.state.directory.sources.update(new, **call.origin)


async def delete_source(call: Call[None, None]) -> None:
    """Take a source out of the order; what the built-in database holds stays there and is asked no more."""
    await call.state.directory.sources.delete(_type(call.path["type"]), **call.origin)


async def get_status(call: Call[None, None]) -> SourceStatus:
    """Show how often a source was asked and what it said."""
    kind, node = _existing(call).type, call.state.node
    report = next(report for report in call.state.directory.sources.report() if report.type == kind)
    metrics = _metrics(report)
    return {
        "status": "connected",
        "node_status": [{"node": node, "status": "connected"}],
        "node_error": [],
        "metrics": metrics,
        "node_metrics": [{"node": node, "metrics": metrics}],
        "resource_metrics": {},
        "node_resource_metrics": [{"node": node, "metrics": {}}],
    }


async def move_source(call: Call[None, Position]) -> None:
    """Give a source another place."""
    await call.state.directory.sources.move(_type(call.path["type"]), call.body.position, **call.origin)


async def order_sources(call: Call[None, list[OrderedSource]]) -> None:
    """Give all sources another order."""
    await call.state.directory.sources.reorder([source.type for source in call.body], **call.origin)


def read_source(new: NewFile | NewBuiltIn) -> Source:
    """Make the store's record."""
    if isinstance(new, NewFile):
        return FileSource(new.rules, new.enable)
    return BuiltInSource(new.max_rules, new.enable)


def show_source(state: ApiState, source: Source) -> SourceRow:
    """Show a source."""
    if isinstance(source, FileSource):
        return {"type": source.type, "enable": source.enabled, "rules": source.rules}
    return {"type": source.type, "enable": source.enabled, "max_rules": max_rules(state, source)}


def read_cache(cache: Cache) -> CacheSettings:
    """Make the store's record."""
    return CacheSettings(cache.enable, cache.max_size, seconds(cache.ttl), cache.ttl, tuple(cache.excludes))


def show_cache(cache: CacheSettings) -> CacheRow:
    """Show what is kept of decisions."""
    return {
        "enable": cache.enabled,
        "max_size": cache.max_size,
        "ttl": cache.ttl_text,
        "excludes": list(cache.excludes),
    }


def _settings(state: ApiState) -> SettingsRow:
    sources = state.directory.sources
    return {"no_match": sources.no_match, "deny_action": sources.deny_action, "cache": show_cache(sources.cache)}


def _type(kind: str) -> str:
    """Check the type that a path names; raises `ApiError` 400."""
    if kind not in BACKENDS:
        raise bad_request(f"type: must be one of {', '.join(BACKENDS)}")
    return kind


def _existing(call: Call[None, None]) -> Source:
    kind = _type(call.path["type"])
    source = call.state.directory.sources.get(kind)
    if source is None:
        raise NotFound(f"Not found: {kind}")
    return source


def _metrics(report: SourceReport) -> SourceMetrics:
    return {
        "total": report.total,
        "allow": report.allow,
        "deny": report.deny,
        "nomatch": report.nomatch,
        "ignore": 0,
        "rate": report.rate,
        "rate_last5m": report.rate_last5m,
        "rate_max": report.rate_max,
    }
