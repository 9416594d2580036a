"""Traces: made, listed, stopped, deleted, and their files read."""

import asyncio
from datetime import UTC, datetime
from time import time
from typing import Any

from ....broker.tracing.definition import Trace
from ....broker.tracing.traces import MAX_TRACES, ConditionTaken, NameTaken, TooMany, Traces
from ...errors import ApiError, bad_request
from ...routes import Answer, Call
from .log_files import archive, read_part, size_of
from .models import DownloadQuery, LogDetail, LogPart, LogQuery, NewTrace, StoppedTrace, TraceRow, row_of
from .stored import store_traces

_NAMED = 100


async def list_traces(call: Call[None, None]) -> list[TraceRow]:
    """List the traces, the one that begins last first."""
    traces = call.state.broker.traces
    await traces.settle()
    return await asyncio.to_thread(_rows, traces, list(traces), call.state.node)


async def create_trace(call: Call[None, NewTrace]) -> TraceRow:
    """Make a trace, which begins at once or when its time has come."""
    traces = call.state.broker.traces
    trace = call.body.definition(int(time()))
    try:
        traces.add(trace)
    except NameTaken:
        raise ApiError(409, "ALREADY_EXISTS", f"{trace.name} Already Exists") from None
    except ConditionTaken:
        raise ApiError(409, "DUPLICATE_CONDITION", "another trace has the same condition and start") from None
    except TooMany:
        raise bad_request(f"there are {MAX_TRACES} traces already", "INVALID_PARAMS") from None
    try:
        await store_traces(traces, call.state.directory, **call.origin)
    except BaseException:
        await traces.remove(trace.name)
        raise
    made = traces.get(trace.name) or trace  # stopped already, where its file cannot be made
    return (await asyncio.to_thread(_rows, traces, [made], call.state.node))[0]


async def delete_traces(call: Call[None, None]) -> None:
    """Delete all traces and their files."""
    traces = call.state.broker.traces
    await traces.remove(*[trace.name for trace in traces])
    await store_traces(traces, call.state.directory, **call.origin)


async def delete_trace(call: Call[None, None]) -> None:
    """Delete a trace and its file."""
    traces = call.state.broker.traces
    await traces.remove(_known(call).name)
    await store_traces(traces, call.state.directory, **call.origin)


async def stop_trace(call: Call[None, None]) -> StoppedTrace:
    """End a trace before its time; its file stays."""
    traces, name = call.state.broker.traces, _known(call).name
    traces.stop(name)
    await store_traces(traces, call.state.directory, **call.origin)
    return {"name": name, "enable": False}


async def read_log(call: Call[LogQuery, None]) -> LogPart:
    """Give a part of a trace's file."""
    traces, trace, query = call.state.broker.traces, _known(call), call.query
    _check_node(call, query.node)
    await traces.settle()
    part = await asyncio.to_thread(read_part, traces.path(trace.name), query.position, query.bytes)
    return {"items": part.text, "meta": {"bytes": query.bytes, "position": part.end}}


async def describe_log(call: Call[None, None]) -> list[LogDetail]:
    """Tell how large a trace's file is and when it was last written."""
    traces, trace = call.state.broker.traces, _known(call)
    await traces.settle()
    path = traces.path(trace.name)
    if path is None or not path.exists():
        return [{"node": call.state.node, "size": 0, "mtime": trace.start_at}]
    found = path.stat()
    return [{"node": call.state.node, "size": found.st_size, "mtime": int(found.st_mtime)}]


async def download(call: Call[DownloadQuery, None]) -> Answer:
    """Give a trace's file in a ZIP archive."""
    traces, trace = call.state.broker.traces, _known(call)
    _check_node(call, call.query.node)
    await traces.settle()
    path = traces.path(trace.name)
    day = datetime.fromtimestamp(trace.start_at, UTC).date().isoformat()
    entry = f"{call.state.node}-trace_{trace.name[:_NAMED]}_{day}.log"
    packed = None if path is None else await asyncio.to_thread(archive, path, entry)
    if packed is None:
        raise ApiError(404, "NOT_FOUND", "there is no log yet")
    headers = {"Content-Disposition": f'attachment; filename="{trace.name}.zip"'}
    return Answer(packed, 200, "application/x-zip", headers)


def _known(call: Call[Any, None]) -> Trace:
    name = call.path["name"]
    trace = call.state.broker.traces.get(name)
    if trace is None:
        raise ApiError(404, "NOT_FOUND", f"{name[:_NAMED]} Not Found")
    return trace


def _check_node(call: Call[Any, None], node: str | None) -> None:
    if node is not None and node != call.state.node:
        raise ApiError(404, "NODE_ERROR", "Node not found")


def _rows(traces: Traces, listed: list[Trace], node: str) -> list[TraceRow]:
    now = time()
    return [row_of(trace, now, node, size_of(traces.path(trace.name))) for trace in listed]
