"""Take amqtt's broker configuration and our keys among those of its listeners out of one mapping.

amqtt refuses keys that it does not know, so ours are taken out before it sees them.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

from amqtt.contexts import BrokerConfig, ListenerConfig
from amqtt.errors import BrokerError

from .options import OWN_KEYS, ListenerOptions, complete_listeners, mapping_of, read_options

_AMQTT_DEFAULTS: dict[str, object] = {key.name: key.default for key in fields(ListenerConfig)}


def read_config(config: Mapping[str, Any]) -> tuple[BrokerConfig, dict[str, ListenerOptions]]:
    """Return amqtt's configuration and the options of its listeners apart.

    A listener has the values of the one called `default` for the keys that it does not set. Raises BrokerError for a
    key of ours that is wrong, and what amqtt raises for its own.
    """
    listeners: object = config.get("listeners")
    if not isinstance(listeners, Mapping):
        return BrokerConfig.from_dict(dict(config)), {}
    entries = complete_listeners(cast("Mapping[str, object]", listeners))
    complete = {name: keys for name, entry in entries.items() if (keys := mapping_of(entry)) is not None}
    options = {name: _read_options(name, keys) for name, keys in complete.items()}
    stripped = {
        name: {key: value for key, value in keys.items() if key not in OWN_KEYS} for name, keys in complete.items()
    }
    # What is no mapping is amqtt's to take or to refuse.
    result = BrokerConfig.from_dict({**config, "listeners": {**entries, **stripped}})
    for name, keys in stripped.items():
        _restore(result.listeners[name], keys)
    return result, options


def _read_options(name: str, keys: Mapping[str, Any]) -> ListenerOptions:
    try:
        return read_options(keys)
    except ValueError as error:
        raise BrokerError(f"listener {name!r}: {error}") from error


def _restore(listener: ListenerConfig, keys: Mapping[str, Any]) -> None:
    """Undo what amqtt does to a key that is set, but to the value that it would have anyway: overwrite it."""
    for key, value in keys.items():
        if key in _AMQTT_DEFAULTS and value == _AMQTT_DEFAULTS[key]:
            setattr(listener, key, _AMQTT_DEFAULTS[key])
