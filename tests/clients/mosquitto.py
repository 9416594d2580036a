"""Debian's mosquitto_pub, mosquitto_sub and mosquitto_rr, run as a person at a shell does."""

import asyncio
import signal
from contextlib import suppress
from itertools import pairwise
from typing import NamedTuple

from ..engine.conditions import until
from .party import SECONDS, Properties, Received
from .places import Place

VERSIONS = {3: "mqttv31", 4: "mqttv311", 5: "mqttv5"}
MARK = "received"
FIELDS = {
    "payload_format": "%F",
    "content_type": "%C",
    "response_topic": "%R",
    "correlation_data": "%D",
    "subscription_identifiers": "%S",
    "user_properties": "%P",
    "message_expiry": "%E",
}
PLAIN = rf"{MARK}\t%t\t%q\t%r\t%x"
FORMAT = r"\t".join([PLAIN, *FIELDS.values()])
NUMBERS = ("payload_format", "message_expiry")


class Outcome(NamedTuple):
    status: int
    output: str
    errors: str


def parsed(line: str) -> Received:
    """Read one line that was written in the format."""
    _, topic, qos, retain, payload, *rest = line.split("\t")
    properties: Properties = {}
    for name, text in zip(FIELDS, rest, strict=bool(rest)):
        if not text:
            continue
        if name == "user_properties":
            properties[name] = [tuple(pair.split(":", 1)) for pair in text.split(" ")]
        elif name == "subscription_identifiers":
            properties[name] = [int(text)]
        elif name in NUMBERS:
            properties[name] = int(text)
        else:
            properties[name] = text.encode() if name == "correlation_data" else text
    return Received(topic, bytes.fromhex(payload), int(qos), retain == "1", properties)


class Subscriber:
    """A mosquitto_sub that runs until it is stopped."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.messages: list[Received] = []
        self.said: list[str] = []
        """What it wrote besides messages, such as why it gave up."""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            line = raw.decode().rstrip("\n")
            if line.startswith(f"{MARK}\t"):
                self.messages.append(parsed(line))
            else:
                self.said.append(line)

    @property
    def gone(self) -> bool:
        """Tell whether the process ended."""
        return self._reading.done()

    async def take(self, count: int) -> list[Received]:
        await until(lambda: len(self.messages) >= count or self.gone, SECONDS)
        assert len(self.messages) >= count, self.said
        return self.messages

    async def ended(self) -> int:
        """Wait until the process ends by itself, and give its exit status."""
        async with asyncio.timeout(SECONDS):
            await self._reading
            return await self.process.wait()

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End the process: SIGTERM lets it say good-bye, SIGKILL does not."""
        with suppress(ProcessLookupError):
            self.process.send_signal(how)
        return await self.ended()


class Mosquitto:
    """The tools in one protocol version; `secure` over TLS."""

    def __init__(self, place: Place, level: int, *, secure: bool = False) -> None:
        host, port = place.address("tls" if secure else "tcp")
        self._broker = place.broker
        self._options = ["-h", host, "-p", str(port), "-V", VERSIONS[level]]
        if secure:
            self._options += ["--cafile", str(place.certificates.authority)]
        self._format = FORMAT if level == 5 else PLAIN
        self._subscribers: list[Subscriber] = []

    async def run(self, tool: str, *arguments: str, standard_input: bytes = b"") -> Outcome:
        """Run a tool to its end."""
        process = await asyncio.create_subprocess_exec(
            f"mosquitto_{tool}",
            *self._options,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(SECONDS):
                output, errors = await process.communicate(standard_input)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        return Outcome(process.returncode, output.decode(), errors.decode())

    async def publish(self, *arguments: str, standard_input: bytes = b"") -> None:
        """Run mosquitto_pub, which has to succeed."""
        outcome = await self.run("pub", *arguments, standard_input=standard_input)
        assert outcome.status == 0, outcome.errors

    async def subscribe(self, client_id: str, *arguments: str) -> Subscriber:
        """Start a mosquitto_sub and wait until the broker has its subscriptions."""
        process = await asyncio.create_subprocess_exec(
            "mosquitto_sub",
            *self._options,
            "-F",
            self._format,
            "-i",
            client_id,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=2**22,
        )
        subscriber = Subscriber(process)
        self._subscribers.append(subscriber)
        wanted = {filter_ for option, filter_ in pairwise(arguments) if option == "-t"}

        # The tool's own debug output comes late: it is flushed with the first message only.
        def subscribed() -> bool:
            session = self._broker.registry.get(client_id)
            return session is not None and session.connected and wanted <= set(session.subscriptions)

        await until(lambda: subscriber.gone or subscribed(), SECONDS)
        assert not subscriber.gone, subscriber.said
        return subscriber

    async def close(self) -> None:
        for subscriber in self._subscribers:
            await subscriber.stop(signal.SIGKILL)
