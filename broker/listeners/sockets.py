"""Bind the sockets of a listener: TCP at one or all of a name's addresses, or a Unix socket."""

import asyncio
import errno
import os
import socket
import stat
import sys
from contextlib import suppress

from .addresses import Address, UnixAddress

_IGNORED = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""What binding says where the machine has no IPv6, say, though the name has such an address."""


async def bind(loop: asyncio.AbstractEventLoop, address: Address) -> list[socket.socket]:
    """Bind without listening yet; raises OSError, with nothing left bound."""
    if isinstance(address, UnixAddress):
        return [_bind_unix(address)]
    found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    bound: list[socket.socket] = []
    port, passed_over = address.port, OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    try:
        for family, _, _, _, target in dict.fromkeys(found):
            try:
                # The first socket finds the free port, the others take the same.
                bound.append(_bind_tcp(family, (target[0], port, *target[2:])))
            except OSError as error:
                if len(found) == 1 or error.errno not in _IGNORED:
                    raise
                passed_over = error
                continue
            port = bound[0].getsockname()[1]
        if not bound:
            raise passed_over
    except BaseException:
        for opened in bound:
            opened.close()
        raise
    return bound


def _bind_tcp(family: int, target: tuple[object, ...]) -> socket.socket:
    # With the protocol named, for asyncio sends small packets at once only on sockets that say they are TCP.
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix" and sys.platform != "cygwin":
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # so that 0.0.0.0 and [::] can both be listened at, as asyncio has it
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.setblocking(False)
        opened.bind(target)
    except BaseException:
        opened.close()
        raise
    return opened


def _bind_unix(address: UnixAddress) -> socket.socket:
    _remove_stale(address.path)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        opened.setblocking(False)
        opened.bind(address.path)
        # Nobody can connect before `listen`, so that the file's first permissions let nobody in.
        os.chmod(address.path, address.mode)
    except BaseException:
        opened.close()
        raise
    return opened


def _remove_stale(path: str) -> None:
    """Remove the socket file of a server that is gone; raises OSError if one is there, or something else is."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, "the file exists and is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with suppress(FileNotFoundError):
                os.unlink(path)
            return
        except BlockingIOError:
            pass  # somebody listens, and has more to accept than it can
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


class SocketFile:
    """Remember the file of a bound Unix socket, to remove that file and no later one in its place."""

    def __init__(self, path: str) -> None:
        self._path = path
        found = os.lstat(path)
        self._identity = (found.st_dev, found.st_ino)

    def remove(self) -> None:
        """Remove the file if it is still the same."""
        with suppress(FileNotFoundError):
            found = os.lstat(self._path)
            if (found.st_dev, found.st_ino) == self._identity:
                os.unlink(self._path)
