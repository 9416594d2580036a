"""Debian's mosquitto tools, in the three versions."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from ..engine.conditions import until
from .conftest import Guarded
from .kinds import Meeting, needs_mosquitto
from .mosquitto import Mosquitto
from .party import SECONDS, VERSIONS

pytestmark = needs_mosquitto
every_version = pytest.mark.parametrize("level", VERSIONS, ids=VERSIONS.values())
CONNECTION_REFUSED = {3: 4, 4: 4, 5: 134}


@pytest_asyncio.fixture
async def tools(meeting: Meeting, level: int) -> AsyncIterator[Mosquitto]:
    tools = Mosquitto(meeting.place, level)
    yield tools
    await tools.close()


@every_version
async def test_a_wrong_password_is_refused(guarded: Guarded, level: int) -> None:
    """[MQTT-3.2.2-5]: the tools print the reason, and the right password is let in."""
    tools = Mosquitto(guarded.meeting.place, level)
    outcome = await tools.run("pub", "-u", "alice", "-P", "wrong", "-t", "own/x", "-m", "x")
    assert outcome.status == CONNECTION_REFUSED[level]
    assert "bad user name or password" in outcome.errors.lower()
    await tools.publish("-u", "alice", "-P", "secret", "-q", "1", "-r", "-t", "own/x", "-m", "allowed")
    login = ("-u", "alice", "-P", "secret", "-q", "1")
    outcome = await tools.run("sub", *login, "-t", "own/#", "-t", "other/#", "-C", "1", "-W", "10")
    assert (outcome.status, outcome.output) == (0, "allowed\n")
    if level > 3:  # 3.1 has no code for it
        outcome = await tools.run("sub", *login, "-t", "other/#", "-C", "1", "-W", "10")
        assert "All subscription requests were denied" in outcome.errors


@pytest.mark.parametrize("qos", [0, 1, 2])
@every_version
async def test_many_messages_keep_their_order(tools: Mosquitto, level: int, qos: int) -> None:
    """[MQTT-4.6.0-6]: a file of lines, each a message."""
    subscriber = await tools.subscribe("sub", "-q", str(qos), "-t", "room/+/temperature")
    lines = [b"%d" % n for n in range(200)]
    await tools.publish("-q", str(qos), "-l", "-t", "room/1/temperature", standard_input=b"\n".join(lines) + b"\n")
    received = await subscriber.take(200)
    assert [message.payload for message in received] == lines
    assert {(message.topic, message.qos) for message in received} == {("room/1/temperature", qos)}
    assert await subscriber.stop() == 0


@every_version
async def test_a_big_message(tools: Mosquitto, level: int) -> None:
    """[MQTT-3.3.2-1]: every value of a byte, nearly as large as the broker takes."""
    subscriber = await tools.subscribe("sub", "-q", "1", "-t", "t")
    payload = bytes(range(256)) * 3_000
    await tools.publish("-q", "1", "-t", "t", "-s", standard_input=payload)
    assert (await subscriber.take(1))[0].payload == payload


@every_version
async def test_retained_messages(tools: Mosquitto, level: int) -> None:
    """[MQTT-3.3.1-6] [MQTT-3.3.1-10]: `--retained-only` ends at the first that is live; `-n -r` clears."""
    await tools.publish("-q", "1", "-r", "-t", "state/a", "-m", "on")
    await tools.publish("-q", "1", "-r", "-t", "state/b", "-m", "off")
    await tools.publish("-q", "1", "-r", "-t", "state/b", "-n")
    subscriber = await tools.subscribe("sub", "-q", "1", "-t", "#")
    await tools.publish("-q", "1", "-t", "state/c", "-m", "live")
    assert [(m.topic, m.retain) for m in await subscriber.take(2)] == [("state/a", True), ("state/c", False)]


@every_version
async def test_the_will(tools: Mosquitto, level: int) -> None:
    """[MQTT-3.1.2-8] [MQTT-3.1.2-10]: for the one that is killed, not for the one that says good-bye."""
    watcher = await tools.subscribe("watcher", "-q", "1", "-t", "will/#")
    will = ("--will-qos", "1", "--will-payload", "gone", "-t", "nothing")
    # Stopped by a signal, version 5 asks for its will; so this one leaves of its own accord.
    assert (await tools.run("sub", "-E", "--will-topic", "will/leaving", *will)).status == 0
    killed = await tools.subscribe("killed", "--will-topic", "will/killed", "--will-retain", *will)
    await killed.stop(signal.SIGKILL)
    assert [(m.topic, m.payload) for m in await watcher.take(1)] == [("will/killed", b"gone")]
    late = await tools.subscribe("late", "-q", "1", "-t", "will/#")
    assert [(m.topic, m.retain) for m in await late.take(1)] == [("will/killed", True)]
    if level == 5:
        stopped = await tools.subscribe("stopped", "--will-topic", "will/stopped", *will)
        await stopped.stop(signal.SIGTERM)
        assert (await watcher.take(2))[1].topic == "will/stopped"


@every_version
async def test_a_session_keeps_what_its_client_missed(tools: Mosquitto, level: int) -> None:
    """[MQTT-3.1.2-4] [MQTT-4.1.0-1]: `-c` with and without a good-bye."""
    persistent = ("device", "-c", "-q", "2", "-t", "t")
    for how in (signal.SIGTERM, signal.SIGKILL):
        await (await tools.subscribe(*persistent)).stop(how)
        await tools.publish("-q", "2", "-t", "t", "-l", standard_input=b"1\n2\n3\n")
        again = await tools.subscribe(*persistent)
        assert [(m.payload, m.qos) for m in await again.take(3)] == [(b"1", 2), (b"2", 2), (b"3", 2)]
        assert await again.stop() == 0


@every_version
async def test_unsubscribe(meeting: Meeting, tools: Mosquitto, level: int) -> None:
    """[MQTT-3.10.4-2]: `-U` drops a filter of the stored session, which keeps the other."""
    persistent = ("device", "-c", "-q", "1")
    await (await tools.subscribe(*persistent, "-t", "a", "-t", "b")).stop()
    session = meeting.broker.registry.get("device")
    assert session is not None
    unsubscribing = await tools.subscribe(*persistent, "-t", "b", "-U", "a")
    await until(lambda: set(session.subscriptions) == {"b"}, SECONDS)
    await tools.publish("-q", "1", "-t", "a", "-m", "no")
    await tools.publish("-q", "1", "-t", "b", "-m", "yes")
    assert [m.topic for m in await unsubscribing.take(1)] == ["b"]


@every_version
async def test_a_second_connection_takes_over(meeting: Meeting, tools: Mosquitto, level: int) -> None:
    """[MQTT-3.1.4-2]: the first has its connection closed; in 5 it ends, before that it comes back and takes over."""
    first = await tools.subscribe("same", "-t", "t")
    taken = meeting.broker.registry.get("same")
    assert taken is not None
    await tools.publish("-i", "same", "-q", "1", "-t", "x", "-m", "x")
    if level == 5:
        await first.ended()
        assert meeting.broker.registry.connected_count == 0
        return

    def back() -> bool:
        session = meeting.broker.registry.get("same")
        return session is not None and session is not taken and "t" in session.subscriptions

    await until(back, SECONDS)
    assert meeting.broker.registry.connected_count == 1
    await tools.publish("-q", "1", "-t", "t", "-m", "back")
    await first.take(1)


@every_version
async def test_tls(meeting: Meeting, level: int) -> None:
    async with AsyncExitStack() as stack:
        tools = Mosquitto(meeting.place, level, secure=True)
        stack.push_async_callback(tools.close)
        subscriber = await tools.subscribe("sub", "-q", "1", "-t", "t")
        await tools.publish("-q", "1", "-t", "t", "-m", "secret")
        assert (await subscriber.take(1))[0].payload == b"secret"


@every_version
async def test_request_and_response(tools: Mosquitto, level: int) -> None:
    """(4.10) mosquitto_rr is answered: in version 5 where the request says, else at an agreed topic."""
    service = await tools.subscribe("sub", "-q", "1", "-t", "ask")
    asking = asyncio.create_task(tools.run("rr", "-q", "1", "-t", "ask", "-e", "answer", "-m", "ping", "-W", "10"))
    (request,) = await service.take(1)
    assert request.payload == b"ping"
    assert request.properties.get("response_topic") == ("answer" if level == 5 else None)
    await tools.publish("-q", "1", "-t", "answer", "-m", "pong")
    assert (await asking).output == "pong\n"


@pytest.mark.parametrize("level", [5], ids=["5"])
async def test_properties(tools: Mosquitto, level: int) -> None:
    """[MQTT5-3.3.2-18] [MQTT5-3.3.4-3] [MQTT5-3.3.2-6]: -D on both sides, printed as they arrived."""
    subscriber = await tools.subscribe("sub", "-q", "1", "-t", "t", "-D", "SUBSCRIBE", "subscription-identifier", "7")
    names = ("content-type", "response-topic", "correlation-data", "payload-format-indicator")
    values = ("text/plain", "answers", "4711", "1")
    given = [word for pair in zip(names, values, strict=True) for word in ("-D", "PUBLISH", *pair)]
    for pair in (("a", "1"), ("b", "2"), ("a", "3")):
        given += ["-D", "PUBLISH", "user-property", *pair]
    await tools.publish("-q", "1", "-t", "t", "-m", "x", "-D", "PUBLISH", "message-expiry-interval", "300", *given)
    (message,) = await subscriber.take(1)
    assert message.properties.pop("message_expiry") in range(280, 301)
    assert message.properties == {
        "payload_format": 1,
        "content_type": "text/plain",
        "response_topic": "answers",
        "correlation_data": b"4711",
        "subscription_identifiers": [7],
        "user_properties": [("a", "1"), ("b", "2"), ("a", "3")],
    }


@pytest.mark.parametrize("level", [5], ids=["5"])
async def test_shared_subscriptions(tools: Mosquitto, level: int) -> None:
    """(4.8.2) Two workers share what is published."""
    workers = [await tools.subscribe(f"worker{n}", "-q", "1", "-t", "$share/workers/jobs") for n in range(2)]
    jobs = [b"%d" % n for n in range(20)]
    await tools.publish("-q", "1", "-t", "jobs", "-l", standard_input=b"\n".join(jobs) + b"\n")
    first, second = [[message.payload for message in await worker.take(10)] for worker in workers]
    assert sorted(first + second) == sorted(jobs)


@pytest.mark.parametrize("level", [5], ids=["5"])
async def test_session_expiry(meeting: Meeting, tools: Mosquitto, level: int) -> None:
    """[MQTT5-3.1.2-23]: `-x 0` leaves nothing behind, `-x 600` does."""
    for expiry, kept in (("0", False), ("600", True)):
        await (await tools.subscribe("device", "-c", "-x", expiry, "-q", "1", "-t", "t")).stop()
        await until(lambda: meeting.broker.registry.connected_count == 0, SECONDS)
        assert (meeting.broker.registry.get("device") is not None) is kept
