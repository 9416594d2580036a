"""The brokers whose durability is measured: wardenmq with each `durability`, mosquitto with its state on disk."""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml
from brokers import PASSWORD, START_SECONDS, UNBOUNDED, USERNAME, Endpoint, free_port, mosquitto_program
from processes import start

DURABILITIES = ("none", "process", "power")
WARDENMQ = tuple(f"wardenmq {durability}" for durability in DURABILITIES)
MOSQUITTO, MOSQUITTO_EACH_CHANGE = "mosquitto", "mosquitto each change"
"""With autosave each 1,800 s, its default; and with one as soon as something has changed."""
CONTENDERS = (*WARDENMQ, MOSQUITTO, MOSQUITTO_EACH_CHANGE)
UNBOUNDED_STORE: dict[str, object] = {**UNBOUNDED, "max_sessions": 0}
STOP_SECONDS = 60.0
LOG_BYTES = 2_000


def knows_durability() -> bool:
    """Tell whether this server has the setting at all."""
    from wardenmq.config.settings import Settings

    return "durability" in Settings.model_fields


def unavailable(name: str) -> str | None:
    """Say why a contender cannot take part here; None if it can."""
    if name in WARDENMQ:
        # A server without the setting keeps all in memory.
        return None if knows_durability() or name == WARDENMQ[0] else "the server has no durability"
    return None if mosquitto_program() else "mosquitto is not installed (make bench-install)"


def written_bytes(pid: int) -> int:
    """Read how many bytes a process has caused to be written to the disk."""
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        name, _, number = line.partition(":")
        if name == "write_bytes":
            return int(number)
    raise RuntimeError("the system does not count what a process writes")


def memory_bytes(pid: int) -> tuple[int, int]:
    """Read how much memory a process has resident, and how much it had at most."""
    found: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "VmHWM"):
            found[name] = int(value.split()[0]) * 1_024
    return found["VmRSS"], found["VmHWM"]


@contextmanager
def running(name: str, *, bounded: bool = False) -> Iterator[Endpoint]:
    """Run a contender on a directory of its own; `bounded` leaves the default bounds on queues and windows."""
    with tempfile.TemporaryDirectory() as directory:
        if name in WARDENMQ:
            settings: dict[str, object] = {} if bounded else {"mqtt": UNBOUNDED_STORE}
            with wardenmq(Path(directory) / "data", name.removeprefix("wardenmq "), settings) as endpoint:
                yield endpoint
        else:
            with _mosquitto(name, Path(directory), bounded) as endpoint:
                yield endpoint


@contextmanager
def wardenmq(
    data: Path, durability: str, settings: Mapping[str, object], *, start_seconds: float = START_SECONDS
) -> Iterator[Endpoint]:
    """Run wardenmq on a data directory, as users do; it is the first start where the directory is empty."""
    data.mkdir(mode=0o700, exist_ok=True)
    config = data.with_suffix(".yaml")
    durable = {"durability": durability} if knows_durability() else {}
    config.write_text(yaml.safe_dump({**settings, **durable}), encoding="utf-8")
    command = [sys.executable, "-m", "wardenmq", "serve", "--config", str(config), "--data-dir", str(data)]
    command += ["--log-level", "warning"]
    command += ["--mqtt", "127.0.0.1:0", "--ws", "127.0.0.1:0", "--api", "127.0.0.1:0"]
    with _process(command) as process:
        where = json.loads(_await_line(process, "wardenmq ready ", start_seconds))
        host, _, port = where["mqtt"].rpartition(":")
        first = json.loads((data / "initial-credentials.json").read_text(encoding="utf-8"))
        yield Endpoint(
            name=f"wardenmq {durability}",
            host=host,
            port=int(port),
            username=first["mqtt_username"],
            password=first["mqtt_password"],
            pid=process.pid,
            api=where["api"],
            api_key=first["api_key"],
            api_secret=first["api_secret"],
        )


@contextmanager
def _mosquitto(name: str, directory: Path, bounded: bool) -> Iterator[Endpoint]:
    config, passwords, port = directory / "mosquitto.conf", directory / "passwords", free_port()
    tool = shutil.which("mosquitto_passwd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/bin")
    subprocess.run([str(tool), "-b", "-c", str(passwords), USERNAME, PASSWORD], check=True)
    lines = ["persistence true", f"persistence_location {directory}/", "user root", "log_type error"]
    lines += ["log_dest stderr", "allow_anonymous false", f"password_file {passwords}", "sys_interval 0"]
    if name == MOSQUITTO_EACH_CHANGE:
        lines += ["autosave_on_changes true", "autosave_interval 1"]
    if not bounded:
        lines += ["max_queued_messages 0", "max_inflight_messages 0", "max_queued_bytes 0"]
    lines += ["set_tcp_nodelay true", f"listener {port} 127.0.0.1"]
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with _process([str(mosquitto_program()), "-c", str(config)]) as process:
        _await_port(process, port)
        yield Endpoint(name, "127.0.0.1", port, USERNAME, PASSWORD, process.pid)


@contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a broker, end it and wait until it has put its state away; show the end of its log if anything goes wrong."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WARDENMQ_")}
    with tempfile.TemporaryFile() as log:
        process = start(command, log=log, environment=environment)
        failed = True
        try:
            yield process
            failed = process.poll() is not None  # a broker that is gone before its time
        except (KeyboardInterrupt, SystemExit):
            failed = False
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
            if failed:
                log.seek(0)
                sys.stderr.write(log.read().decode(errors="replace")[-LOG_BYTES:])


def _await_line(process: subprocess.Popen[bytes], ready: str, seconds: float) -> str:
    """Return the rest of the line that begins so."""
    stream, said, deadline = process.stdout, b"", time.monotonic() + seconds
    if stream is None:
        raise RuntimeError("the broker has no standard output")
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    while time.monotonic() < deadline:
        if not poll.poll(100):
            continue
        part = stream.read1(65_536)  # type: ignore[attr-defined]
        if not part:
            break
        said += part
        for line in said.decode(errors="replace").splitlines(keepends=True):
            if line.startswith(ready) and line.endswith("\n"):
                return line[len(ready) :].strip()
    raise RuntimeError(f"{process.args!r} did not become ready")


def _await_port(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"{process.args!r} did not become ready")
