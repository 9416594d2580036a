"""The root `prometheus`: who may scrape, and where numbers are pushed to."""

from re import compile as compile_pattern
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from yarl import URL

from ....store.authenticators.settings import HIDDEN, holds_secret
from ...configuration import Governed, Root
from ...errors import bad_request
from ...limits import Body
from ...quantities import PositiveDuration

MAX_HEADERS = 50
_TOKEN = compile_pattern(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_Switch = Literal["disabled", "enabled"]
JOB_NAME = "${name}/instance/${name}~${host}"


def _check_url(text: str) -> str:
    try:
        url = URL(text)
    except ValueError:
        raise ValueError("must be a URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("must begin with http:// or https:// and name a host")
    return text


def _check_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or not value.isprintable():
            raise ValueError("a header has a name or a value that HTTP does not allow for")
    return headers


def _check_job(text: str) -> str:
    if not text.isprintable() or "?" in text or "#" in text:
        raise ValueError("must be part of a path")
    return text


Url = Annotated[str, Field(max_length=2_000), AfterValidator(_check_url)]
Headers = Annotated[
    dict[Annotated[str, Field(max_length=200)], Annotated[str, Field(max_length=4_000)]],
    Field(max_length=MAX_HEADERS),
    AfterValidator(_check_headers),
]
JobName = Annotated[str, Field(min_length=1, max_length=1_000), AfterValidator(_check_job)]


class PushGateway(Body):
    """Say where numbers are pushed to, and how often."""

    enable: bool = False
    url: Url = "http://127.0.0.1:9091"
    interval: PositiveDuration = "15s"
    headers: Headers = Field(default_factory=dict[str, str])
    job_name: JobName = JOB_NAME


class Collectors(Body):
    """The switches of EMQX's collectors about its runtime; this broker runs in none, so that they show nothing."""

    vm_dist: _Switch = "disabled"
    mnesia: _Switch = "disabled"
    vm_statistics: _Switch = "disabled"
    vm_system_info: _Switch = "disabled"
    vm_memory: _Switch = "disabled"
    vm_msacc: _Switch = "disabled"


class PrometheusSettings(Body):
    """Say who may scrape and where numbers are pushed to; the flat form of EMQX before 5.4 is understood, too."""

    enable_basic_auth: bool = False
    push_gateway: PushGateway = PushGateway()
    collectors: Collectors = Collectors()

    @model_validator(mode="before")
    @classmethod
    def _read_flat(cls, value: Any) -> Any:
        """Translate the flat form, which is known by its keys."""
        if not isinstance(value, dict) or not _FLAT_KEYS.intersection(value):  # pyright: ignore[reportUnknownArgumentType]
            return value  # pyright: ignore[reportUnknownVariableType]
        given: dict[str, Any] = dict(value)  # pyright: ignore[reportUnknownArgumentType]
        gateway = {new: given.pop(old) for old, new in _GATEWAY_KEYS.items() if old in given}
        collectors = {new: given.pop(old) for old, new in _COLLECTOR_KEYS.items() if old in given}
        # what is left over is refused by name, and so is a mixture of both forms
        if "push_gateway" in given or "collectors" in given:
            raise ValueError("this is neither the flat form nor the present one, but a mixture of both")
        return {**given, "push_gateway": gateway, "collectors": collectors}


_GATEWAY_KEYS = {
    "push_gateway_server": "url",
    "enable": "enable",
    "interval": "interval",
    "headers": "headers",
    "job_name": "job_name",
}
_COLLECTOR_KEYS = {f"{name}_collector": name for name in Collectors.model_fields}
_FLAT_KEYS = frozenset(_GATEWAY_KEYS) | frozenset(_COLLECTOR_KEYS)


def _apply(governed: Governed, value: PrometheusSettings) -> None:
    """Do nothing: whoever scrapes or pushes looks at the value of now."""


def _mask(value: PrometheusSettings) -> PrometheusSettings:
    """Hide what opens the gateway: the password in its URL and the headers that hold a credential."""
    gateway = value.push_gateway
    headers = {name: HIDDEN if holds_secret(name) else text for name, text in gateway.headers.items()}
    return _with_gateway(value, _hide_password(gateway.url), headers)


def _reveal(value: PrometheusSettings, before: PrometheusSettings) -> PrometheusSettings:
    gateway, old = value.push_gateway, before.push_gateway
    headers = {
        name: old.headers.get(name, HIDDEN) if text == HIDDEN and holds_secret(name) else text
        for name, text in gateway.headers.items()
    }
    url = old.url if gateway.url == _hide_password(old.url) else gateway.url
    if HIDDEN in (URL(url).password, *(text for name, text in headers.items() if holds_secret(name))):
        raise bad_request(f"push_gateway: there is no secret yet that could stay where {HIDDEN} is")
    return _with_gateway(value, url, headers)


def _hide_password(text: str) -> str:
    url = URL(text)
    return text if url.password is None else str(url.with_password(HIDDEN))


def _with_gateway(value: PrometheusSettings, url: str, headers: dict[str, str]) -> PrometheusSettings:
    gateway = value.push_gateway.model_copy(update={"url": url, "headers": headers})
    return value.model_copy(update={"push_gateway": gateway})


PROMETHEUS: Root[PrometheusSettings] = Root(
    "prometheus", PrometheusSettings, lambda _: PrometheusSettings(), _apply, mask=_mask, reveal=_reveal
)
