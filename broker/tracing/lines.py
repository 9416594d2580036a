"""What happened, as lines of a trace's file: text in EMQX's layout, or a JSON object each."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from .definition import Formatter, PayloadEncode
from .packets import describe_packets, printable, show_payload, show_username

_OVERHEAD = 300
"""Bytes that an event costs besides what it carries."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened, or several packets that were sent together."""

    at: float
    """Seconds since the epoch."""
    tag: str
    message: str
    client_id: str = ""
    username: str | None = None
    peer: str = ""
    """Address and port."""
    details: Mapping[str, str | int] = field(default_factory=dict[str, "str | int"])
    packets: bytes = b""
    version: int = 4
    """The protocol version of the packets."""
    payload: bytes | None = None

    @property
    def size(self) -> int:
        """What it holds in memory, in bytes."""
        return _OVERHEAD + len(self.packets) + len(self.payload or b"")


def render(event: Happening, formatter: Formatter, encode: PayloadEncode) -> Iterator[str]:
    """Write the lines of an event, each with its end."""
    write = _as_json if formatter == "json" else _as_text
    payload = None if event.payload is None else show_payload(event.payload, encode)
    if not event.packets:
        yield write(event, None, payload)
        return
    for packet in describe_packets(event.packets, event.version, encode):
        yield write(event, packet, payload)


def _as_text(event: Happening, packet: str | None, payload: str | None) -> str:
    fields = [] if packet is None else [f"packet: {packet}"]
    fields += [f"{key}: {_plain(value)}" for key, value in event.details.items()]
    if payload is not None:
        fields.append(f"payload: {payload}")
    head = f"{_time(event.at)} [{event.tag}] {printable(event.client_id)}@{event.peer} msg: {event.message}"
    return ", ".join([head, *fields]) + "\n"


def _as_json(event: Happening, packet: str | None, payload: str | None) -> str:
    meta: dict[str, str | int] = {"clientid": printable(event.client_id)}
    if event.username is not None:
        meta["username"] = show_username(event.username)
    meta |= {"peername": event.peer, "trace_tag": event.tag}
    if packet is not None:
        meta["packet"] = packet
    meta |= {key: _plain(value) for key, value in event.details.items()}
    if payload is not None:
        meta["payload"] = payload
    record = {"time": _time(event.at), "level": "debug", "msg": event.message, "meta": meta}
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"


def _plain(value: str | int) -> str | int:
    return printable(value) if isinstance(value, str) else value


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
