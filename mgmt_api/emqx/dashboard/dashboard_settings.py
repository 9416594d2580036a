"""What of the HTTP side can be changed while it runs: the root `dashboard`."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from ...configuration import Configuration, Governed, Root
from ...errors import ApiError
from ...limits import Body
from ...quantities import Duration, seconds

_HIDDEN = "******"
_BACKLOG = 128
"""Connections that may wait to be accepted; aiohttp's default."""


def _as_text(value: object) -> object:
    """Take a port alone as a number, too."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Bind = Annotated[str, BeforeValidator(_as_text), Field(max_length=300)]


class HttpListener(Body):
    """Describe the API's listener; None is left out where there is nothing of that kind here."""

    bind: Bind | None = None
    num_acceptors: int | None = None
    max_connections: int | None = None
    backlog: int | None = None
    send_timeout: Duration | None = None
    inet6: bool | None = None
    ipv6_v6only: bool | None = None
    proxy_header: bool | None = None


class HttpsListener(Body):
    """Describe the listener for HTTPS, of which there is none."""

    bind: Bind | None = None


class DashboardListeners(Body):
    """Describe the listeners of the HTTP side."""

    http: HttpListener | None = None
    https: HttpsListener | None = None


class Dashboard(Body):
    """Configure the HTTP side."""

    listeners: DashboardListeners | None = None
    """What is bound; the operator's configuration decides on it, so that it is shown and cannot be changed here."""
    default_password: Annotated[str, Field(max_length=100), AfterValidator(lambda _: _HIDDEN)] | None = None
    """Shown as asterisks and never kept: the first administrator's password is generated, once."""
    token_expired_time: Duration = "60m"  # noqa: S105
    """How long a login lasts after its last use."""
    cors: bool = False
    swagger_support: bool = True

    @property
    def token_life(self) -> float:
        """Seconds for which a token is good after its last use."""
        return seconds(self.token_expired_time)


def _complete(governed: Governed, value: Dashboard) -> Dashboard:
    """Fill in what is not for the API to change."""
    return value.model_copy(update={"listeners": _bound(governed), "default_password": _HIDDEN})


def _bound(governed: Governed) -> DashboardListeners:
    bind = governed.settings.bind
    http = HttpListener(
        bind=bind,
        num_acceptors=1,
        max_connections=governed.settings.max_connections,
        backlog=_BACKLOG,
        inet6=bind.startswith("["),
        ipv6_v6only=False,
        proxy_header=False,
    )
    return DashboardListeners(http=http, https=HttpsListener(bind="0"))


def _apply(governed: Governed, value: Dashboard) -> None:
    """Refuse to change what is bound; all else is read where it is used.

    At the start nothing is refused: the operator may have moved the listener since the value was stored.
    """
    if value.listeners is None or not governed.broker.transitions.is_started():
        return
    bound = _bound(governed)
    for name in ("http", "https"):
        wanted, present = getattr(value.listeners, name), getattr(bound, name)
        if wanted is None:
            continue
        for key, said in wanted.model_dump(exclude_none=True).items():
            if _normal(said) != _normal(getattr(present, key)):
                raise ApiError(
                    400,
                    "UPDATE_FAILED",
                    f"listeners.{name}.{key} is not for the API to change: where it listens is set by api.bind in the "
                    "configuration file or with --api",
                )


def _normal(value: object) -> object:
    """Spell a port alone as all addresses, which it stands for."""
    return f"0.0.0.0:{value}" if isinstance(value, str) and value.isdigit() and value != "0" else value


DASHBOARD = Root(
    "dashboard",
    Dashboard,
    default=lambda governed: _complete(governed, Dashboard()),
    apply=_apply,
    complete=_complete,
)


def dashboard_of(configuration: Configuration) -> Dashboard:
    """Return what is in force."""
    return configuration.get(DASHBOARD)
