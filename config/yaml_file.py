"""Read the configuration file: safe YAML, one mapping, no key twice."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any, cast

import yaml

from .errors import ConfigError

MAX_CONFIG_BYTES = 1_048_576


class _UniqueKeyLoader(yaml.SafeLoader):
    """Load plain data only, and refuse a mapping that names a key twice, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(cast("object", key_node.value))
            # `<<` merges another mapping in and may be repeated.
            if key in seen and key_node.tag != "tag:yaml.org,2002:merge":
                line = key_node.start_mark.line + 1
                raise ConfigError(f"the key '{key}' stands twice in one mapping, the second time in line {line}")
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping from a YAML file; an empty file is an empty mapping.

    Raises ConfigError for a file that cannot be read, is no YAML or no mapping, or names a key twice.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"The configuration file {path} cannot be read: {error.strerror}.") from error
    if len(raw) > MAX_CONFIG_BYTES:
        raise ConfigError(f"The configuration file {path} is larger than {MAX_CONFIG_BYTES} bytes.")
    try:
        return parse_yaml(raw)
    except ConfigError as error:
        raise ConfigError(f"The configuration file {path} is not usable: {error}.") from error


def parse_yaml(raw: bytes) -> dict[str, Any]:
    """Parse one YAML mapping; ConfigError holds the reason, without naming a file."""
    try:
        # The loader is a SafeLoader, so that this builds nothing but plain data.
        document: object = yaml.load(raw, Loader=_UniqueKeyLoader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{error.problem or error.context or 'malformed YAML'}{where}") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else "it is no valid YAML"
        raise ConfigError(reason) from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"it must be a mapping of sections, not a {type(document).__name__}")
    mapping = cast("dict[object, Any]", document)
    for key in mapping:
        if not isinstance(key, str):
            raise ConfigError(f"the key {key!r} must be a word")
    return cast("dict[str, Any]", document)
