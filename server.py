"""The composition root: lay the parts of one server together in order, and take them down in reverse."""

import asyncio
import dataclasses
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from amqtt.contexts import ListenerType
from amqtt.errors import BrokerError, PluginError, PluginLoadError

from .broker.broker import Broker
from .broker.settings import MqttSettings
from .config.address import format_address, split_address
from .config.plugin_options import check_plugins
from .config.settings import CREDENTIAL_PLUGIN, TOPIC_ACL_PLUGIN, Settings
from .file_limit import bound_api_connections, bound_connections, raise_file_limit
from .mgmt_api.application import create_application, create_runner
from .mgmt_api.configuration import Configuration, Governed
from .mgmt_api.emqx.access.key_fetcher import fetch_keys
from .mgmt_api.emqx.dashboard.api_key_settings import load_configured_keys
from .mgmt_api.emqx.tracing.stored import load_traces
from .mgmt_api.roots import ROOTS
from .mgmt_api.settings import ApiSettings
from .store.directory import Directory
from .store.errors import DatabaseDamaged, StoreError
from .store.file_exchange import finish_or_undo
from .store.file_names import CREDENTIALS_NAME, DATABASE_NAME, HISTORY_NAME, SESSIONS_NAME
from .store.first_run import InitialCredentials, first_run
from .store.history import HistoryStore
from .store.importing.authenticator_users import bootstrap
from .store.lock import DataDirectoryLock
from .store.sessions import SessionStore
from .store.sessions.setting_aside import set_aside

_API_SHUTDOWN_SECONDS = 2.0
_BUNKERM_KEY = "API_KEY"
"""The environment variable that sets the key to BunkerM's facade, under the name that it has there."""
_SWITCH_INTERVAL = 0.001
"""Seconds for which the event loop may keep the interpreter to itself: the thread that writes sessions waits that long
for each statement. With the default of 0.005 it was starved for up to seconds by a loop that is always busy."""
_FULL_COLLECTION = 1_000
"""Collections of the middle generation before a full one, which looks at all that sessions and changed rules hold."""

logger = logging.getLogger(__name__)


class StartError(Exception):
    """Say in one sentence why the server cannot start."""


