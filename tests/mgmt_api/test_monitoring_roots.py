"""The roots alarm, sysmon and sys_topics: their defaults are EMQX's, a change acts at once and survives a restart."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from wardenmq.broker.alarms import AlarmSettings
from wardenmq.broker.sys_topics import SysTopicsSettings
from wardenmq.broker.system_watch import SystemWatchSettings
from wardenmq.mgmt_api.configuration import Configuration, Root
from wardenmq.mgmt_api.emqx.node.alarm_settings import ALARM
from wardenmq.mgmt_api.emqx.node.sys_topics import SYS_TOPICS
from wardenmq.mgmt_api.emqx.node.sysmon import SYSMON
from wardenmq.mgmt_api.roots import ROOTS

from .callers import V5, Api

ALARM_DEFAULTS = {"actions": ["log", "publish"], "size_limit": 1_000, "validity_period": "24h"}
SYS_TOPICS_DEFAULTS = {
    "sys_msg_interval": "1m",
    "sys_heartbeat_interval": "30s",
    "sys_event_messages": {
        "client_connected": True,
        "client_disconnected": True,
        "client_subscribed": False,
        "client_unsubscribed": False,
    },
}
SYSMON_DEFAULTS = {
    "vm": {
        "process_check_interval": "30s",
        "process_high_watermark": "80%",
        "process_low_watermark": "60%",
        "long_gc": "disabled",
        "long_schedule": "240ms",
        "large_heap": "32MB",
        "busy_dist_port": True,
        "busy_port": True,
    },
    "os": {
        "cpu_check_interval": "60s",
        "cpu_high_watermark": "80%",
        "cpu_low_watermark": "60%",
        "mem_check_interval": "60s",
        "sysmem_high_watermark": "70%",
        "procmem_high_watermark": "5%",
    },
}


def read(root: Root[Any], value: object) -> Any:
    return TypeAdapter(root.model).validate_python(value)


@pytest.mark.parametrize(
    ("root", "defaults"), [(ALARM, ALARM_DEFAULTS), (SYS_TOPICS, SYS_TOPICS_DEFAULTS), (SYSMON, SYSMON_DEFAULTS)]
)
async def test_defaults_are_shown_and_in_force(api: Api, root: Root[Any], defaults: dict[str, Any]) -> None:
    assert root in ROOTS
    assert api.state.configuration.as_json(root) == defaults
    broker = api.mqtt.broker
    before = (broker.alarms.settings, broker.sys_topics.settings, broker.system_watch.settings)
    await api.state.configuration.put(root, read(root, defaults))
    assert (broker.alarms.settings, broker.sys_topics.settings, broker.system_watch.settings) == before
    assert before == (AlarmSettings(), SysTopicsSettings(), SystemWatchSettings())


async def test_changes_act_and_are_there_after_a_restart(api: Api) -> None:
    configuration, broker = api.state.configuration, api.mqtt.broker
    await configuration.put(ALARM, read(ALARM, {"actions": ["publish"], "size_limit": 2, "validity_period": "1h"}))
    await configuration.put(
        SYS_TOPICS,
        read(SYS_TOPICS, {"sys_msg_interval": "disabled", "sys_event_messages": {"client_subscribed": True}}),
    )
    await configuration.put(
        SYSMON,
        read(
            SYSMON,
            {"os": {"cpu_high_watermark": "90%", "mem_check_interval": "disabled"}, "vm": {"long_schedule": "1s"}},
        ),
    )
    expected = (
        AlarmSettings(log=False, publish=True, size_limit=2, validity_period=3_600),
        SysTopicsSettings(message_interval=None, client_subscribed=True),
        replace(SystemWatchSettings(), cpu_high=0.9, memory_interval=None, long_schedule=1.0),
    )
    assert (broker.alarms.settings, broker.sys_topics.settings, broker.system_watch.settings) == expected
    broker.alarms.configure(AlarmSettings())
    broker.sys_topics.configure(SysTopicsSettings())
    broker.system_watch.configure(SystemWatchSettings())
    again = Configuration(configuration.governed, ROOTS)
    await again.load()
    assert (broker.alarms.settings, broker.sys_topics.settings, broker.system_watch.settings) == expected
    assert again.as_json(SYS_TOPICS)["sys_msg_interval"] == "disabled"


@pytest.mark.parametrize(
    ("root", "value"),
    [
        (ALARM, {"actions": ["shout"]}),
        (ALARM, {"size_limit": 0}),
        (ALARM, {"size_limit": 3_001}),
        (ALARM, {"validity_period": "long"}),
        (SYS_TOPICS, {"sys_msg_interval": "0s"}),
        (SYS_TOPICS, {"sys_heartbeat_interval": "never"}),
        (SYS_TOPICS, {"sys_event_messages": {"client_died": True}}),
        (SYSMON, {"os": {"cpu_high_watermark": "50%"}}),
        (SYSMON, {"os": {"cpu_high_watermark": "180%"}}),
        (SYSMON, {"os": {"cpu_check_interval": "disabled"}}),
        (SYSMON, {"vm": {"large_heap": "much"}}),
        (SYSMON, {"disk": {}}),
    ],
)
def test_what_is_none(root: Root[Any], value: object) -> None:
    with pytest.raises(ValidationError):
        read(root, value)


async def test_a_short_history_and_a_short_memory(api: Api) -> None:
    alarms = api.mqtt.broker.alarms

    def go(name: str) -> None:
        alarms.activate(name, "Wrong.")
        alarms.deactivate(name)

    for name in "abc":
        go(name)
    await api.state.configuration.put(ALARM, read(ALARM, {"size_limit": 2}))
    go("d")
    assert [row["name"] for row in (await api.get("/alarms", activated="false")).rows] == ["d", "c"]
    await api.state.configuration.put(ALARM, read(ALARM, {"validity_period": "0s"}))
    assert (await api.get("/alarms", activated="false")).rows == []


async def test_alarms_that_are_not_logged(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    await api.state.configuration.put(ALARM, read(ALARM, {"actions": []}))
    api.mqtt.broker.alarms.activate("quiet", "Wrong.")
    api.mqtt.broker.alarms.deactivate("quiet")
    assert "quiet" not in caplog.text


async def test_ending_an_alarm_by_hand(api: Api) -> None:
    alarms = api.mqtt.broker.alarms
    alarms.activate("a", "Wrong.")
    path = f"{V5}/alarms/force_deactivate"
    assert (await api.call("POST", path, {"name": "a"}, role="viewer")).status == 403
    assert alarms.is_active("a")
    assert (await api.call("POST", path, {"name": "a"})).status == 204
    assert [row["name"] for row in (await api.get("/alarms", activated="false")).rows] == ["a"]
    again = await api.call("POST", path, {"name": "a"})
    assert (again.status, again.code) == (400, "NOT_FOUND")
    for body in ({}, {"name": 1}, {"name": "a", "more": 1}):
        assert (await api.call("POST", path, body)).code == "BAD_REQUEST"
