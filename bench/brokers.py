"""The brokers that are measured: each a fresh process on loopback, with a login, one ACL rule and no bounds on queues.

`python bench/brokers.py NAME` runs one until it is interrupted, and prints where it listens.
"""

import argparse
import asyncio
import contextlib
import functools
import importlib.util
import json
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml
from processes import end_on_signals, start
from profiles import profiled

BROKERS = ("wardenmq", "wardenmq-asyncio", "mosquitto", "aedes", "amqtt")
"""Those that are compared. `mosquitto-open`, without login and rule, can be run, too."""
PEERS = Path(__file__).resolve().parent / ".peers"
"""Where `make bench-install` puts what npm brings."""
USERNAME, PASSWORD = "bench", "bench-password"
START_SECONDS = 30.0
UNBOUNDED = {
    "max_inflight": 65_535,
    "max_awaiting_rel": 65_535,
    "max_mqueue_len": 0,
    "max_mqueue_bytes": 0,
    "max_subscriptions": 0,
    "max_filters": 0,
    "max_connections": 0,
    "max_connect_rate": 0.0,
    "max_connect_rate_per_address": 0.0,
}
"""What wardenmq bounds by default and the others do not, or are told not to."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A broker that runs: where it listens, how to log in, whose CPU time counts."""

    name: str
    host: str
    port: int
    username: str
    password: str
    pid: int
    tls_port: int | None = None
    ca_file: str | None = None
    """The authority of the certificate, which is for the host."""
    api: str = ""
    api_key: str = ""
    api_secret: str = ""


@dataclass(frozen=True, slots=True)
class Certificate:
    """The files of a server certificate and of the authority that issued it."""

    cert: str
    key: str
    authority: str
    port: int
    """Where it is served."""


def cpu_seconds(pid: int) -> float:
    """Read a process's CPU time, all threads; /proc counts in hundredths of a second, too coarse for a slice."""
    return time.clock_gettime(~pid << 3 | 2)  # what clock_getcpuclockid(3) makes of a process id on Linux


def resident_bytes(pid: int) -> int:
    """Read how much memory a process has resident."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def bind_to_processors(pid: int, processors: set[int]) -> None:
    """Let all threads of a process run on these processors only; 0 is this process."""
    with contextlib.suppress(FileNotFoundError):  # a process that is gone is found to be so by its load
        for thread in os.listdir(f"/proc/{pid or 'self'}/task"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), processors)


@contextmanager
def apart(pid: int) -> Iterator[None]:
    """Give a broker the last processor and this process the others for a while, where there are two at least.

    Otherwise the same broker is up to twice as fast in one turn as in another, depending on the processor that it gets
    and on whether it shares that with the load.
    """
    processors = os.sched_getaffinity(0)
    if len(processors) < 2:
        yield
        return
    last = {max(processors)}
    bind_to_processors(pid, last)
    bind_to_processors(0, processors - last)
    try:
        yield
    finally:
        bind_to_processors(0, processors)
        bind_to_processors(pid, processors)


def free_port() -> int:
    """Find a port of the loopback address that nobody has."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def unavailable(name: str) -> str | None:
    """Say why a broker cannot be run here; None if it can. ValueError for a name that is none."""
    if name == "wardenmq":
        return None if importlib.util.find_spec("uvloop") else "uvloop is not installed"
    if name in ("wardenmq-asyncio", "amqtt"):
        return None
    if name in ("mosquitto", "mosquitto-open"):
        return None if mosquitto_program() else "mosquitto is not installed (make bench-install)"
    if name == "aedes":
        if not node_program():
            return "node is not installed"
        return None if (PEERS / "node_modules" / "aedes").is_dir() else "aedes is not installed (make bench-install)"
    raise ValueError(f"no broker is called {name}")


