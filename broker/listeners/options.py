"""What a listener can be told beyond amqtt's `ListenerConfig`, and how the two are taken out of one mapping.

amqtt refuses keys that it does not know, so ours are taken out before it sees them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, cast

from amqtt.contexts import BrokerConfig, ListenerConfig
from amqtt.errors import BrokerError

VERIFY_CLIENT = ("none", "optional", "required")
CERTIFICATE_USERNAME = ("none", "cn", "san")
TLS_KEYS = frozenset(
    ("certfile", "keyfile", "cafile", "capath", "cadata", "verify_client", "certificate_username", "sni")
)
"""What a listener with `ssl: false` does not inherit."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Name a certificate chain and its key, both PEM."""

    certfile: str
    keyfile: str


@dataclass(frozen=True, slots=True)
class ListenerOptions:
    """Hold wardenmq's own keys of one listener."""

    verify_client: str | None = None
    """Whether a TLS client is asked for a certificate: none, optional or required. None is optional where the listener
    has certificate authorities, as in amqtt, and else none."""
    certificate_username: str = "none"
    """Which name in the client's certificate is its user name: none, cn (common name) or san (the first DNS name, email
    address or URI of the subject's alternative names)."""
    sni: Mapping[str, CertificateFiles] = field(default_factory=dict[str, CertificateFiles])
    """Certificates for the host names that clients ask for; `*.` at the beginning stands for one label."""
    origins: tuple[str, ...] | None = None
    """Web pages whose scripts may open a WebSocket, each as scheme://host[:port]; None for any."""
    proxy_protocol: bool = False
    """Whether each connection begins with a PROXY protocol header, whose address is the client's."""
    socket_mode: int = 0o660
    """Permissions of a Unix socket's file."""


OWN_KEYS = frozenset(option.name for option in fields(ListenerOptions))
_AMQTT_DEFAULTS: dict[str, object] = {key.name: key.default for key in fields(ListenerConfig)}


def read_config(config: Mapping[str, Any]) -> tuple[BrokerConfig, dict[str, ListenerOptions]]:
    """Read amqtt's broker configuration with our keys among those of its listeners; return the two apart.

    A listener has the values of the one called `default` for the keys that it does not set. Raises BrokerError for a
    key of ours that is wrong, and what amqtt raises for its own.
    """
    listeners: object = config.get("listeners")
    if not isinstance(listeners, Mapping):
        return BrokerConfig.from_dict(dict(config)), {}
    entries = cast("Mapping[str, object]", listeners)
    given = {name: keys for name, entry in entries.items() if (keys := _keys(entry)) is not None}
    above = given.get("default", {})
    complete = {name: {**inherited(above, keys), **keys} for name, keys in given.items()}
    options = {name: _read_options(name, keys) for name, keys in complete.items()}
    stripped = {
        name: {key: value for key, value in keys.items() if key not in OWN_KEYS} for name, keys in complete.items()
    }
    # What is no mapping is amqtt's to take or to refuse.
    result = BrokerConfig.from_dict({**config, "listeners": {**entries, **stripped}})
    for name, keys in stripped.items():
        _restore(result.listeners[name], keys)
    return result, options


def _keys(entry: object) -> dict[str, Any] | None:
    return dict(cast("Mapping[str, Any]", entry)) if isinstance(entry, Mapping) else None


def inherited(above: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Give the keys of `default` that another listener has too; its address it must have for itself."""
    without = TLS_KEYS if own.get("ssl") is False else frozenset[str]()
    return {key: value for key, value in above.items() if key not in own and key != "bind" and key not in without}


def _restore(listener: ListenerConfig, keys: Mapping[str, Any]) -> None:
    """Undo what amqtt does to a key that is set, but to the value that it would have anyway: overwrite it."""
    for key, value in keys.items():
        if key in _AMQTT_DEFAULTS and value == _AMQTT_DEFAULTS[key]:
            setattr(listener, key, _AMQTT_DEFAULTS[key])


def _read_options(name: str, keys: Mapping[str, Any]) -> ListenerOptions:
    own = {key: value for key, value in keys.items() if key in OWN_KEYS and value is not None}
    for key, choices in (("verify_client", VERIFY_CLIENT), ("certificate_username", CERTIFICATE_USERNAME)):
        if key in own and own[key] not in choices:
            raise BrokerError(f"listener {name!r}: {key!r} must be one of {', '.join(choices)}")
    if not isinstance(own.get("proxy_protocol", False), bool):
        raise BrokerError(f"listener {name!r}: 'proxy_protocol' must be true or false")
    if "origins" in own:
        own["origins"] = _read_origins(name, own["origins"])
    if "socket_mode" in own:
        own["socket_mode"] = _read_mode(name, own["socket_mode"])
    if "sni" in own:
        own["sni"] = _read_sni(name, own["sni"])
    return ListenerOptions(**own)


def _read_origins(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, list | tuple):
        origins = cast("list[object] | tuple[object, ...]", value)
        if all(isinstance(origin, str) and (origin == "null" or "://" in origin) for origin in origins):
            return tuple(str(origin).lower().rstrip("/") for origin in origins)
    raise BrokerError(f"listener {name!r}: 'origins' must be a list of SCHEME://HOST[:PORT]")


def _read_mode(name: str, value: object) -> int:
    """Read octal digits. A number is refused, for nobody could tell whether 660 was meant to be 0o660."""
    if isinstance(value, str) and 3 <= len(value) <= 4 and all(digit in "01234567" for digit in value):
        mode = int(value, 8)
        if mode <= 0o777:
            return mode
    raise BrokerError(f"listener {name!r}: 'socket_mode' must be octal digits in quotes, for instance \"0660\"")


def _read_sni(name: str, value: object) -> dict[str, CertificateFiles]:
    result: dict[str, CertificateFiles] = {}
    if isinstance(value, Mapping):
        for host, entry in cast("Mapping[object, object]", value).items():
            files = _keys(entry)
            if not isinstance(host, str) or files is None or set(files) != {"certfile", "keyfile"}:
                break
            result[host.lower()] = CertificateFiles(str(files["certfile"]), str(files["keyfile"]))
        else:
            return result
    raise BrokerError(f"listener {name!r}: 'sni' must have 'certfile' and 'keyfile' for each host name")
