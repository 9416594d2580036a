"""The part of the route table about traces."""

from typing import Any

from ...routes import Route
from . import models, trace

_TAG = "Trace"
_NOT_FOUND = {404: ("NOT_FOUND",)}
_NOT_HERE = {404: ("NOT_FOUND", "NODE_ERROR")}

TRACING: tuple[Route[Any, Any], ...] = (
    Route("GET", "/trace", trace.list_traces, "List the traces", _TAG, answer=list[models.TraceRow]),
    Route(
        "POST",
        "/trace",
        trace.create_trace,
        "Trace a client, a topic or an address",
        _TAG,
        body=models.NewTrace,
        answer=models.TraceRow,
        errors={400: ("INVALID_PARAMS",), 409: ("ALREADY_EXISTS", "DUPLICATE_CONDITION", "BAD_TYPE")},
    ),
    Route("DELETE", "/trace", trace.delete_traces, "Delete all traces", _TAG, status=204),
    Route("DELETE", "/trace/{name}", trace.delete_trace, "Delete a trace", _TAG, status=204, errors=_NOT_FOUND),
    Route(
        "PUT",
        "/trace/{name}/stop",
        trace.stop_trace,
        "Stop a trace",
        _TAG,
        answer=models.StoppedTrace,
        errors=_NOT_FOUND,
    ),
    Route(
        "GET",
        "/trace/{name}/log",
        trace.read_log,
        "Read a part of a trace's log",
        _TAG,
        query=models.LogQuery,
        answer=models.LogPart,
        errors=_NOT_HERE,
    ),
    Route(
        "GET",
        "/trace/{name}/log_detail",
        trace.describe_log,
        "Tell size and age of a trace's log",
        _TAG,
        answer=list[models.LogDetail],
        errors=_NOT_FOUND,
    ),
    Route(
        "GET",
        "/trace/{name}/download",
        trace.download,
        "Download a trace's log",
        _TAG,
        query=models.DownloadQuery,
        answer=bytes,
        answer_type="application/x-zip",
        errors=_NOT_HERE,
    ),
)
