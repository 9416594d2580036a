"""A listener in two forms: EMQX's object, and the definition that the broker opens."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from amqtt.contexts import ListenerConfig, ListenerType

from ....broker.listeners.definition import ListenerDefinition
from ....broker.listeners.options import ListenerOptions, verifies_clients
from ....broker.listeners.policy import ListenerPolicy, read_access_rules
from ....broker.settings import MqttSettings
from ...errors import bad_request
from ...quantities import seconds
from .models_listeners import (
    Listener,
    SslOptions,
    StoredListener,
    WebSocketOptions,
    rate_of,
    rate_text,
)

SECRET = "******"  # noqa: S105 - what stands in a secret's place
_ALLOW_ALL = ["allow all"]
_AUTHENTICATIONS: Mapping[bool | str, str] = {True: "checked", False: "unchecked", "quick_deny_anonymous": "named"}


def describe(definition: ListenerDefinition) -> StoredListener:
    """Put what the configuration file says of a listener into EMQX's words."""
    config, options = definition.config, definition.options
    ssl: SslOptions | None = None
    if config.ssl:
        keys = {**vars(config), "verify_client": options.verify_client}
        verified = verifies_clients(keys)
        ssl = SslOptions(
            cacertfile=None if config.cafile is None else str(config.cafile),
            certfile=str(config.certfile),
            keyfile=str(config.keyfile),
            verify="verify_none" if verified == "none" else "verify_peer",
            fail_if_no_peer_cert=verified == "required",
        )
    web: WebSocketOptions | None = None
    if config.type == ListenerType.WS:
        web = WebSocketOptions()
        if options.origins is not None:
            web = WebSocketOptions(check_origin_enable=True, check_origins=", ".join(options.origins))
    return StoredListener(
        enable=definition.enabled,
        bind=str(config.bind),
        max_connections=config.max_connections if config.max_connections > 0 else "infinity",
        proxy_protocol=options.proxy_protocol,
        ssl_options=ssl,
        websocket=web,
    )


def define(listener_id: str, stored: StoredListener, base: ListenerDefinition | None) -> ListenerDefinition:
    """Make a definition; what EMQX has no word for is as in `base`. Raises `ApiError` 400 for what cannot be."""
    kind, _, name = listener_id.partition(":")
    tls, web = kind in ("ssl", "wss"), kind in ("ws", "wss")
    ssl = stored.ssl_options if tls else None
    config = ListenerConfig(type=ListenerType.WS if web else ListenerType.TCP, bind=stored.bind)
    if base is not None:
        config = replace(base.config, bind=stored.bind)
    config.max_connections = 0 if stored.max_connections == "infinity" else stored.max_connections
    config.ssl = tls
    options = ListenerOptions() if base is None else base.options
    if ssl is not None:
        config = _with_certificates(config, ssl)
        options = replace(options, verify_client=_verification(ssl))
    origins = options.origins
    if stored.websocket is not None:
        origins = stored.websocket.origins
    return ListenerDefinition(
        key=listener_id if base is None else base.key,
        name=name,
        config=config,
        options=replace(options, proxy_protocol=stored.proxy_protocol, origins=origins),
        policy=_policy(stored, ssl),
        enabled=stored.enable,
        required=False,
    )


def _with_certificates(config: ListenerConfig, ssl: SslOptions) -> ListenerConfig:
    if ssl.certfile is None or ssl.keyfile is None:
        raise bad_request("ssl_options: certfile and keyfile are needed")
    try:
        return replace(config, certfile=ssl.certfile, keyfile=ssl.keyfile, cafile=ssl.cacertfile)
    except (OSError, ValueError) as error:
        raise bad_request(f"ssl_options: {error}") from error


def _verification(ssl: SslOptions) -> str:
    if ssl.verify == "verify_none":
        return "none"
    return "required" if ssl.fail_if_no_peer_cert else "optional"


def _policy(stored: StoredListener, ssl: SslOptions | None) -> ListenerPolicy:
    rules = () if stored.access_rules == _ALLOW_ALL else read_access_rules(stored.access_rules)
    path = stored.websocket.mqtt_path if stored.websocket is not None else None
    return ListenerPolicy(
        authentication=_AUTHENTICATIONS[stored.enable_authn],
        access=rules,
        max_connect_rate=None if stored.max_conn_rate is None else rate_of(stored.max_conn_rate),
        proxy_timeout=seconds(stored.proxy_protocol_timeout) if stored.proxy_protocol else None,
        path=None if path == WebSocketOptions().mqtt_path else path,
        key_password=None if ssl is None else ssl.password,
        tls_versions=("tlsv1.3", "tlsv1.2") if ssl is None else tuple(sorted(ssl.versions, reverse=True)),
        ciphers=() if ssl is None else tuple(ssl.ciphers),
    )


def settled(kind: str, stored: StoredListener) -> StoredListener:
    """Bring what a type of listener has and has not into its object; raises `ApiError` 400 for what is another's."""
    changes: dict[str, Any] = {}
    if kind in ("ssl", "wss"):
        if stored.ssl_options is None:
            raise bad_request("ssl_options: certfile and keyfile are needed")
    elif stored.ssl_options is not None:
        raise bad_request(f"ssl_options: a listener of the type {kind} has none")
    if kind in ("ws", "wss"):
        changes["websocket"] = stored.websocket or WebSocketOptions()
    elif stored.websocket is not None:
        raise bad_request(f"websocket: a listener of the type {kind} has none")
    return stored.model_copy(update=changes)


def show(
    definition: ListenerDefinition,
    stored: StoredListener,
    settings: MqttSettings,
    address: tuple[str, int] | None,
    connections: int,
) -> Listener:
    """Give the whole object, without its secrets; `address` is what it listens at, None where it does not."""
    fields = stored.model_dump(mode="json", exclude_none=True)
    fields |= {
        "id": definition.listener_id,
        "type": definition.kind,
        "name": definition.name,
        "running": address is not None,
        "current_connections": connections,
        "bind": shown_bind(stored, address),
        "max_conn_rate": stored.max_conn_rate or rate_text(settings.max_connect_rate),
    }
    if "password" in fields.get("ssl_options", {}):
        fields["ssl_options"]["password"] = SECRET
    return cast("Listener", fields)


def shown_bind(stored: StoredListener, address: tuple[str, int] | None) -> str:
    """Give where a listener listens; the port that it got where any was asked for."""
    if address is not None and stored.bind.endswith(":0"):
        return f"{stored.bind[:-1]}{address[1]}"
    return stored.bind
