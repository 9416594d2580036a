"""Numbers pushed to a Prometheus push gateway, where the settings want that."""

import asyncio
from collections.abc import Awaitable, Callable
from logging import getLogger

import aiohttp
from yarl import URL

from ...quantities import seconds
from .prometheus_settings import PushGateway

_logger = getLogger(__name__)

LOOK = 1.0
"""Seconds between looks at the settings: so long at most does a change take."""
TIMEOUT = 10.0
"""Seconds that one push may take."""


class Pusher:
    """Push for as long as `run` runs, by the settings of the moment."""

    def __init__(
        self,
        node: str,
        settings: Callable[[], PushGateway],
        expose: Callable[[], Awaitable[str]],
        *,
        look: float = LOOK,
    ) -> None:
        """`expose` gives the numbers in Prometheus's text format."""
        self._node = node
        self._settings = settings
        self._expose = expose
        self._look = look
        self._failing = False

    async def run(self) -> None:
        """Push whenever it is time, until cancelled."""
        loop = asyncio.get_running_loop()
        pushed_at: float | None = None
        before: PushGateway | None = None
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as http:
            while True:
                settings = self._settings()
                if settings != before:
                    before, pushed_at, self._failing = settings, None, False
                now = loop.time()
                if settings.enable and (pushed_at is None or now >= pushed_at + seconds(settings.interval)):
                    pushed_at = now
                    await self.push(http, settings)
                await asyncio.sleep(self._look)

    async def push(self, http: aiohttp.ClientSession, settings: PushGateway) -> None:
        """Push once; the log tells when that begins to fail and when it works again, and never what is in headers."""
        try:
            data = (await self._expose()).encode()
            target = target_of(settings, self._node)
            headers = {"Content-Type": "text/plain; version=0.0.4", **settings.headers}
            # a redirection would carry the headers, which hold secrets, to somebody else
            async with http.post(target, data=data, headers=headers, allow_redirects=False) as response:
                problem = None if response.status < 300 else f"it answers {response.status}"
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            problem = "it takes too long" if isinstance(error, TimeoutError) else type(error).__name__
        if problem is not None and not self._failing:
            _logger.warning("Numbers cannot be pushed to the gateway at %s: %s", _place(settings), problem)
        elif problem is None and self._failing:
            _logger.info("Numbers are pushed to the gateway at %s again", _place(settings))
        self._failing = problem is not None


def target_of(settings: PushGateway, node: str) -> URL:
    """Give the address to push to: the gateway's, with the job's name."""
    name, _, host = node.partition("@")
    job = settings.job_name.replace("${name}", name).replace("${host}", host)
    url = URL(settings.url)
    if any(name.lower() == "authorization" for name in settings.headers):
        url = url.with_user(None)  # there is room for one credential
    return url.with_path(f"{url.path.rstrip('/')}/metrics/job/{job.strip('/')}").with_query(url.query)


def _place(settings: PushGateway) -> str:
    """Name the gateway without what a URL may hold of credentials."""
    url = URL(settings.url)
    return f"{url.scheme}://{url.host}:{url.port}"
