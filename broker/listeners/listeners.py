"""All listeners of one broker: made from their definitions, opened and stopped together or one by one."""

import asyncio
import errno
import os
from collections.abc import Callable, Iterator, Mapping
from logging import getLogger

from amqtt.broker import DEFAULT_PORTS
from amqtt.contexts import ListenerType
from amqtt.errors import BrokerError

from ..connection import Connection, Door
from ..settings import MqttSettings
from .addresses import read_address
from .bound_listener import BoundListener
from .definition import ListenerDefinition
from .external import ExternalListener
from .limits import BrokerLimits, ListenerLimits
from .listener import Listener
from .options import OWN_KEYS, CertificateFiles, check_tls_keys, verifies_clients
from .tls import CertificateError, Certificates, TlsSettings

_logger = getLogger(__name__)

_CERTIFICATE_CHECK = 5.0
"""Seconds between looks at the certificates' files."""


_CLOSE_SLICE = 100
"""Connections closed before others have their turn."""
_BIND_ATTEMPTS = 50
_BIND_PAUSE = 0.02
"""Seconds between attempts at an address that this broker has just given up."""

MakeConnection = Callable[[Door], Connection]
CloseConnection = Callable[[Connection], None]


class Listeners:
    """Hold the listeners that are open, by key: a name of the configuration or an id.

    `close_connection` ends a client's connection because its listener is stopped.
    """

    def __init__(
        self,
        settings: MqttSettings,
        loop: asyncio.AbstractEventLoop,
        make_connection: MakeConnection,
        close_connection: CloseConnection,
    ) -> None:
        self.by_name: dict[str, Listener] = {}
        self.definitions: dict[str, ListenerDefinition] = {}
        """All that there are, open or not, in their order."""
        self.limits = BrokerLimits(settings)
        self.authentications: dict[str, str] = {}
        """What listeners ask of their clients that is not the usual, by listener id; see `ListenerPolicy`."""
        self._changing = asyncio.Lock()
        self._loop = loop
        self._make_connection = make_connection
        self._close_connection = close_connection
        self._leaving: set[Listener] = set()
        """Listeners that are stopped and whose connections are not gone yet."""
        self._settings = settings
        self._opened = False
        self._next_check = 0.0

    def __iter__(self) -> Iterator[Listener]:
        return iter(self.by_name.values())

    @property
    def _bound(self) -> list[BoundListener]:
        return [listener for listener in self if isinstance(listener, BoundListener)]

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """The bound addresses by listener key; a Unix socket's is ("unix:/path", 0)."""
        return {key: address for key, listener in self.by_name.items() if (address := listener.address) is not None}

    @property
    def connections(self) -> list[Connection]:
        """All connections that came through a listener and are still there."""
        return [connection for listener in (*self, *self._leaving) for connection in listener.connections]

    async def open(self) -> None:
        """Open all that are defined and enabled; raises BrokerError for one that is required."""
        self._opened = True
        self._note_authentications()
        for definition in self.definitions.values():
            if not definition.enabled:
                continue
            try:
                await self._open(definition)
            except BrokerError as error:
                if definition.required:
                    raise
                _logger.error("listener %s stays closed: %s", definition.listener_id, error)

    async def change(self, definitions: Mapping[str, ListenerDefinition]) -> None:
        """Have these listeners from now on; raises BrokerError, and then it is as before.

        Where a listener needs other sockets, and where one goes, its connections are closed; else they stay.
        """
        async with self._changing:
            await self._change(definitions)

    async def _change(self, definitions: Mapping[str, ListenerDefinition]) -> None:
        before, self.definitions = self.definitions, dict(definitions)
        if not self._opened:
            return
        try:
            stopped = await self._bring_about(before)
        except BaseException:
            self.definitions = before
            raise
        self._note_authentications()
        await self._close(stopped)

    async def _bring_about(self, before: Mapping[str, ListenerDefinition]) -> list[Listener]:
        """Open, change and stop what differs; returns what has been stopped.

        What can be opened beside the others is opened first. Where the rest fails, those that were stopped for it are
        opened again.
        """
        staying: dict[str, Listener] = {}
        coming: dict[str, Listener] = {}
        changed: list[tuple[Listener, Listener]] = []
        for key, definition in self.definitions.items():
            present = self.by_name.get(key)
            if not definition.enabled:
                continue
            if present is not None and definition == before.get(key):
                staying[key] = present
                continue
            made = self._make(definition)
            if present is not None and present.can_become(made):
                staying[key] = present
                changed.append((present, made))
            else:
                coming[key] = made
        going = [each for key, each in self.by_name.items() if key not in staying]
        in_place = [each for each in coming.values() if any(each.wants_place_of(other) for other in going)]
        opened: list[Listener] = []
        stopped: list[Listener] = []
        try:
            for listener in coming.values():
                if listener not in in_place:
                    await self._bind(listener)
                    opened.append(listener)
            for listener in going:
                listener.stop()
                self._leaving.add(listener)
                stopped.append(listener)
            for listener in in_place:
                await self._bind(listener)
                opened.append(listener)
        except BaseException:
            await self._go_back(opened, stopped)
            raise
        for old, new in changed:
            old.become(new, self._settings)
        self.by_name = {key: each for key in self.definitions if (each := coming.get(key) or staying.get(key))}
        return stopped

    async def _go_back(self, opened: list[Listener], stopped: list[Listener]) -> None:
        """Close what was opened, open again what was stopped; its connections stay."""
        for listener in opened:
            listener.stop()
        self._leaving.update(opened)
        await self._close(opened)
        for listener in stopped:
            self._leaving.discard(listener)
            try:
                await self._bind(listener)
            except BrokerError as error:
                _logger.critical("a listener could not be opened again after a change that failed: %s", error)
                self.by_name = {key: each for key, each in self.by_name.items() if each is not listener}
                self._leaving.add(listener)
                await self._close([listener])

    def _note_authentications(self) -> None:
        self.authentications.clear()
        self.authentications.update(
            (each.listener_id, each.policy.authentication)
            for each in self.definitions.values()
            if each.policy.authentication != "checked"
        )

    async def restart(self, key: str) -> None:
        """Close a listener and its connections and open it anew; raises BrokerError, and then it is closed."""
        async with self._changing:
            listener = self.by_name.pop(key, None)
            if listener is not None:
                listener.stop()
                self._leaving.add(listener)
                await self._close([listener])
            await self._open(self.definitions[key])

    async def _open(self, definition: ListenerDefinition) -> None:
        listener = self._make(definition)
        await self._bind(listener)
        self.by_name[definition.key] = listener

    def _make(self, definition: ListenerDefinition) -> Listener:
        if definition.config.type == ListenerType.EXTERNAL:
            return ExternalListener(definition.name, _limits(definition, self.limits))
        return make_listener(definition, self.limits)

    async def _bind(self, listener: Listener) -> None:
        """Open a listener; an address in use that is this broker's own is about to be given up."""
        if not isinstance(listener, BoundListener):
            return
        own = any(listener.wants_place_of(other) for other in self._leaving)
        for attempt in range(_BIND_ATTEMPTS):
            try:
                await listener.open(self._loop, self._make_connection, self._settings)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or not own or attempt == _BIND_ATTEMPTS - 1:
                    problem = f"listener {listener.name!r} cannot bind {listener.place}: {_reason(error)}"
                    raise BrokerError(problem) from error
                await asyncio.sleep(_BIND_PAUSE)
            else:
                _logger.info("listener %s at %s:%s", listener.listener_id, *(listener.address or ()))
                return

    async def _close(self, listeners: list[Listener]) -> None:
        """Close the connections of listeners that are stopped, others having their turn meanwhile."""
        for listener in listeners:
            for place, connection in enumerate(list(listener.connections), 1):
                self._close_connection(connection)
                if place % _CLOSE_SLICE == 0:
                    await asyncio.sleep(0)
            self._forget_empty()

    def _forget_empty(self) -> None:
        self._leaving = {each for each in self._leaving if each.connections or each.handshaking}

    def change_settings(self, settings: MqttSettings) -> None:
        """Keep to these limits for connections to come."""
        self._settings = settings
        self.limits.change(settings)
        for listener in self._bound:
            listener.change_settings(settings)

    def stop(self) -> None:
        """Accept no more connections; those that are there stay."""
        self._opened = False
        for listener in self:
            listener.stop()

    async def wait_empty(self, seconds: float) -> None:
        """Wait until all connections are gone, but no longer than this."""
        emptied = [asyncio.ensure_future(listener.wait_empty()) for listener in (*self, *self._leaving)]
        if emptied:
            _, late = await asyncio.wait(emptied, timeout=seconds)
            for task in late:
                task.cancel()

    def reload_certificates(self) -> list[str]:
        """Read the certificates of all TLS listeners anew; return a sentence for each that had to keep its old ones."""
        return [failed for listener in self._bound if (failed := _reload(listener)) is not None]

    def keep_house(self, now: float) -> None:
        """Reload certificates whose files have changed; call it as often as you like."""
        if now < self._next_check:
            return
        self._next_check = now + _CERTIFICATE_CHECK
        self._forget_empty()
        for listener in self._bound:
            if listener.certificates is not None and listener.certificates.changed:
                _reload(listener)


