"""The addresses of listeners, as a configuration writes them."""

from dataclasses import dataclass

UNIX_PREFIX = "unix:"
_BRACKETS = "an IPv6 address must stand in brackets, followed by a colon and the port"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """Where a listener listens; `host` is None for all addresses of the machine, port 0 is any free one."""

    host: str | None
    port: int

    def __str__(self) -> str:
        host = self.host or ""
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The file of a Unix socket, and its permissions."""

    path: str
    mode: int

    def __str__(self) -> str:
        return f"{UNIX_PREFIX}{self.path}"


Address = TcpAddress | UnixAddress


def read_address(text: str, default_port: int, socket_mode: int) -> Address:
    """Read a listener's `bind` in any of amqtt's forms (HOST:PORT, [IPV6]:PORT, :PORT, PORT, HOST), or unix:/PATH.

    Raises ValueError.
    """
    if text.startswith(UNIX_PREFIX):
        path = text.removeprefix(UNIX_PREFIX)
        if not path.startswith("/") or path.endswith("/") or not path.isprintable():
            raise ValueError("must be unix: and the absolute path of a socket")
        return UnixAddress(path, socket_mode)
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ValueError(_BRACKETS)
        return TcpAddress(_read_host(host), _read_port(rest.removeprefix(":"), default_port))
    host, colon, port = text.rpartition(":")
    if not colon and port and not port.isdigit():
        return TcpAddress(_read_host(port), default_port)
    if ":" in host:
        raise ValueError(_BRACKETS)
    return TcpAddress(_read_host(host) if host else None, _read_port(port, default_port))


def _read_host(text: str) -> str:
    if not text or " " in text or not text.isprintable():
        raise ValueError(f"{text!r} is no host")
    return text


def _read_port(text: str, default: int) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and int(text) <= 65_535):
        raise ValueError(f"{text!r} is no port")
    return int(text)