class Server:
    """Run one broker with its store and its management API on one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.addresses: dict[str, str] = {}
        """What is bound, as the ready line names it: mqtt, ws (HOST:PORT) and api (a URL)."""
        self._broker: Broker | None = None
        self._configuration: Configuration | None = None
        self._started = AsyncExitStack()

    async def start(self, announce: Callable[[str], None]) -> None:
        """Take the data directory, open the store, start broker and API; all or nothing.

        `announce` is told the first credentials as soon as they exist, so that they are shown though the start fails.
        Raises StartError, ConfigError or StoreError, with what was started taken down again.
        """
        try:
            check_plugins(self.settings.plugins)
            lock = self._take_data_directory()
            directory = await self._open_store(announce)
            broker = await self._start_with_sessions(directory)
            await self._start_api(broker, directory, lock)
            lock.announce(self.addresses["api"])
            self._started.callback(lock.withdraw)
            _spare_the_loop_collections()
            self._check_anonymous(directory)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Take back the API's address, then take down API, broker, store and lock; a second call does nothing."""
        await self._started.aclose()

    def _check_anonymous(self, directory: Directory) -> None:
        """Say so where anonymous clients get in and no rule can allow them anything: they are told nothing by 3.1.1."""
        plugins = self.settings.plugins
        options = plugins.get(CREDENTIAL_PLUGIN) or {}
        if not options.get("allow_anonymous") or TOPIC_ACL_PLUGIN not in plugins:
            return
        if directory.no_match == "deny" and not directory.rules("all"):
            logger.warning(
                "Anonymous clients get in, but no rule allows them any topic: add one for all clients over the API "
                "(authorization/sources/built_in_database/rules/all), or leave the topic ACL plugin out"
            )

    def reload_certificates(self) -> None:
        """Have new TLS connections get the certificates that are in the files now; what fails is in the log."""
        if self._broker is not None:
            self._broker.reload_certificates()

    def ready_line(self) -> str:
        """Give the line that tells scripts what is bound where."""
        ready = {name: self.addresses.get(name) for name in ("mqtt", "ws", "api")}
        return f"wardenmq ready {json.dumps({**ready, 'pid': os.getpid()})}"

    def _take_data_directory(self) -> DataDirectoryLock:
        lock = DataDirectoryLock.acquire(self.settings.data_dir)
        self._started.callback(lock.release)
        finished = finish_or_undo(self.settings.data_dir)
        if finished is not None:
            logger.warning("%s", finished)
        return lock

    async def _open_store(self, announce: Callable[[str], None]) -> Directory:
        data_dir = self.settings.data_dir
        limits = self.settings.mqtt
        bunkerm_key = os.environ.get(_BUNKERM_KEY) or None
        credentials = await first_run(data_dir, scram_iterations=limits.scram_iterations, bunkerm_key=bunkerm_key)
        if credentials is not None:
            announce(describe(credentials, self.settings))
        directory = await Directory.open(
            data_dir / DATABASE_NAME,
            password_wait_limit=limits.password_wait_limit,
            scram_iterations=limits.scram_iterations,
            **self.settings.access.model_dump(),
        )
        self._started.push_async_callback(directory.close)
        directory.authenticators.use_fetcher(fetch_keys)
        await bootstrap(directory)
        if bunkerm_key is not None:
            await directory.set_bunkerm_key(bunkerm_key, actor="environment", facade="server")
        return directory

    async def _start_with_sessions(self, directory: Directory) -> Broker:
        """Start the broker on what sessions were left; what turns out to be damaged while it is read is set aside."""
        sessions = await self._open_sessions()
        try:
            return await self._start_broker(directory, sessions)
        except DatabaseDamaged as damage:
            if sessions is None:
                raise
            await sessions.close()
            file = self.settings.data_dir / SESSIONS_NAME
            kept = set_aside(file, datetime.now(UTC))
            problem = f"{damage.message.rstrip('.')}. It was set aside as {kept.name}; see wardenmq doctor."
        logger.error("%s", problem)
        sessions = await self._open_sessions()
        if sessions is not None:
            sessions.problem = problem
        return await self._start_broker(directory, sessions)

    async def _open_sessions(self) -> SessionStore | None:
        """Open what sessions are written to; None where they are to live in memory alone."""
        durability = self.settings.durability
        if durability == "none":
            return None
        sys.setswitchinterval(min(_SWITCH_INTERVAL, sys.getswitchinterval()))
        sessions = await SessionStore.open(self.settings.data_dir / SESSIONS_NAME, durability)
        self._started.push_async_callback(sessions.close)
        if sessions.problem is not None:
            logger.error("%s", sessions.problem)
        return sessions

    async def _start_broker(self, directory: Directory, sessions: SessionStore | None) -> Broker:
        listeners = {name: listener.for_amqtt() for name, listener in self.settings.listeners.items()}
        config: dict[str, Any] = {"listeners": listeners, "plugins": dict(self.settings.plugins)}
        limits = _within_files(MqttSettings(**self.settings.mqtt.model_dump()))
        try:
            broker = Broker(config, settings=limits, directory=directory, journal=sessions)
            governed = Governed(
                broker,
                directory,
                _api_settings(self.settings),
                self.settings.data_dir,
                self.settings.fixed,
            )
            broker.delayed.is_banned = lambda client_id: directory.bans.find(client_id, "") is not None
            self._configuration = Configuration(governed, ROOTS)
            await self._configuration.load()
            await load_configured_keys(self._configuration)
            load_traces(governed)
            await broker.start()
        except (BrokerError, PluginError, PluginLoadError, OSError, ValueError) as error:
            raise StartError(_sentence("The MQTT broker cannot start", error)) from error
        self._started.push_async_callback(broker.shutdown)
        self._broker = broker
        for name, address in broker.addresses.items():
            kind = "ws" if broker.listeners.definitions[name].config.type == ListenerType.WS else "mqtt"
            self.addresses.setdefault(kind, format_address(*address))
        return broker

    async def _start_api(self, broker: Broker, directory: Directory, lock: DataDirectoryLock) -> None:
        section = self.settings.api
        host, port = split_address(section.bind)
        try:
            history = await HistoryStore.open(self.settings.data_dir / HISTORY_NAME)
        except StoreError as error:  # nothing depends on it
            logger.error("Measurements are kept in memory alone: %s", error)
            history = await HistoryStore.open(None)
        self._started.push_async_callback(history.close)
        if history.problem is not None:
            logger.error("%s", history.problem)
        application = create_application(
            broker=broker,
            directory=directory,
            settings=_api_settings(self.settings),
            prove=lock.prove,
            configuration=self._configuration,
            data_dir=self.settings.data_dir,
            history=history,
        )
        runner = create_runner(application, shutdown_timeout=_API_SHUTDOWN_SECONDS)
        await runner.setup()
        self._started.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise StartError(_sentence(f"The management API cannot listen on {section.bind}", error)) from error
        bound = runner.addresses[0]
        self.addresses["api"] = f"http://{format_address(str(bound[0]), int(bound[1]))}"


