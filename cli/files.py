"""Files that a command reads."""

import json
import sys
from pathlib import Path
from typing import Any

from .failures import Unusable

MAX_FILE = 64 * 1024 * 1024


def read_file(name: str) -> bytes:
    """Read a file, `-` being standard input. Raises `Unusable`."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MAX_FILE + 1)
        else:
            with Path(name).open("rb") as opened:
                data = opened.read(MAX_FILE + 1)
    except OSError as error:
        raise Unusable(f"{name} cannot be read: {error.strerror}.") from None
    if len(data) > MAX_FILE:
        raise Unusable(f"{name} is larger than {MAX_FILE} bytes.")
    return data


def read_json(name: str) -> Any:
    """Read a JSON file. Raises `Unusable`."""
    try:
        return json.loads(read_file(name))
    except ValueError:  # no JSON, or no text at all
        raise Unusable(f"{name} is no JSON.") from None
    except RecursionError:
        raise Unusable(f"{name} is nested too deeply.") from None
