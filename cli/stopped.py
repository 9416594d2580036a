"""The way where no server runs: the store is opened for the command, under the lock, and asked in this process."""

import asyncio
import logging
from typing import TYPE_CHECKING

from ..store.lock import DataDirectoryLock

if TYPE_CHECKING:
    from ..config.settings import Settings
    from ..mgmt_api.local import LocalFacade
    from ..store.directory import Directory

_STORE_LOGGER = logging.getLogger(DataDirectoryLock.__module__.rpartition(".")[0])


class StoppedTransport:
    """Own the data directory from the first request until `close`."""

    def __init__(self, lock: DataDirectoryLock, settings: "Settings") -> None:
        self._lock = lock
        self._settings = settings
        self._runner = asyncio.Runner()
        self._directory: Directory | None = None
        self._facade: LocalFacade | None = None
        # What the store logs is for the server's log; where nobody handles it, Python puts it on standard error.
        self._log = logging.NullHandler()
        _STORE_LOGGER.addHandler(self._log)

    def call(self, method: str, path: str, query_string: str, content_type: str, data: bytes) -> tuple[int, bytes]:
        """Carry out one request. Raises a `StoreError` where the database is in trouble."""
        return self._runner.run(self._call(method, path, query_string, content_type, data))

    def close(self) -> None:
        """Close the database and let the next owner in."""
        try:
            if self._directory is not None:
                directory, self._directory = self._directory, None
                self._runner.run(directory.close())
            self._runner.close()
        finally:
            _STORE_LOGGER.removeHandler(self._log)
            self._lock.release()

    async def _call(
        self, method: str, path: str, query_string: str, content_type: str, data: bytes
    ) -> tuple[int, bytes]:
        facade = self._facade or await self._open()
        reply = await facade.call(method, path, query_string, content_type, data)
        return reply.status, b"".join(reply.parts)

    async def _open(self) -> "LocalFacade":
        from ..broker.broker import Broker
        from ..broker.settings import MqttSettings
        from ..mgmt_api.local import LocalFacade
        from ..mgmt_api.operator.address import OPERATOR as ACTOR
        from ..mgmt_api.operator.address import VIA_COMMAND_LINE
        from ..mgmt_api.operator.table import OPERATOR
        from ..mgmt_api.routes import Caller
        from ..mgmt_api.settings import ApiSettings
        from ..mgmt_api.state import ApiState
        from ..store.directory import Directory
        from ..store.file_names import DATABASE_NAME

        limits = self._settings.mqtt
        directory = self._directory = await Directory.open(
            self._settings.data_dir / DATABASE_NAME,
            password_wait_limit=limits.password_wait_limit,
            scram_iterations=limits.scram_iterations,
            housekeeping=False,
            **self._settings.access.model_dump(),
        )
        # Never started: no session lives in it, so what a write concerns is only the database.
        listeners = {"default": {"type": "external"}}
        broker = Broker({"listeners": listeners, "plugins": {}}, settings=MqttSettings(**limits.model_dump()))
        settings = ApiSettings(**self._settings.api.model_dump())
        state = ApiState(broker, directory, settings, version="", configured_plugins=self._settings.plugins)
        self._facade = LocalFacade(OPERATOR, state, Caller(ACTOR, "administrator", VIA_COMMAND_LINE))
        return self._facade
