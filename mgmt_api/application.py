"""The management API put together: facades, error handling, the documents that describe them."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from aiohttp import web

from ..broker.broker import Broker
from ..store.directory import Directory
from .configuration import Configuration
from .dispatch import answer_errors, mount
from .emqx.table import EMQX, ROOT
from .encoding import encode
from .http_log import create_logger
from .openapi import document
from .operator.address import MAX_TARGET
from .operator.table import OPERATOR
from .settings import ApiSettings
from .state import STATE, ApiState

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
) -> web.Application:
    """Build the application for one broker and one directory; both stay the caller's to start and to close.

    `prove` is `DataDirectoryLock.prove`, where there is a data directory. `configuration` is what was put in force for
    this broker before it was started.
    """
    chosen = settings or ApiSettings()
    release = _release()
    application = web.Application(middlewares=[answer_errors], client_max_size=chosen.max_body_size)
    application[STATE] = ApiState(
        broker,
        directory,
        chosen,
        release,
        document=encode(document(EMQX, release)),
        operator_document=encode(document(OPERATOR, release)),
        prove=prove,
        data_dir=data_dir,
        loaded=configuration,
    )
    for facade in (EMQX, ROOT, OPERATOR):
        mount(application, facade)
    return application


def create_runner(application: web.Application, *, shutdown_timeout: float = 5.0) -> web.AppRunner:
    """Wrap the application for serving, without an access log; open requests get `shutdown_timeout` seconds to end."""
    return web.AppRunner(
        application,
        access_log=None,
        logger=create_logger(),
        shutdown_timeout=shutdown_timeout,
        max_line_size=MAX_TARGET + _AROUND_TARGET,
    )


def _release() -> str:
    """Name the release that is installed; a source tree that is not installed has none."""
    try:
        return version("wardenmq")
    except PackageNotFoundError:
        return "0"
