"""The settings of one server, and how its three sources are laid over each other."""

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Self, cast

from pydantic import Field, PrivateAttr, ValidationError, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from ..broker.listeners.options import complete_listeners
from .errors import ConfigError
from .explain import Source, check_environment, explain
from .sections import AccessSection, ApiSection, Durability, ListenerSection, LogSection, MqttSection
from .yaml_file import read_yaml

CREDENTIAL_PLUGIN = "wardenmq.plugins.credentials.CredentialAuthPlugin"
TOPIC_ACL_PLUGIN = "wardenmq.plugins.topic_acl.TopicAclPlugin"
ENVIRONMENT_PREFIX = "WARDENMQ_"
_BOOTSTRAP_FILE = f"{ENVIRONMENT_PREFIX}BOOTSTRAP_FILE"


def default_yaml() -> str:
    """Give the commented default configuration, as text."""
    return resources.files(__package__ or "wardenmq.config").joinpath("default.yaml").read_text(encoding="utf-8")


def _default_listeners() -> dict[str, ListenerSection]:
    return {
        "default": ListenerSection(type="tcp", bind="127.0.0.1:1883"),
        "ws": ListenerSection(type="ws", bind="127.0.0.1:8083"),
    }


def _default_plugins() -> dict[str, dict[str, Any]]:
    return {CREDENTIAL_PLUGIN: {"allow_anonymous": False}, TOPIC_ACL_PLUGIN: {}}


class Settings(BaseSettings):
    """Hold everything that `wardenmq serve` can be told."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
    )

    _fixed: dict[str, Any] = PrivateAttr(default_factory=dict[str, Any])

    data_dir: Path = Path("data")
    durability: Durability = "process"
    """What an acknowledged message survives: the end of the process, the loss of power, or neither."""
    listeners: dict[str, ListenerSection] = Field(default_factory=_default_listeners)
    plugins: dict[str, dict[str, Any]] = Field(default_factory=_default_plugins)
    mqtt: MqttSection = MqttSection()
    access: AccessSection = AccessSection()
    api: ApiSection = ApiSection()
    log: LogSection = LogSection()

    @field_validator("listeners", mode="before")
    @classmethod
    def _inherit(cls, listeners: object) -> object:
        return (
            complete_listeners(cast("Mapping[str, object]", listeners)) if isinstance(listeners, Mapping) else listeners
        )

    @field_validator("listeners")
    @classmethod
    def _has_default_listener(cls, listeners: dict[str, ListenerSection]) -> dict[str, ListenerSection]:
        if "default" not in listeners:
            raise ValueError("needs an entry named 'default'")
        return listeners

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what `load` has laid together and nothing else, so that one place knows the order."""
        return (init_settings,)

    @classmethod
    def load(cls, path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Self:
        """Read the file, lay the environment over it and then `overrides`, which are nested as in the file.

        Raises ConfigError, whose text is one sentence.
        """
        file = _with_maps(read_yaml(path)) if path is not None else {}
        check_environment(cls.model_fields, os.environ, ENVIRONMENT_PREFIX)
        try:
            environment = _with_maps(EnvSettingsSource(cls)())
        except SettingsError as error:
            what = str(error).partition(" from source")[0]
            raise ConfigError(f"The environment is not usable: {what}, which must be JSON.") from error
        environment = _with_bootstrap_file(environment)
        flags = dict(overrides or {})
        sources = (
            Source("on the command line", flags),
            Source("in the environment", environment),
            Source(f"in the configuration file {path}", file),
        )
        try:
            settings = cls(**_overlay(_defaults_below(file), environment, flags))
        except ValidationError as error:
            raise ConfigError(explain(cls, error, sources)) from error
        settings._fixed = _overlay(environment, flags)
        return settings

    @property
    def fixed(self) -> Mapping[str, Any]:
        """What the environment and the flags say, nested as in the file: nothing that is changed later overrides it."""
        return self._fixed


def _with_maps(values: dict[str, Any]) -> dict[str, Any]:
    """Bring `plugins` into the form of a mapping, amqtt's older list of names and mappings included."""
    # A section of which everything is commented out reads as null.
    values = {name: value for name, value in values.items() if value is not None}
    plugins: object = values.get("plugins")
    if isinstance(plugins, list):
        entries: dict[str, Any] = {}
        for entry in cast("list[object]", plugins):
            if isinstance(entry, dict):
                entries.update(cast("dict[str, Any]", entry))
            else:
                entries[str(entry)] = {}
        plugins = entries
    if not isinstance(plugins, dict):
        return values
    # A plugin without options is often written as a key without a value.
    named = cast("dict[str, object]", plugins)
    options: dict[str, object] = {name: {} if value is None else value for name, value in named.items()}
    return {**values, "plugins": options}


def _with_bootstrap_file(environment: dict[str, Any]) -> dict[str, Any]:
    """Add what has a short name in the environment, for those who know it from elsewhere."""
    path = os.environ.get(_BOOTSTRAP_FILE)
    return environment if path is None else _overlay({"api": {"bootstrap_file": path}}, environment)


def _defaults_below(file: dict[str, Any]) -> dict[str, Any]:
    """Add the default listeners and plugins where the file has none, for the environment and flags to change."""
    listeners = {name: listener.for_amqtt() for name, listener in _default_listeners().items()}
    return {"listeners": listeners, "plugins": _default_plugins(), **file}


def _overlay(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge mappings into mappings, the later layer winning."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = merged.get(key)
            if isinstance(below, dict) and isinstance(value, dict):
                merged[key] = _overlay(cast("dict[str, Any]", below), cast("dict[str, Any]", value))
            else:
                merged[key] = value
    return merged