def _spare_the_loop_collections() -> None:
    """Keep full garbage collections rare and short: each holds the event loop for as long as it takes.

    What was loaded stays for as long as the server runs and is not looked through again. What sessions and changed
    rules hold goes by itself; cycles are few. Measured with 9,700 rules for all that change and 120 clients: the
    longest turn of the loop was 115 ms, and is 20. asyncio's own transports are cycles, a kilobyte each, so on its
    loop collections stay as frequent as they are by default.
    """
    gc.collect()
    gc.freeze()
    if not isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop):
        young, middle, _ = gc.get_threshold()
        gc.set_threshold(young, middle, _FULL_COLLECTION)


async def serve(server: Server, announce: Callable[[str], None]) -> None:
    """Run a server until SIGTERM or SIGINT; `announce` gets the first credentials and then the ready line.

    SIGHUP has the listeners' certificates read again.

    Raises what `Server.start` raises.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, server.reload_certificates)
    await server.start(announce)
    try:
        if not stop.is_set():
            announce(server.ready_line())
        await stop.wait()
        logger.info("Stopping")
    finally:
        await server.stop()


def run(server: Server) -> None:
    """Run a server to its end in an event loop of its own, uvloop's where it is installed."""
    with asyncio.Runner(loop_factory=_fast_loop()) as runner:
        runner.run(serve(server, _print_line))


def describe(credentials: InitialCredentials, settings: Settings) -> str:
    """Format the first credentials for the terminal."""
    file = settings.data_dir / CREDENTIALS_NAME
    lines = [f"First start: these credentials are shown only now; they are also in {file}, readable by you alone."]
    width = max(len(name) for name in credentials.__slots__)
    lines += [f"  {name:<{width}}  {getattr(credentials, name)}" for name in credentials.__slots__]
    return "\n".join(lines)


def _within_files(settings: MqttSettings) -> MqttSettings:
    """Let the process open as many files as it may, and no more connections than these allow."""
    files = raise_file_limit()
    most = bound_connections(settings.max_connections, files)
    if most == settings.max_connections:
        return settings
    logger.warning(
        "At most %d connections instead of %s: the process may open only %d files (ulimit -n, LimitNOFILE)",
        most,
        settings.max_connections or "any number of",
        files,
    )
    return dataclasses.replace(settings, max_connections=most)


def _api_settings(settings: Settings) -> ApiSettings:
    """Give what the API is told, with no more connections than the process may open files."""
    most = bound_api_connections(settings.api.max_connections, raise_file_limit())
    return dataclasses.replace(ApiSettings(**settings.api.model_dump()), max_connections=most)


def _print_line(text: str) -> None:
    try:
        print(text, flush=True)
    except OSError as error:
        raise StartError(f"Standard output takes nothing: {error.strerror}.") from error


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _sentence(what: str, error: Exception) -> str:
    """Say what failed and why, with the operating system's words instead of the event loop's around them."""
    reason, cause = str(error.__cause__ or error), error
    while not isinstance(cause, OSError) and isinstance(cause.__cause__, Exception):
        cause = cause.__cause__
    if isinstance(cause, OSError) and cause.errno and cause.strerror:
        for wrapped in (str(cause), cause.strerror):
            reason = reason.replace(wrapped, os.strerror(cause.errno))
    return f"{what}: {reason.rstrip('.')}."
