"""The management API put together: facades, error handling, the documents that describe them."""

import asyncio
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from aiohttp import web

from ..broker.broker import Broker
from ..store.directory import Directory
from ..store.history import HistoryStore
from .configuration import Configuration, Governed
from .dispatch import answer_errors, complete_headers, mount
from .emqx.dashboard.dashboard_settings import dashboard_of
from .emqx.node.watching import monitor
from .emqx.table import EMQX, ROOT
from .encoding import encode
from .http_connections import BoundedRunner
from .http_log import create_logger
from .later import Later
from .openapi import document
from .operator.address import MAX_TARGET
from .operator.table import OPERATOR
from .roots import ROOTS
from .settings import ApiSettings
from .state import STATE, ApiState

_IDLE_SECONDS = 60.0
"""For how long a connection stays open behind an answer; aiohttp's default is an hour."""
_AROUND_TARGET = 64
"""Bytes of a request line beside its target: method and version."""


def create_application(
    *,
    broker: Broker,
    directory: Directory,
    settings: ApiSettings | None = None,
    prove: Callable[[str], str] | None = None,
    configuration: Configuration | None = None,
    data_dir: Path | None = None,
    history: HistoryStore | None = None,
) -> web.Application:
    """Build the application for one broker and one directory; both stay the caller's to start and to close.

    `prove` is `DataDirectoryLock.prove`, where there is a data directory. `configuration` is what was put in force for
    this broker before it was started. `history` is where samples are stored, and the caller's to close.
    """
    chosen = settings or ApiSettings()
    release = _release()
    application = web.Application(middlewares=[answer_errors], client_max_size=chosen.max_body_size)
    changeable = configuration or Configuration(Governed(broker, directory, chosen, data_dir), ROOTS)
    application[STATE] = ApiState(
        broker,
        directory,
        chosen,
        release,
        document=Later(lambda: encode(document(EMQX, release))),
        operator_document=encode(document(OPERATOR, release)),
        prove=prove,
        data_dir=data_dir,
        history=history,
        loaded=changeable,
        other_origins=lambda: dashboard_of(changeable).cors,
    )
    application.on_response_prepare.append(complete_headers)
    application.cleanup_ctx.append(monitor)
    application.on_cleanup.append(_forget_backups)
    for facade in (EMQX, ROOT, OPERATOR):
        mount(application, facade)
    return application


def create_runner(application: web.Application, *, shutdown_timeout: float = 5.0) -> web.AppRunner:
    """Wrap the application for serving, without an access log; open requests get `shutdown_timeout` seconds to end."""
    state = application[STATE]
    return BoundedRunner(
        application,
        connections=state.connections,
        access_log=None,
        logger=create_logger(),
        shutdown_timeout=shutdown_timeout,
        max_line_size=MAX_TARGET + _AROUND_TARGET,
        # a packed body of a megabyte unpacks to a gigabyte, even one that nobody reads
        auto_decompress=False,
        keepalive_timeout=_IDLE_SECONDS,
    )


async def _forget_backups(application: web.Application) -> None:
    await asyncio.to_thread(application[STATE].backups.close)


def _release() -> str:
    """Name the release that is installed; a source tree that is not installed has none."""
    try:
        return version("wardenmq")
    except PackageNotFoundError:
        return "0"
