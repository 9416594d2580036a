"""What the application runs beside its requests: see `Monitoring`, and pushes to a gateway."""

from collections.abc import AsyncIterator

from aiohttp import web

from ...state import STATE
from .metrics import METRICS
from .monitoring import MONITORING
from .prometheus import expose_all
from .prometheus_settings import PROMETHEUS
from .push_gateway import Pusher


async def monitor(application: web.Application) -> AsyncIterator[None]:
    """Watch over the broker for as long as the application runs."""
    state = application[STATE]
    pusher = Pusher(state.node, lambda: state.configuration.get(PROMETHEUS).push_gateway, lambda: expose_all(state))
    await state.part(MONITORING).start(state.node, state.version, METRICS, pusher.run())
    yield
    await state.part(MONITORING).stop()
