"""What paho-mqtt lets its user do that the other libraries do not: hold acknowledgements back, and read reasons."""

from typing import Any

import pytest
from wardenmq.broker.settings import MqttSettings

from ..engine.conditions import until
from .kinds import Meeting
from .node import Node
from .paho_party import PahoParty
from .party import SECONDS, VERSIONS, Filter, Kind, Options, fence
from .places import Certificates, Place, open_place

IN_FLIGHT = 4


async def join(place: Place, node: Node, level: int, client_id: str, **options: Any) -> PahoParty:
    more = {"manual_ack": True} if options.pop("manual_ack", False) else {}
    party = PahoParty(Kind("paho", level), place, Options(client_id=client_id, **options), node, **more)
    await party.connect()
    return party


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("level", VERSIONS, ids=VERSIONS.values())
async def test_no_more_in_flight_than_allowed(certificates: Certificates, node: Node, level: int, qos: int) -> None:
    """[MQTT5-3.3.4-9]: one more for each acknowledgement; before version 5 the broker's own limit holds."""
    settings = MqttSettings(max_inflight=100 if level == 5 else IN_FLIGHT)
    properties = {"receive_maximum": IN_FLIGHT} if level == 5 else {}
    async with open_place(certificates, settings=settings) as place:
        narrow = await join(place, node, level, "narrow", manual_ack=True, properties=properties)
        publisher = await join(place, node, level, "pub")
        session = place.broker.registry.get("narrow")
        assert session is not None
        try:
            await narrow.subscribe(Filter("t", qos), Filter("fence", 0))
            await publisher.publish_all("t", [b"%d" % n for n in range(10)], qos)
            for acknowledged in range(7):
                await fence(publisher, narrow)
                await until(lambda: len(narrow.messages) == IN_FLIGHT + acknowledged, SECONDS)  # noqa: B023
                assert session.in_flight_count == IN_FLIGHT
                narrow.client.ack(narrow.mids[acknowledged], qos)
                await narrow.take(IN_FLIGHT + acknowledged + 1 if acknowledged < 6 else 10)
            assert narrow.payloads() == [b"%d" % n for n in range(10)]
        finally:
            await publisher.close()
            await narrow.close()


@pytest.mark.parametrize(("level", "code"), [(4, 0x80), (5, 0x8F)], ids=["3.1.1", "5"])
async def test_a_filter_that_is_too_deep(meeting: Meeting, level: int, code: int) -> None:
    """[MQTT-3.8.4-5]: one filter that the broker does not take, beside one that it does."""
    client = await meeting.join(Kind("paho", level), "c1")
    levels = "/".join("x" * (meeting.broker.settings.max_topic_levels + 1))
    assert await client.subscribe(Filter("good", 1), Filter(levels, 1)) == [1, code]


@pytest.mark.parametrize("level", VERSIONS, ids=VERSIONS.values())
async def test_exactly_once_over_broken_connections(meeting: Meeting, level: int) -> None:
    """[MQTT-4.3.3-2] [MQTT-4.4.0-1]: paho sends again what was not acknowledged; the subscriber sees nothing twice."""
    subscriber = await meeting.join(Kind("paho", level), "sub")
    await subscriber.subscribe(Filter("t", 2))
    properties = {"session_expiry": 600} if level == 5 else {}
    publisher = await meeting.join(Kind("paho", level), "pub", clean=False, reconnect=True, properties=properties)
    assert isinstance(publisher, PahoParty)
    sent = [b"%d" % n for n in range(200)]
    for start in range(0, 200, 50):
        for payload in sent[start : start + 50]:
            publisher.client.publish("t", payload, 2)
        await subscriber.take(start + 5)
        await publisher.drop()
    await subscriber.take(200)
    await fence_at_qos_2(publisher, subscriber)
    assert sorted(subscriber.payloads(), key=int) == sent


async def fence_at_qos_2(publisher: PahoParty, subscriber: Any) -> None:
    """Wait until nothing of the publisher's is unfinished, and have a last message arrive."""
    await until(lambda: not publisher.client._out_messages, SECONDS)
    await subscriber.subscribe(Filter("fence", 1))
    await fence(publisher, subscriber)