def _reload(listener: BoundListener) -> str | None:
    try:
        listener.reload_certificates()
    except CertificateError as error:
        return f"Listener {listener.listener_id} keeps its certificates: {error}."
    return None


def make_listener(definition: ListenerDefinition, limits: BrokerLimits) -> BoundListener:
    """Make a listener that is not open yet; raises BrokerError for a definition that cannot be used."""
    name, config, options = definition.key, definition.config, definition.options
    try:
        address = read_address(config.bind or "", DEFAULT_PORTS[config.type], options.socket_mode)
    except ValueError as error:
        raise BrokerError(f"listener {name!r} cannot bind {config.bind}: {error}") from error
    keys = {**vars(config), **{key: getattr(options, key) for key in OWN_KEYS}}
    certificates = None
    try:
        check_tls_keys(keys)
        if config.ssl:
            certificates = Certificates(_tls_settings(definition, verifies_clients(keys)))
    except ValueError as error:
        raise BrokerError(f"listener {name!r} cannot be used: {error}") from error
    return BoundListener(definition.name, definition.kind, _limits(definition, limits), address, options, certificates)


def _limits(definition: ListenerDefinition, limits: BrokerLimits) -> ListenerLimits:
    # amqtt knows -1 for no bound, too
    return ListenerLimits(max(0, definition.config.max_connections), limits, definition.policy)


def _tls_settings(definition: ListenerDefinition, verify_client: str) -> TlsSettings:
    config, options, policy = definition.config, definition.options, definition.policy
    return TlsSettings(
        certificate=CertificateFiles(str(config.certfile), str(config.keyfile)),
        sni=options.sni,
        cafile=str(config.cafile) if config.cafile else None,
        capath=str(config.capath) if config.capath else None,
        cadata=str(config.cadata) if config.cadata else None,
        verify_client=verify_client,
        protocol="http/1.1" if config.type == ListenerType.WS else "mqtt",
        key_password=policy.key_password,
        versions=policy.tls_versions,
        ciphers=policy.ciphers,
    )


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and not error.strerror else str(error.strerror or error)
