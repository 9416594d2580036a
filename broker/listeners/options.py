"""What a listener can be told beyond amqtt's `ListenerConfig`, and what its keys must be and have in common.

The one place for that: the broker reads and checks a listener's keys here, and the configuration file's reader asks
here too, so that it can name file and key. Every refusal is a ValueError whose text goes on from the key's name.
"""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, cast

VERIFY_CLIENT = ("none", "optional", "required")
CERTIFICATE_USERNAME = ("none", "cn", "san")
TLS_KEYS = frozenset(
    ("certfile", "keyfile", "cafile", "capath", "cadata", "verify_client", "certificate_username", "sni")
)
"""What a listener with `ssl: false` does not inherit."""


Network = ipaddress.IPv4Network | ipaddress.IPv6Network
PRIVATE_NETWORKS: tuple[Network, ...] = tuple(
    ipaddress.ip_network(network)
    for network in (
        "127.0.0.0/8",
        "::1",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
    )
)
"""Networks that nobody can send from across the Internet: loopback, private and link-local ones."""


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
    proxy_networks: tuple[Network, ...] = PRIVATE_NETWORKS
    """Where a proxy may connect from; whoever may open a Unix socket's file is trusted."""
    socket_mode: int = 0o660
    """Permissions of a Unix socket's file."""

    def trusts_proxy(self, host: str) -> bool:
        """Tell whether a header from this address, which is the socket's own peer, is believed."""
        address = ipaddress.ip_address(host)
        plain = getattr(address, "ipv4_mapped", None) or address
        return any(plain in network for network in self.proxy_networks)


OWN_KEYS = frozenset(option.name for option in fields(ListenerOptions))


def mapping_of(entry: object) -> dict[str, Any] | None:
    """Give the keys of a listener, None where it is no mapping."""
    return dict(cast("Mapping[str, Any]", entry)) if isinstance(entry, Mapping) else None


def complete_listeners(listeners: Mapping[str, object]) -> dict[str, object]:
    """Give each listener what `default` has and it does not set; what is no mapping stays as it is.

    Its address it must have for itself, and one that says `ssl: false` has no use for certificates.
    """
    above = mapping_of(listeners.get("default")) or {}
    return {name: _complete(above, entry) for name, entry in listeners.items()}


def _complete(above: Mapping[str, Any], entry: object) -> object:
    own = mapping_of(entry)
    if own is None:
        return entry
    without = TLS_KEYS if own.get("ssl") is False else frozenset[str]()
    return {**{key: value for key, value in above.items() if key != "bind" and key not in without}, **own}


def read_options(keys: Mapping[str, Any]) -> ListenerOptions:
    """Read our keys among those of a listener; what has no value is the default."""
    own = {key: value for key, value in keys.items() if key in OWN_KEYS and value is not None}
    for key, read in READERS.items():
        if key in own:
            try:
                own[key] = read(own[key])
            except ValueError as error:
                raise ValueError(f"{key!r} {error}") from error
    return ListenerOptions(**own)


def verifies_clients(keys: Mapping[str, Any]) -> str:
    """Give whether clients are asked for certificates: none, optional or required."""
    has_authorities = any(keys.get(key) for key in ("cafile", "capath", "cadata"))
    return keys.get("verify_client") or ("optional" if has_authorities else "none")


def check_tls_keys(keys: Mapping[str, Any]) -> None:
    """Refuse keys about TLS that contradict each other."""
    names = keys.get("certificate_username") or "none"
    if not keys.get("ssl"):
        if names != "none" or keys.get("verify_client") in ("optional", "required"):
            raise ValueError("can verify clients' certificates only with 'ssl: true'")
        if (keys.get("certfile") is None) is not (keys.get("keyfile") is None):
            raise ValueError("needs both 'certfile' and 'keyfile', or neither")
        return
    if not (keys.get("certfile") and keys.get("keyfile")):
        raise ValueError("needs 'certfile' and 'keyfile' where 'ssl' is true")
    verify_client = verifies_clients(keys)
    if verify_client != "none" and not any(keys.get(key) for key in ("cafile", "capath", "cadata")):
        # The authorities of the operating system would let in anybody with a certificate from any of them.
        raise ValueError("needs 'cafile', 'capath' or 'cadata' to verify clients' certificates")
    if names != "none" and verify_client == "none":
        raise ValueError("needs 'verify_client' and 'cafile' to take user names from certificates")


# What a key's value must be


def _one_of(choices: tuple[str, ...]) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not (isinstance(value, str) and value in choices):
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return read


def _read_switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _read_origins(value: object) -> tuple[str, ...]:
    if isinstance(value, list | tuple):
        origins = cast("list[object] | tuple[object, ...]", value)
        if all(isinstance(origin, str) and _is_origin(origin) for origin in origins):
            return tuple(str(origin).lower().rstrip("/") for origin in origins)
    raise ValueError("must be a list of SCHEME://HOST[:PORT]")


def _is_origin(text: str) -> bool:
    scheme, separator, host = text.rstrip("/").partition("://")
    return text == "null" or bool(scheme and separator and host and "/" not in host)


def _read_networks(value: object) -> tuple[Network, ...]:
    if isinstance(value, list | tuple):
        try:
            return tuple(ipaddress.ip_network(str(network)) for network in cast("list[object]", value))
        except ValueError:
            pass
    raise ValueError("must be a list of addresses and networks, such as 192.0.2.7 and 2001:db8::/32")


def _read_mode(value: object) -> int:
    """Read octal digits. A number is refused, for nobody could tell whether 660 was meant to be 0o660."""
    if isinstance(value, str) and 3 <= len(value) <= 4 and all(digit in "01234567" for digit in value):
        mode = int(value, 8)
        if mode <= 0o777:
            return mode
    raise ValueError('must be octal digits in quotes, for instance "0660"')


def _read_sni(value: object) -> dict[str, CertificateFiles]:
    result: dict[str, CertificateFiles] = {}
    if isinstance(value, Mapping):
        for host, entry in cast("Mapping[object, object]", value).items():
            files = mapping_of(entry)
            if not isinstance(host, str) or files is None or set(files) != {"certfile", "keyfile"}:
                break
            result[host.lower()] = CertificateFiles(str(files["certfile"]), str(files["keyfile"]))
        else:
            return result
    raise ValueError("must have 'certfile' and 'keyfile' for each host name")


READERS: Mapping[str, Callable[[object], object]] = {
    "verify_client": _one_of(VERIFY_CLIENT),
    "certificate_username": _one_of(CERTIFICATE_USERNAME),
    "sni": _read_sni,
    "origins": _read_origins,
    "proxy_protocol": _read_switch,
    "proxy_networks": _read_networks,
    "socket_mode": _read_mode,
}
"""By key; each raises ValueError."""
