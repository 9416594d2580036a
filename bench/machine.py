"""Where and with what the comparison runs: what has to be known to judge its figures."""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from brokers import PEERS, mosquitto_program, node_program

MOSQUITTO = "2.0.11"
"""The version that the required numbers are held against."""


def describe(brokers: Sequence[str]) -> list[str]:
    """Give one line for the date, the machine, and each program that takes part."""
    lines = [
        f"date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"processor: {_processor()}, {os.cpu_count()} of them",
        f"system: {platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
    ]
    if "wardenmq" in brokers:
        lines.append(f"uvloop {_distribution('uvloop')}")
    if any(name.startswith("mosquitto") for name in brokers):
        version = mosquitto_version()
        lines.append(f"mosquitto {version}{'' if version == MOSQUITTO else f': NOT {MOSQUITTO}, which is required'}")
    if "aedes" in brokers:
        lines += [f"aedes {_aedes()}", f"node {_output(str(node_program()), '--version')}"]
    if "amqtt" in brokers:
        lines.append(f"amqtt {_distribution('amqtt')}")
    return lines


def mosquitto_version() -> str:
    """Ask the program; `unknown` if it does not say."""
    found = re.search(r"version (\S+)", _output(str(mosquitto_program()), "-h"))
    return found[1] if found else "unknown"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def _distribution(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _aedes() -> str:
    file = PEERS / "node_modules" / "aedes" / "package.json"
    return str(json.loads(file.read_text(encoding="utf-8"))["version"])


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