def running(
    name: str,
    *,
    tls: bool = False,
    rules: int = 0,
    no_delay: bool = True,
    bounded: bool = False,
    environment: dict[str, str] | None = None,
) -> AbstractContextManager[Endpoint]:
    """Run a broker, with TLS on a second port if wanted; bounds and environments are for wardenmq only.

    Without `no_delay` mosquitto and aedes leave the kernel to keep packets back until others have been acknowledged.
    That is their default, and in bulk it saves mosquitto up to 40 % of its CPU time; where single messages are waited
    for it costs them 40 ms for each. wardenmq and amqtt write at once, as asyncio does.
    `rules` are so many ACL rules more that concern others, for wardenmq and mosquitto; `bounded` leaves the default
    bounds, and an environment takes the place of this process's own.
    """
    if reason := unavailable(name):
        raise RuntimeError(f"{name} cannot be run: {reason}")
    if name in ("wardenmq", "wardenmq-asyncio"):
        return _running_wardenmq(name, _wardenmq_options(bounded), tls, rules, environment)
    if bounded or environment is not None:
        raise ValueError("bounds and environments are for wardenmq")
    if name == "mosquitto":
        return _running_mosquitto(name, tls, no_delay, rules)
    if rules:
        raise ValueError("rules are for wardenmq and mosquitto")
    if name == "amqtt":
        return _running_amqtt(tls)
    if name == "aedes":
        return _running_aedes(tls, no_delay)
    return _running_mosquitto(name, tls, no_delay)


