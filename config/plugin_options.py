"""Check the `plugins` section before amqtt loads it, whose own errors do not name the plugin or the option."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from amqtt.utils import import_string

from .errors import ConfigError
from .explain import did_you_mean


def check_plugins(plugins: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a class that cannot be imported and an option that its `Config` does not have; raises ConfigError."""
    for name, options in plugins.items():
        try:
            plugin: object = import_string(name)
        except ImportError as error:
            raise ConfigError(f"The plugin '{name}' cannot be loaded: {error}.") from error
        config: object = getattr(plugin, "Config", None)
        # Anything else is left for amqtt to judge.
        if not isinstance(config, type) or not dataclasses.is_dataclass(config):
            continue
        known = [field.name for field in dataclasses.fields(config)]
        for option in options:
            if option not in known:
                raise ConfigError(f"Unknown option '{option}' of the plugin '{name}'{did_you_mean(option, known)}")
