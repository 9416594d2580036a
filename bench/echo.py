"""A server that returns what it reads, as a control: what is left of a latency there is not a broker's."""

import asyncio
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from brokers import Endpoint
from processes import start

ECHO = "echo"
"""The name of its endpoint."""


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)  # type: ignore[attr-defined]


@contextmanager
def running_echo() -> Iterator[Endpoint]:
    """Run the server in a process of its own."""
    with start([sys.executable, __file__]) as process:
        try:
            if process.stdout is None or not (line := process.stdout.readline()):
                raise RuntimeError("the echo server did not start")
            yield Endpoint(ECHO, "127.0.0.1", int(line), "", "", process.pid)
        finally:
            process.kill()


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Echo, "127.0.0.1", 0, backlog=1_024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if importlib.util.find_spec("uvloop"):
        importlib.import_module("uvloop").install()
    asyncio.run(_serve())
