"""The root `flapping_detect`: clients that come and go all the time are banned for a while."""

from logging import getLogger
from time import time
from typing import Annotated

from pydantic import Field

from ....broker.flapping import FlappingSettings
from ....store.errors import AlreadyExists, StoreError
from ...configuration import Governed, Root
from ...limits import Body
from ...quantities import PositiveDuration, seconds

_logger = getLogger(__name__)
_MOST_PENDING = 1_000
"""Bans that may wait for the store at a time; who is passed over is met at the next end of a connection."""


class FlappingDetect(Body):
    """How often is too often, and what becomes of it."""

    enable: bool = False
    window_time: PositiveDuration = "1m"
    max_count: Annotated[int, Field(ge=1, le=1_000_000)] = 15
    ban_time: PositiveDuration = "5m"


class _Bans:
    """Write bans beside the engine."""

    def __init__(self, governed: Governed) -> None:
        self._governed = governed
        self._pending = 0

    def ban(self, client_id: str, duration: float) -> None:
        if self._pending < _MOST_PENDING:
            self._pending += 1
            self._governed.broker.spawn(self._write(client_id, duration))

    async def _write(self, client_id: str, duration: float) -> None:
        try:
            await self._governed.directory.bans.create(
                "clientid", client_id, by="flapping detector", reason="flapping is detected", until=time() + duration
            )
            _logger.warning("client %r comes and goes all the time: banned for %d s", client_id, duration)
        except AlreadyExists:
            pass
        except StoreError as error:
            _logger.error("client %r comes and goes all the time and could not be banned: %s", client_id, error)
        finally:
            self._pending -= 1


def _apply(governed: Governed, value: FlappingDetect) -> None:
    settings = FlappingSettings(seconds(value.window_time), value.max_count, seconds(value.ban_time))
    governed.broker.flapping.configure(settings if value.enable else None, _Bans(governed).ban)


FLAPPING_DETECT: Root[FlappingDetect] = Root("flapping_detect", FlappingDetect, lambda _: FlappingDetect(), _apply)
