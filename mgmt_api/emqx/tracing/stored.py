"""The traces in the store: their definitions there, their files in a folder of the data directory."""

from dataclasses import asdict
from logging import getLogger
from typing import Any, Unpack

from pydantic import TypeAdapter, ValidationError

from ....broker.tracing.definition import Trace
from ....broker.tracing.traces import Traces
from ....store.directory import Directory
from ....store.writer import Origin
from ...configuration import Governed

_logger = getLogger(__name__)
_NAME = "trace"
FOLDER = "trace"
"""In the data directory; readable by its owner alone."""


def load_traces(governed: Governed) -> None:
    """Have the stored traces back, and go on with those whose time it is; before the broker starts."""
    traces = governed.broker.traces
    if governed.data_dir is not None:
        traces.keep_in(governed.data_dir / FOLDER)
    stored: Any = governed.directory.configurations.get(_NAME)
    try:
        traces.restore(TypeAdapter(list[Trace]).validate_python(stored or []))
    except ValidationError as error:
        _logger.error("The stored traces are not used: %s", error)


async def store_traces(traces: Traces, directory: Directory, **origin: Unpack[Origin]) -> None:
    """Store what traces there are now. Raises the store's errors."""
    await directory.configurations.put(_NAME, [asdict(trace) for trace in traces], **origin)
