"""Calls about the configuration."""

from . import CallRow

ONE = "/listeners/{id}"
DEMO = {"id": "tcp:demo"}
NOBODY = {"id": "tcp:nobody"}
NO_ID = {"id": "demo"}
NEW = {"type": "tcp", "name": "demo", "bind": "127.0.0.1:0"}
RESET = "/configs_reset/{rootname}"

CALLS: list[CallRow] = [
    ("GET", "/listeners", {}, "", None, 200),
    ("GET", "/listeners", {}, "type=tcp", None, 200),
    ("GET", "/listeners", {}, "type=udp", None, 400),
    ("POST", "/listeners", {}, "", NEW, 200),
    ("POST", "/listeners", {}, "", NEW, 400),
    ("POST", "/listeners", {}, "", {"type": "tcp"}, 400),
    ("POST", "/listeners", {}, "", {**NEW, "type": "ws"}, 200),
    ("GET", "/listeners_status", {}, "", None, 200),
    ("GET", ONE, DEMO, "", None, 200),
    ("GET", ONE, {"id": "ws:demo"}, "", None, 200),
    ("GET", ONE, NOBODY, "", None, 404),
    ("GET", ONE, NO_ID, "", None, 400),
    ("PUT", ONE, DEMO, "", {"max_connections": 10}, 200),
    ("PUT", ONE, DEMO, "", {"max_connections": 0}, 400),
    ("PUT", ONE, DEMO, "", {"id": "tcp:other"}, 400),
    ("PUT", ONE, NOBODY, "", {}, 404),
    ("POST", f"{ONE}/stop", DEMO, "", None, 200),
    ("POST", f"{ONE}/stop", NOBODY, "", None, 404),
    ("POST", f"{ONE}/start", DEMO, "", None, 200),
    ("POST", f"{ONE}/start", NO_ID, "", None, 400),
    ("POST", f"{ONE}/restart", DEMO, "", None, 200),
    ("POST", f"{ONE}/restart", NOBODY, "", None, 404),
    ("DELETE", ONE, DEMO, "", None, 204),
    ("DELETE", ONE, DEMO, "", None, 404),
    ("GET", "/configs", {}, "", None, 200),
    ("GET", "/configs", {}, "key=mqtt", None, 200),
    ("GET", "/configs", {}, "key=nobody", None, 404),
    ("GET", "/configs", {}, "node=nobody", None, 500),
    ("PUT", "/configs", {}, "", b"", 200),
    ("PUT", "/configs", {}, "", b"mqtt.max_inflight = 16", 200),
    ("PUT", "/configs", {}, "", b"mqtt {", 400),
    ("GET", "/configs/sys_topics", {}, "", None, 200),
    ("PUT", "/configs/sys_topics", {}, "", {"sys_msg_interval": "2m"}, 200),
    ("PUT", "/configs/sys_topics", {}, "", {"unknown": 1}, 400),
    ("GET", "/configs/sysmon", {}, "", None, 200),
    ("PUT", "/configs/sysmon", {}, "", {"os": {"cpu_check_interval": "30s"}}, 200),
    ("GET", "/configs/alarm", {}, "", None, 200),
    ("PUT", "/configs/alarm", {}, "", {"size_limit": 500}, 200),
    ("GET", "/configs/dashboard", {}, "", None, 200),
    ("PUT", "/configs/dashboard", {}, "", {}, 200),
    ("GET", "/configs/broker", {}, "", None, 200),
    ("PUT", "/configs/broker", {}, "", {"session_history_retain": "1h"}, 200),
    ("PUT", "/configs/broker", {}, "", {"enable_session_registry": False}, 400),
    ("GET", "/configs/log", {}, "", None, 200),
    ("PUT", "/configs/log", {}, "", {"console": {"level": "info"}}, 200),
    ("PUT", "/configs/log", {}, "", {"file": {"path": "/etc/passwd"}}, 400),
    ("GET", "/configs/global_zone", {}, "", None, 200),
    ("PUT", "/configs/global_zone", {}, "", {"mqtt": {"max_inflight": 32}}, 200),
    ("PUT", "/configs/global_zone", {}, "", {"mqtt": {"upgrade_qos": True}}, 400),
    ("POST", RESET, {"rootname": "sysmon"}, "conf_path=vm.busy_port", None, 200),
    ("POST", RESET, {"rootname": "sysmon"}, "", None, 400),
    ("POST", RESET, {"rootname": "mqtt"}, "", None, 400),
]
