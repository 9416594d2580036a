"""All listeners of one broker: made from its configuration, opened and stopped together."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from logging import getLogger

from amqtt.broker import DEFAULT_PORTS
from amqtt.contexts import ListenerConfig, ListenerType
from amqtt.errors import BrokerError

from ..connection import Connection, Door
from ..settings import MqttSettings
from .addresses import UnixAddress, read_address
from .bound_listener import BoundListener
from .external import ExternalListener
from .limits import BrokerLimits, ListenerLimits
from .listener import Listener
from .options import OWN_KEYS, CertificateFiles, ListenerOptions, check_tls_keys, verifies_clients
from .tls import CertificateError, Certificates, TlsSettings

_logger = getLogger(__name__)

_CERTIFICATE_CHECK = 5.0
"""Seconds between looks at the certificates' files."""


class Listeners:
    """Hold the listeners that are open, by name."""

    def __init__(self, settings: MqttSettings) -> None:
        self.by_name: dict[str, Listener] = {}
        self.limits = BrokerLimits(settings)
        self._settings = settings
        self._next_check = 0.0

    def __iter__(self) -> Iterator[Listener]:
        return iter(self.by_name.values())

    @property
    def _bound(self) -> list[BoundListener]:
        return [listener for listener in self if isinstance(listener, BoundListener)]

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """The bound addresses by listener name; a Unix socket's is ("unix:/path", 0)."""
        return {listener.name: address for listener in self if (address := listener.address) is not None}

    @property
    def connections(self) -> list[Connection]:
        """All connections that came through a listener and are still there."""
        return [connection for listener in self for connection in listener.connections]

    async def open(
        self,
        loop: asyncio.AbstractEventLoop,
        configs: Mapping[str, ListenerConfig],
        options: Mapping[str, ListenerOptions],
        make_connection: Callable[[Door], Connection],
    ) -> None:
        """Open what the configuration names; raises BrokerError."""
        for name, config in configs.items():
            if config.type == ListenerType.EXTERNAL:
                self.by_name[name] = ExternalListener(name, _limits(config, self.limits))
                continue
            if config.bind is None:
                continue
            listener = make_listener(name, config, options.get(name, ListenerOptions()), self.limits)
            self.by_name[name] = listener
            try:
                await listener.open(loop, make_connection, self._settings)
            except OSError as error:
                raise BrokerError(f"listener {name!r} cannot bind {config.bind}: {_reason(error)}") from error
            _logger.info("listener %s at %s:%s", listener.listener_id, *(listener.address or ()))

    def stop(self) -> None:
        """Accept no more connections; those that are there stay."""
        for listener in self:
            listener.stop()

    async def wait_empty(self, seconds: float) -> None:
        """Wait until all connections are gone, but no longer than this."""
        emptied = [asyncio.ensure_future(listener.wait_empty()) for listener in self]
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
        for listener in self._bound:
            if listener.certificates is not None and listener.certificates.changed:
                _reload(listener)


def _reload(listener: BoundListener) -> str | None:
    try:
        listener.reload_certificates()
    except CertificateError as error:
        return f"Listener {listener.listener_id} keeps its certificates: {error}."
    return None


def make_listener(name: str, config: ListenerConfig, options: ListenerOptions, limits: BrokerLimits) -> BoundListener:
    """Make a listener that is not open yet; raises BrokerError for a configuration that cannot be used."""
    try:
        address = read_address(config.bind or "", DEFAULT_PORTS[config.type], options.socket_mode)
    except ValueError as error:
        raise BrokerError(f"listener {name!r} cannot bind {config.bind}: {error}") from error
    kind = "ws" if config.type == ListenerType.WS else "unix" if isinstance(address, UnixAddress) else "tcp"
    keys = {**vars(config), **{key: getattr(options, key) for key in OWN_KEYS}}
    certificates = None
    try:
        check_tls_keys(keys)
        if config.ssl:
            kind = "wss" if kind == "ws" else "ssl"
            certificates = Certificates(_tls_settings(config, options, verifies_clients(keys)))
    except ValueError as error:
        raise BrokerError(f"listener {name!r} cannot be used: {error}") from error
    return BoundListener(name, kind, _limits(config, limits), address, options, certificates)


def _limits(config: ListenerConfig, limits: BrokerLimits) -> ListenerLimits:
    return ListenerLimits(max(0, config.max_connections), limits)  # amqtt knows -1 for no bound, too


def _tls_settings(config: ListenerConfig, options: ListenerOptions, verify_client: str) -> TlsSettings:
    return TlsSettings(
        certificate=CertificateFiles(str(config.certfile), str(config.keyfile)),
        sni=options.sni,
        cafile=str(config.cafile) if config.cafile else None,
        capath=str(config.capath) if config.capath else None,
        cadata=str(config.cadata) if config.cadata else None,
        verify_client=verify_client,
        protocol="http/1.1" if config.type == ListenerType.WS else "mqtt",
    )


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and not error.strerror else str(error.strerror or error)
