"""What the operations on traces take and answer."""

from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from ....broker.routing.topics import InvalidTopic, check_filter
from ....broker.tracing.definition import Formatter, PayloadEncode, Status, Trace, TraceType
from ....broker.tracing.watching import plain_address
from ...errors import bad_request
from ...limits import Body
from ...paging import Query

_MAX_SECONDS = 253_402_300_799
"""The end of the year 9999."""
_RUNS_FOR = 600
_MAX_VALUE = 65_535

Moment = Annotated[int, Field(ge=0, le=_MAX_SECONDS)] | Annotated[str, Field(max_length=64)]
"""Seconds since the epoch, or RFC 3339."""
Value = Annotated[str, Field(max_length=_MAX_VALUE)]


class NewTrace(Body):
    """A trace that is to be made; of what is traced, the field counts that is named like the type."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z]+[A-Za-z0-9_-]*$", max_length=256)]
    type: TraceType
    clientid: Value | None = None
    topic: Value | None = None
    ip_address: Annotated[str, Field(max_length=64)] | None = None
    ruleid: Value | None = None
    payload_encode: PayloadEncode = "text"
    formatter: Formatter = "text"
    start_at: Moment | None = None
    end_at: Moment | None = None

    def definition(self, now: int) -> Trace:
        """Make a trace of it. Raises `ApiError` 400."""
        start_at = max(now, now if self.start_at is None else seconds_of(self.start_at, "start_at"))
        end_at = start_at + _RUNS_FOR if self.end_at is None else seconds_of(self.end_at, "end_at")
        if end_at <= now:
            raise bad_request("end_at time has already passed", "INVALID_PARAMS")
        if end_at <= start_at:
            raise bad_request("end_at must be after start_at", "INVALID_PARAMS")
        return Trace(self.name, self.type, self._value(), start_at, end_at, self.payload_encode, self.formatter)

    def _value(self) -> str:
        values = {"clientid": self.clientid, "topic": self.topic, "ip_address": self.ip_address, "ruleid": self.ruleid}
        value = values[self.type]
        if not value:
            raise bad_request(f"body: {self.type}: must be given, and not be empty")
        if self.type == "topic":
            try:
                check_filter(value)
            except InvalidTopic as error:
                raise bad_request(f"body: topic: {error}") from None
        elif self.type == "ip_address":
            try:
                return plain_address(str(ip_address(value)))
            except ValueError:
                raise bad_request("body: ip_address: is no address") from None
        return value


class LogQuery(Query):
    """Choose a part of a trace's file."""

    bytes: int = Field(default=1_000, ge=0, le=2_147_483_647, description="Bytes that are wanted at most")
    position: int = Field(default=0, ge=0, le=2**63 - 1, description="Where to begin, from an earlier answer")
    node: str | None = Field(default=None, max_length=255, description="Name of the node")


class DownloadQuery(Query):
    """Choose a node."""

    node: str | None = Field(default=None, max_length=255, description="Name of the node")


class TraceRow(TypedDict):
    """A trace; of the four that say what is traced there is the one named like the type."""

    name: str
    type: TraceType
    clientid: NotRequired[str]
    topic: NotRequired[str]
    ip_address: NotRequired[str]
    ruleid: NotRequired[str]
    status: Status
    payload_encode: PayloadEncode
    formatter: Formatter
    start_at: str
    end_at: str
    log_size: dict[str, int]


class StoppedTrace(TypedDict):
    """A trace that was stopped."""

    name: str
    enable: bool


class LogMeta(TypedDict):
    """How many bytes were asked for, and where the next part begins."""

    bytes: int
    position: int


class LogPart(TypedDict):
    """A part of a trace's file; empty where there is nothing new."""

    items: str
    meta: LogMeta


class LogDetail(TypedDict):
    """The file on one node: bytes, and when it was last written in seconds since the epoch."""

    node: str
    size: int
    mtime: int


def seconds_of(moment: int | str, name: str) -> int:
    """Read a time as seconds since the epoch. Raises `ApiError` 400."""
    if isinstance(moment, int):
        return moment
    if moment.isascii() and moment.isdigit() and int(moment) <= _MAX_SECONDS:
        return int(moment)
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError:
        raise bad_request(f"body: {name}: must be RFC 3339 or seconds since the epoch") from None
    if parsed.tzinfo is None:
        raise bad_request(f"body: {name}: must name its offset from UTC, as in 2026-01-31T12:00:00Z")
    try:
        return max(0, int(parsed.timestamp()))
    except (OverflowError, ValueError):
        raise bad_request(f"body: {name}: is out of range") from None


def row_of(trace: Trace, now: float, node: str, size: int) -> TraceRow:
    """Describe a trace, with the bytes of its file."""
    row: TraceRow = {
        "name": trace.name,
        "type": trace.type,
        "status": trace.status(now),
        "payload_encode": trace.payload_encode,
        "formatter": trace.formatter,
        "start_at": _format(trace.start_at),
        "end_at": _format(trace.end_at),
        "log_size": {node: size},
    }
    match trace.type:
        case "clientid":
            row["clientid"] = trace.value
        case "topic":
            row["topic"] = trace.value
        case "ip_address":
            row["ip_address"] = trace.value
        case "ruleid":
            row["ruleid"] = trace.value
    return row


def _format(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
