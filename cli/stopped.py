"""The way where no server runs: the store is opened for the command, under the lock, and asked in this process."""

import asyncio
from typing import TYPE_CHECKING

from ..store.lock import DataDirectoryLock
from .failures import Unusable

if TYPE_CHECKING:
    from ..config.settings import Settings
    from ..mgmt_api.local import LocalFacade
    from ..store.directory import Directory


class StoppedTransport:
    """Own the data directory from the first request until `close`."""

    def __init__(self, lock: DataDirectoryLock, settings: "Settings") -> None:
        self._lock = lock
        self._settings = settings
        self._runner = asyncio.Runner()
        self._directory: Directory | None = None
        self._facade: LocalFacade | None = None

    def call(self, method: str, path: str, query_string: str, content_type: str, data: bytes) -> tuple[int, bytes]:
        """Carry out one request. Raises a `StoreError` where the database is in trouble."""
        reply = self._runner.run(self._call(method, path, query_string, content_type, data))
        return reply

    def close(self) -> None:
        """Close the database and let the next owner in."""
        try:
            if self._directory is not None:
                directory, self._directory = self._directory, None
                self._runner.run(directory.close())
            self._runner.close()
        finally:
            self._lock.release()

    async def _call(
        self, method: str, path: str, query_string: str, content_type: str, data: bytes
    ) -> tuple[int, bytes]:
        facade = self._facade or await self._open()
        reply = await facade.call(method, path, query_string, content_type, data)
        return reply.status, b"".join(reply.parts)

    async def _open(self) -> "LocalFacade":
        from ..broker.broker import Broker
        from ..mgmt_api.local import LocalFacade
        from ..mgmt_api.operator.address import OPERATOR as ACTOR
        from ..mgmt_api.operator.address import VIA_COMMAND_LINE
        from ..mgmt_api.operator.table import OPERATOR
        from ..mgmt_api.routes import Caller
        from ..mgmt_api.settings import ApiSettings
        from ..mgmt_api.state import ApiState
        from ..store.directory import Directory
        from ..store.file_names import DATABASE_NAME

        file = self._settings.data_dir / DATABASE_NAME
        if not file.exists():
            raise Unusable(f"There is no database in {self._settings.data_dir}: start the server there once.")
        limits = self._settings.mqtt
        directory = self._directory = await Directory.open(
            file,
            password_wait_limit=limits.password_wait_limit,
            scram_iterations=limits.scram_iterations,
            **self._settings.access.model_dump(),
        )
        # Never started: no session lives in it, so what a write concerns is only the database.
        broker = Broker({"listeners": {"default": {"type": "external"}}, "plugins": {}})
        settings = ApiSettings(**self._settings.api.model_dump(exclude={"bind"}))
        state = ApiState(broker, directory, settings, version="")
        self._facade = LocalFacade(OPERATOR, state, Caller(ACTOR, "administrator", VIA_COMMAND_LINE))
        return self._facade
