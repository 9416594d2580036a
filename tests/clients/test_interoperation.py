"""What one client writes, all the others read: every library and version with every other."""

import asyncio
from typing import Any

import pytest

from .kinds import HAS_MOSQUITTO, KINDS, Meeting, needs_mosquitto, needs_node, runnable
from .mosquitto import Mosquitto
from .party import VERSIONS, Filter, Kind, Properties, Received

TOPIC = "räume/küche/温度"
PAYLOADS = ["21,5 °C 🌡".encode(), bytes(range(256)), b"x" * 20_000]
SENT: Properties = {
    "payload_format": 0,
    "content_type": "application/octet-stream",
    "response_topic": "antworten/küche",
    "correlation_data": b"4711",
    "user_properties": [("site", "eins"), ("site", "zwei"), ("unit", "°C")],
}
OPTIONS = {
    "payload_format": "payload-format-indicator",
    "content_type": "content-type",
    "response_topic": "response-topic",
    "correlation_data": "correlation-data",
}
WRITERS = [kind for kind in KINDS if kind.transport == "tcp"] + [Kind("mosquitto", level) for level in VERSIONS]
NEEDS = {"mqttjs": [needs_node], "mosquitto": [needs_mosquitto]}


async def write(meeting: Meeting, kind: Kind) -> None:
    """Send each payload at each QoS, and all properties where the version has them."""
    properties: dict[str, Any] = dict(SENT) if kind.level == 5 else {}
    if kind.library != "mosquitto":
        writer = await meeting.join(kind, "writer")
        for qos in (0, 1, 2):
            for payload in PAYLOADS:
                await writer.publish(TOPIC, payload, qos, **properties)
        return
    arguments: list[str] = []
    for name, value in properties.items():
        if name == "user_properties":
            for pair in value:
                arguments += ["-D", "PUBLISH", "user-property", *pair]
        else:
            text = value.decode() if isinstance(value, bytes) else str(value)
            arguments += ["-D", "PUBLISH", OPTIONS[name], text]
    for qos in (0, 1, 2):
        for payload in PAYLOADS:
            await Mosquitto(meeting.place, kind.level).publish(
                "-q", str(qos), "-t", TOPIC, "-s", *arguments, standard_input=payload
            )


@pytest.mark.parametrize(
    "writer", [pytest.param(kind, id=str(kind), marks=NEEDS.get(kind.library, [])) for kind in WRITERS]
)
async def test_what_one_writes_all_read(meeting: Meeting, writer: Kind) -> None:
    """[MQTT-3.3.5-1]: topic, payload and QoS to everybody, the properties to those who know properties."""
    tools = {level: Mosquitto(meeting.place, level) for level in (VERSIONS if HAS_MOSQUITTO else ())}
    readers = [await meeting.join(kind, f"{kind}") for kind in runnable(KINDS)]
    try:
        await asyncio.gather(*(reader.subscribe(Filter("räume/#", 2)) for reader in readers))
        subscribers = {
            Kind("mosquitto", level): await tool.subscribe(f"mosquitto-{level}", "-q", "2", "-t", "räume/#")
            for level, tool in tools.items()
        }
        await write(meeting, writer)
        count = 3 * len(PAYLOADS)
        read = {reader.kind: await reader.take(count) for reader in readers}
        read |= {kind: await subscriber.take(count) for kind, subscriber in subscribers.items()}
    finally:
        for tool in tools.values():
            await tool.close()
    for kind, messages in read.items():
        properties = SENT if writer.level == kind.level == 5 else {}
        expected = [Received(TOPIC, payload, qos, False, properties) for qos in (0, 1, 2) for payload in PAYLOADS]
        # A library may hand on a QoS 2 message when it comes or when it is released, so the order is per QoS.
        assert sorted(messages, key=lambda message: message.qos) == expected, f"{writer} to {kind}"
