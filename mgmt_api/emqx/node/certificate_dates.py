"""When the certificates of the listeners expire."""

import asyncio
import os
from dataclasses import dataclass, field
from logging import getLogger

from ....broker.broker import Broker

_logger = getLogger(__name__)
_MAX_SIZE = 1 << 20
_KEPT = 1_000


@dataclass(slots=True)
class CertificateDates:
    """Read dates out of files, each once for as long as it stays the same."""

    _known: dict[str, tuple[tuple[int, int, int], int]] = field(
        default_factory=dict[str, tuple[tuple[int, int, int], int]]
    )

    async def of_listeners(self, broker: Broker) -> list[tuple[str, str, int]]:
        """List type and name of the TLS listeners, and when their certificate expires, in seconds since the epoch."""
        files = [
            (definition.kind, definition.name, str(definition.config.certfile))
            for definition in broker.listeners.definitions.values()
            if definition.config.ssl and definition.config.certfile
        ]
        return await asyncio.to_thread(self._read_all, files) if files else []

    def _read_all(self, files: list[tuple[str, str, str]]) -> list[tuple[str, str, int]]:
        found: list[tuple[str, str, int]] = []
        for kind, name, path in files:
            try:
                found.append((kind, name, self._read(path)))
            except (OSError, ValueError) as error:
                _logger.debug("when %s expires is not known: %s", path, error)
        return found

    def _read(self, path: str) -> int:
        """Give when the first certificate of a file expires. Raises OSError, ValueError."""
        from cryptography.x509 import load_pem_x509_certificate

        status = os.stat(path)
        fingerprint = status.st_mtime_ns, status.st_size, status.st_ino
        known = self._known.get(path)
        if known is not None and known[0] == fingerprint:
            return known[1]
        with open(path, "rb") as file:
            expires_at = int(load_pem_x509_certificate(file.read(_MAX_SIZE)).not_valid_after_utc.timestamp())
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[path] = fingerprint, expires_at
        return expires_at
