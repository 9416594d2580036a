"""The root `log`: how much goes to standard error and to a file of ours, and in which form.

Logging is the process's; the handlers are found by their names, so that an embedded broker leaves its host's alone.
"""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ...configuration import Governed, Root
from ...errors import ApiError
from ...limits import Body
from ...quantities import ByteSize, PositiveDuration, size

CONSOLE = "wardenmq.console"
"""The name of the handler that the server's command line makes."""
FILE = "wardenmq.file"
TEXT_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
FILE_NAME = "wardenmq.log"
_FOLDER = "log"

Level = Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency", "all"]
PayloadEncode = Literal["text", "hex", "hidden"]
_LEVELS: dict[str, int] = {
    "all": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "notice": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "alert": logging.CRITICAL,
    "emergency": logging.CRITICAL,
}
_OFF = logging.CRITICAL + 10


class Console(Body):
    """What goes to standard error."""

    level: Level = "info"
    enable: bool = True
    formatter: Literal["text", "json"] = "text"
    timestamp_format: Literal["auto", "epoch", "rfc3339"] = "auto"
    time_offset: Literal["system"] = "system"
    payload_encode: PayloadEncode = Field(default="hidden", description="Kept and shown; no payload is ever logged")


class LogFile(Body):
    """What goes to the file `log/wardenmq.log` in the data directory, which is given a new one when it is full."""

    path: Literal["log/wardenmq.log"] = "log/wardenmq.log"
    enable: bool = False
    level: Level = "warning"
    formatter: Literal["text", "json"] = "text"
    timestamp_format: Literal["auto", "epoch", "rfc3339"] = "auto"
    time_offset: Literal["system"] = "system"
    payload_encode: PayloadEncode = "hidden"
    rotation_count: Annotated[int, Field(ge=1, le=128)] = 10
    rotation_size: ByteSize | Literal["infinity"] = "50MB"


class Throttling(Body):
    """How often the same line is repeated; the few that could be many have bounds of their own."""

    time_window: PositiveDuration = "1m"


class Log(Body):
    """What is logged where."""

    console: Console = Console()
    file: LogFile = LogFile()
    throttling: Throttling = Throttling()


class _Json(logging.Formatter):
    def __init__(self, timestamp: Callable[[logging.LogRecord], object]) -> None:
        super().__init__()
        self._timestamp = timestamp

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": self._timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False, default=str)


class _Text(logging.Formatter):
    def __init__(self, timestamp: Callable[[logging.LogRecord], object]) -> None:
        super().__init__(TEXT_FORMAT)
        self._timestamp = timestamp

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return str(self._timestamp(record))


def _rfc3339(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).astimezone().isoformat(timespec="milliseconds")


def _microseconds(record: logging.LogRecord) -> int:
    return round(record.created * 1_000_000)


def make_formatter(formatter: str, timestamp_format: str) -> logging.Formatter:
    """Make what writes a line; `auto` is local time in text and microseconds since the epoch in JSON, as in EMQX."""
    if formatter == "json":
        return _Json(_rfc3339 if timestamp_format == "rfc3339" else _microseconds)
    if timestamp_format == "auto":
        return logging.Formatter(TEXT_FORMAT)
    return _Text(_rfc3339 if timestamp_format == "rfc3339" else _microseconds)


def _handler(name: str) -> logging.Handler | None:
    return next((each for each in logging.getLogger().handlers if each.get_name() == name), None)


def _default(governed: Governed) -> Log:
    console = _handler(CONSOLE)
    root = logging.getLogger()
    level = root.level if console is None else console.level or root.level
    name = str(logging.getLevelName(level)).lower()
    return Log(console=Console(level=name if name in _LEVELS else "info"))  # pyright: ignore[reportArgumentType]


def _apply(governed: Governed, value: Log) -> None:
    console, file = _handler(CONSOLE), _handler(FILE)
    if value.file.enable and governed.data_dir is None:
        raise ApiError(400, "UPDATE_FAILED", "log.file: there is no data directory to keep it in")
    fresh = _open(governed.data_dir, value.file) if value.file.enable and governed.data_dir is not None else None
    root = logging.getLogger()
    if file is not None:
        root.removeHandler(file)
        file.close()
    if fresh is not None:
        root.addHandler(fresh)
    if console is None and fresh is None:
        return
    levels = [] if fresh is None else [fresh.level]
    if console is not None:
        fixed: Any = governed.fixed.get("log", {})
        level = root.level if "level" in fixed else _LEVELS[value.console.level]
        console.setLevel(level if value.console.enable else _OFF)
        console.setFormatter(make_formatter(value.console.formatter, value.console.timestamp_format))
        levels.append(level if value.console.enable else _OFF)
    root.setLevel(min(levels))


def _open(data_dir: Path, file: LogFile) -> RotatingFileHandler:
    """Open the log's file, readable by its owner alone; raises `ApiError` 400."""
    folder = data_dir / _FOLDER
    most = 0 if file.rotation_size == "infinity" else max(4_096, size(file.rotation_size))
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / FILE_NAME).touch(mode=0o600)
        handler = RotatingFileHandler(
            folder / FILE_NAME, maxBytes=most, backupCount=file.rotation_count, encoding="utf-8"
        )
    except OSError as error:
        raise ApiError(400, "UPDATE_FAILED", f"log.file: cannot be opened: {error.strerror}") from error
    handler.set_name(FILE)
    handler.setLevel(_LEVELS[file.level])
    handler.setFormatter(make_formatter(file.formatter, file.timestamp_format))
    return handler


def check_fixed(governed: Governed, value: Log) -> None:
    """Raise `ApiError` 403 for a level that the command line or the environment override."""
    fixed: Any = governed.fixed.get("log", {})
    given = fixed.get("level")
    sent = "console" in value.model_fields_set and "level" in value.console.model_fields_set
    if sent and given is not None and value.console.level != given:
        raise ApiError(403, "UPDATE_FAILED", "log.console.level is given on the command line or in the environment")


LOG: Root[Log] = Root("log", Log, _default, _apply)