@contextmanager
def tree_environment(tree: Path | None) -> Iterator[dict[str, str] | None]:
    """Give the environment in which `wardenmq` is the given source tree; None, for our own, without one.

    The root of a tree is the package itself, so a directory in which it has that name goes ahead of all others.
    """
    if tree is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "wardenmq").symlink_to(tree.resolve(), target_is_directory=True)
        environment = {**os.environ, "PYTHONPATH": directory}
        program = "import wardenmq; print(wardenmq.__path__[0])"
        found = subprocess.run([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, cwd=directory)
        if Path(found.stdout.decode().strip()).resolve() != tree.resolve():
            raise RuntimeError(f"{tree} is no source tree of wardenmq")
        yield environment


# -- processes


@contextmanager
def _process(command: list[str], environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a broker's process, show the end of its log if anything goes wrong, and end it."""
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
            if failed:
                log.seek(0)
                sys.stderr.write(log.read().decode(errors="replace")[-2_000:])
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _await_line(process: subprocess.Popen[bytes], ready: str) -> str:
    """Return the rest of the line that begins so."""
    stream, text, deadline = process.stdout, b"", time.monotonic() + START_SECONDS
    if stream is None:
        raise RuntimeError("the broker has no standard output")
    ready_to_read = select.poll()  # select() takes no descriptor past 1,023
    ready_to_read.register(stream, select.POLLIN)
    while time.monotonic() < deadline:
        if not ready_to_read.poll(100):
            continue
        part = stream.read1(65_536)  # type: ignore[attr-defined]
        if not part:
            break
        text += part
        for line in text.decode(errors="replace").splitlines(keepends=True):
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


@contextmanager
def _certificate(wanted: bool) -> Iterator[Certificate | None]:
    if not wanted:
        yield None
        return
    import trustme

    with tempfile.TemporaryDirectory() as directory:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        cert, key, root = (str(Path(directory) / name) for name in ("server.pem", "server.key", "authority.pem"))
        for number, blob in enumerate(issued.cert_chain_pems):
            blob.write_to_path(cert, append=number > 0)
        issued.private_key_pem.write_to_path(key)
        authority.cert_pem.write_to_path(root)
        yield Certificate(cert, key, root, free_port())


def client_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Give what a client needs to speak TLS with a broker."""
    context = ssl.create_default_context(cafile=endpoint.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _tls(certificate: Certificate | None) -> dict[str, object]:
    if certificate is None:
        return {}
    return {"tls_port": certificate.port, "ca_file": certificate.authority}


# -- wardenmq


@contextmanager
def _running_wardenmq(
    name: str, settings: dict[str, object], tls: bool, rules: int, environment: dict[str, str] | None
) -> Iterator[Endpoint]:
    """Run wardenmq as users do, with the login and the rule of its first start."""
    # The server takes uvloop where it can be imported; the plain loop is had by making that impossible.
    hide = "" if name == "wardenmq" else "sys.modules['uvloop'] = None; "
    program = f"import sys; {hide}sys.argv[0] = 'wardenmq'; from wardenmq.cli import main; main()"
    start = ["-m", "wardenmq"] if name == "wardenmq" else ["-c", program]
    with tempfile.TemporaryDirectory() as directory, _certificate(tls) as certificate:
        data, config = Path(directory) / "data", Path(directory) / "config.yaml"
        data.mkdir(mode=0o700)
        config.write_text(yaml.safe_dump(settings | _wardenmq_listeners(certificate)), encoding="utf-8")
        options = ["serve", "--config", str(config), "--data-dir", str(data), "--log-level", "warning"]
        command = [sys.executable, *start, *options]
        command += ["--mqtt", "127.0.0.1:0", "--ws", "127.0.0.1:0", "--api", "127.0.0.1:0"]
        if rules:
            _write_rules(data, rules)
        with _process(command, environment) as process, contextlib.ExitStack() as stack:
            where = json.loads(_await_line(process, "wardenmq ready "))
            host, _, port = where["mqtt"].rpartition(":")
            first = json.loads((data / "initial-credentials.json").read_text(encoding="utf-8"))
            stack.enter_context(profiled(process.pid))
            yield Endpoint(
                name=name,
                host=host,
                port=int(port),
                username=first["mqtt_username"],
                password=first["mqtt_password"],
                pid=process.pid,
                api=where["api"],
                api_key=first["api_key"],
                api_secret=first["api_secret"],
                **_tls(certificate),  # type: ignore[arg-type]
            )


def _wardenmq_options(bounded: bool) -> dict[str, object]:
    return {} if bounded else {"mqtt": UNBOUNDED}


def _wardenmq_listeners(certificate: Certificate | None) -> dict[str, object]:
    if certificate is None:
        return {}
    files = {"certfile": certificate.cert, "keyfile": certificate.key}
    listeners = {
        "default": {"type": "tcp", "bind": "127.0.0.1:0"},
        "ws": {"type": "ws", "bind": "127.0.0.1:0"},
        "tls": {"type": "tcp", "bind": f"127.0.0.1:{certificate.port}", "ssl": True, **files},
    }
    return {"listeners": listeners}


def _write_rules(data: Path, count: int) -> None:
    """Write rules that concern others than the one who logs in, and a tenth of them all."""
    from acl_store import build_store
    from wardenmq.store.file_names import DATABASE_NAME
    from wardenmq.store.first_run import first_run

    asyncio.run(first_run(data))  # a server that finds a store makes no login of its own
    build_store(data / DATABASE_NAME, 0, count)


# -- mosquitto


def mosquitto_program() -> str | None:
    """Find mosquitto; None if it is not installed."""
    # Debian installs it where only root's shell looks.
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")


@contextmanager
def _running_mosquitto(name: str, tls: bool, no_delay: bool, rules: int = 0) -> Iterator[Endpoint]:
    """Run mosquitto with a password file and an ACL file, or, as `mosquitto-open`, without either."""
    with tempfile.TemporaryDirectory() as directory, _certificate(tls) as certificate:
        config, port = Path(directory) / "mosquitto.conf", free_port()
        lines = ["persistence false", "log_type error", "log_dest stderr", "user root"]
        lines += ["max_queued_messages 0", "max_inflight_messages 0", "max_queued_bytes 0", "sys_interval 0"]
        lines += [f"set_tcp_nodelay {'true' if no_delay else 'false'}"]
        lines += ["allow_anonymous true"] if name == "mosquitto-open" else _mosquitto_access(Path(directory), rules)
        lines += [f"listener {port} 127.0.0.1"]
        if certificate is not None:
            lines += [f"listener {certificate.port} 127.0.0.1", "tls_version tlsv1.3"]
            lines += [f"certfile {certificate.cert}", f"keyfile {certificate.key}"]
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        with _process([str(mosquitto_program()), "-c", str(config)]) as process:
            _await_port(process, port)
            yield Endpoint(name, "127.0.0.1", port, USERNAME, PASSWORD, process.pid, **_tls(certificate))  # type: ignore[arg-type]


def _mosquitto_access(directory: Path, rules: int) -> list[str]:
    passwords, file = directory / "passwords", directory / "acl"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), USERNAME, PASSWORD], check=True)
    lines = [f"user {USERNAME}", "topic readwrite #", *_mosquitto_rules(rules)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return ["allow_anonymous false", f"password_file {passwords}", f"acl_file {file}"]


def _mosquitto_rules(count: int) -> Iterator[str]:
    """Give rules as wardenmq gets them: one in ten for all, the others for users who are not there.

    A hundred to a user, because mosquitto looks through all users for each line that it reads.
    """
    for number in range(count - count // 10):
        if number % 100 == 0:
            yield f"user other-{number // 100}"
        yield f"topic write site/other-{number}/#"
    for number in range(count // 10):
        yield f"pattern readwrite common/{number}/+/%c/#"


# -- aedes


def node_program() -> str | None:
    """Find node; None if it is not installed."""
    return shutil.which("node") or shutil.which("nodejs")


@contextmanager
def _running_aedes(tls: bool, no_delay: bool) -> Iterator[Endpoint]:
    """Run aedes with hooks that check a password and allow everything to its user."""
    with _certificate(tls) as certificate:
        options: dict[str, object] = {"peers": str(PEERS), "username": USERNAME, "password": PASSWORD}
        options["noDelay"] = no_delay
        if certificate is not None:
            options["tls"] = asdict(certificate)
        command = [str(node_program()), str(Path(__file__).with_name("aedes_broker.mjs")), json.dumps(options)]
        with _process(command) as process:
            port = int(_await_line(process, "aedes ready "))
            yield Endpoint("aedes", "127.0.0.1", port, USERNAME, PASSWORD, process.pid, **_tls(certificate))  # type: ignore[arg-type]


# -- amqtt


@contextmanager
def _running_amqtt(tls: bool) -> Iterator[Endpoint]:
    """Run stock amqtt with its own password file and topic ACL plugins."""
    with tempfile.TemporaryDirectory() as directory, _certificate(tls) as certificate:
        options = [directory, *([json.dumps(asdict(certificate))] if certificate is not None else [])]
        with _process([sys.executable, __file__, "--serve-amqtt", *options]) as process:
            port = int(_await_line(process, "amqtt ready "))
            yield Endpoint("amqtt", "127.0.0.1", port, USERNAME, PASSWORD, process.pid, **_tls(certificate))  # type: ignore[arg-type]


async def _serve_amqtt(data: Path, certificate: Certificate | None) -> None:
    from amqtt.broker import Broker
    from pwdlib import PasswordHash
    from pwdlib.hashers.argon2 import Argon2Hasher

    passwords = data / "passwords"
    # The weakest hash it takes: it checks one in the event loop for each connection, a third of a second by default.
    hasher = Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1)
    passwords.write_text(f"{USERNAME}:{PasswordHash((hasher,)).hash(PASSWORD)}\n", encoding="utf-8")
    rules = {USERNAME: ["#"]}
    listeners: dict[str, dict[str, object]] = {"default": {"type": "tcp", "bind": "127.0.0.1:0"}}
    if certificate is not None:
        files = {"certfile": certificate.cert, "keyfile": certificate.key}
        listeners["tls"] = {"type": "tcp", "bind": f"127.0.0.1:{certificate.port}", "ssl": True, **files}
    broker = Broker(
        {
            "listeners": listeners,
            "plugins": {
                "amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(passwords)},
                "amqtt.plugins.topic_checking.TopicAccessControlListPlugin": {"publish_acl": rules, "acl": rules},
            },
        }
    )
    await broker.start()
    server = broker._servers["default"].instance  # amqtt has no public way to ask for the bound port
    print(f"amqtt ready {next(iter(server.sockets)).getsockname()[1]}", flush=True)
    await asyncio.Event().wait()


def main() -> int:
    """Run one broker until it is interrupted."""
    parser = argparse.ArgumentParser(description="Run one of the brokers that are compared.")
    parser.add_argument("name", choices=[*BROKERS, "mosquitto-open"], nargs="?", default="wardenmq")
    parser.add_argument("--tls", action="store_true", help="serve TLS on a second port")
    parser.add_argument("--rules", type=int, default=0, help="so many ACL rules more [0]")
    parser.add_argument("--serve-amqtt", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    end_on_signals()
    run: Callable[[], None]
    if options.serve_amqtt:
        data, *certificate = options.serve_amqtt
        tls = Certificate(**json.loads(certificate[0])) if certificate else None
        run = functools.partial(asyncio.run, _serve_amqtt(Path(data), tls))
    else:
        run = functools.partial(_show, options.name, options.tls, options.rules)
    with contextlib.suppress(KeyboardInterrupt):
        run()
    return 0


def _show(name: str, tls: bool, rules: int) -> None:
    with running(name, tls=tls, rules=rules) as endpoint:
        print(json.dumps(asdict(endpoint)), flush=True)
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
