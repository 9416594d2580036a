"""HOST:PORT, as the API's address and what is bound are spelt."""

from ..broker.listeners.addresses import UNIX_PREFIX


def split_address(text: str) -> tuple[str, int]:
    """Split "HOST:PORT" into host and port; an IPv6 host stands in brackets, port 0 means any free port.

    Raises ValueError with a sentence fragment that says what is expected.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    if not colon or not bare or (":" in bare) is not bracketed or not bare.isprintable() or " " in bare:
        raise ValueError(f"must be HOST:PORT, not '{text}'")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65_535):
        raise ValueError(f"must end in a port between 0 and 65535, not '{text}'")
    return bare, int(port)


def format_address(host: str, port: int) -> str:
    """Format host and port as HOST:PORT, an IPv6 host in brackets; a Unix socket's path has no port."""
    if host.startswith(UNIX_PREFIX):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
