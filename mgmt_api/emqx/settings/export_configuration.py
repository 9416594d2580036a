"""The configuration for a backup: what the API changed, with its secrets."""

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ...state import ApiState
from .certificates import KEPT_FIELDS, folder_of_certificates
from .listeners import LISTENERS

NOT_PORTABLE: dict[str, tuple[str, ...]] = {"dashboard": ("listeners", "default_password")}
"""What only tells how this server was started, or is a secret that is shown to nobody."""
_MOST = 1 << 20


async def changed_configuration(state: ApiState, names: Collection[str] | None) -> dict[str, Any]:
    """Give the roots of these names, or all, as far as the API has changed them; the files of ours as text.

    Raises OSError. What the store decides on (authentication, authorization) is always there.
    """
    stored = state.configuration.governed.directory.configurations
    found: dict[str, Any] = {}
    for name, root in state.configuration.roots.items():
        if names is not None and name not in names:
            continue
        value = state.configuration.as_json(root, masked=False) if root.delegates else stored.get(name)
        if value is None:
            continue
        if name == LISTENERS.name:
            value = await asyncio.to_thread(_listeners, state.data_dir, value)
        if isinstance(value, dict):
            left_out = NOT_PORTABLE.get(name, ())
            value = {key: each for key, each in value.items() if key not in left_out}  # pyright: ignore[reportUnknownVariableType]
        found[name] = value
        await asyncio.sleep(0)
    return found


def _listeners(data_dir: Path | None, stored: Any) -> dict[str, dict[str, Any]]:
    """Give the listeners that were changed by type and name, as EMQX does."""
    tree: dict[str, dict[str, Any]] = {}
    for listener_id, given in stored.get("changed", {}).items():
        kind, _, name = listener_id.partition(":")
        fields = dict(given)
        if isinstance(fields.get("ssl_options"), dict):
            fields["ssl_options"] = _with_texts(fields["ssl_options"], data_dir)
        tree.setdefault(kind, {})[name] = fields
    return tree


def _with_texts(options: dict[str, Any], data_dir: Path | None) -> dict[str, Any]:
    """Put certificates and keys that came over the API in the place of the paths under which they are kept."""
    if data_dir is None:
        return options
    folder = folder_of_certificates(data_dir)
    texts: dict[str, str] = {}
    for name in KEPT_FIELDS:
        path = options.get(name)
        if not isinstance(path, str) or not Path(path).is_relative_to(folder):
            continue
        with Path(path).open("rb") as file:
            texts[name] = file.read(_MOST).decode()
    return options | texts
