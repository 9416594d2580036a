"""API keys out of a file in EMQX's format, put in force at each start: `KEY:SECRET` or `KEY:SECRET:ROLE` a line.

What is wrong with the file is logged and keeps nobody from starting; no word of a line gets into the log.
"""

import asyncio
from collections.abc import Sequence
from hashlib import sha512
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from .api_keys import NewApiKey
from .errors import StoreError
from .writer import Origin

if TYPE_CHECKING:
    from .directory import Directory

_MAX_SIZE = 1 << 20
_DESCRIPTION = "Bootstrapped From File"
_PREFIX = "from_bootstrap_file_"
_DIGITS = 16
_ROLES = ("administrator", "viewer", "publisher")
_HALVES = 2

_logger = getLogger(__name__)


async def load_bootstrap_file(directory: "Directory", path: str, **origin: Unpack[Origin]) -> int:
    """Put the keys of a file in force and return how many it has; none where there is no file or the name is empty.

    A key or name that is there already gets what the file says, the last line winning. Loading ends at the first line
    that is wrong; what stands before it holds.
    """
    if not path:
        return 0
    try:
        text = await asyncio.to_thread(_read, Path(path))
    except OSError as error:
        _logger.error("The bootstrap file %s of API keys cannot be read: %s", path, error.strerror)
        return 0
    except ValueError as error:
        _logger.error("The bootstrap file %s of API keys is not used: %s", path, error)
        return 0
    keys, wrong = parse(text)
    loaded = 0
    for number, key in keys:
        try:
            await directory.put_api_key(key, **origin)
        except StoreError:
            # not in the error's words, which may quote what is a secret in the wrong place
            wrong = number
            break
        loaded += 1
    if wrong is not None:
        _logger.error("Line %d of the bootstrap file %s is no API key; it and what follows is not loaded", wrong, path)
    return loaded


def parse(text: str) -> tuple[Sequence[tuple[int, NewApiKey]], int | None]:
    """Return the keys before the first wrong line, each with its line's number, and that line's number."""
    keys: list[tuple[int, NewApiKey]] = []
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped:
            continue
        api_key, *rest = stripped.split(":")
        role = rest[1] if len(rest) == _HALVES else "administrator"
        if not api_key or not 1 <= len(rest) <= _HALVES or not rest[0] or role not in _ROLES:
            return keys, number
        name = _PREFIX + sha512(api_key.encode()).hexdigest()[:_DIGITS]
        keys.append((number, NewApiKey(name, api_key, rest[0], role, description=_DESCRIPTION)))
    return keys, None


def _read(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(_MAX_SIZE + 1)
    if len(data) > _MAX_SIZE:
        raise ValueError(f"it is larger than {_MAX_SIZE} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
