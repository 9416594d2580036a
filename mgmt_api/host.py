"""What the machine and the process say about themselves, as far as the platform tells."""

import os
import sys
import threading
from pathlib import Path

try:
    import resource
except ImportError:  # not on Windows
    resource = None

_UNITS = ("", "K", "M", "G", "T")


def load_averages() -> tuple[float, float, float]:
    """Return the load of the last 1, 5 and 15 minutes; zeros where the platform does not tell."""
    try:
        one, five, fifteen = os.getloadavg()
    except (AttributeError, OSError):
        return 0.0, 0.0, 0.0
    return round(one, 2), round(five, 2), round(fifteen, 2)


def descriptor_limit() -> int:
    """Return how many files and sockets the process may have open."""
    return sys.maxsize if resource is None else _limit(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def thread_limit() -> int:
    """Return how many threads and processes the user may have."""
    if resource is None or not hasattr(resource, "RLIMIT_NPROC"):
        return sys.maxsize
    return _limit(resource.getrlimit(resource.RLIMIT_NPROC)[0])


def thread_count() -> int:
    """Return how many threads the process has."""
    return threading.active_count()


def memory() -> tuple[int, int]:
    """Return the machine's memory and how much of it is in use, bytes; zeros where the platform does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        fields = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
        return fields["MemTotal"], fields["MemTotal"] - fields["MemAvailable"]
    except (OSError, KeyError, ValueError, IndexError):
        return _total_memory(), 0


def format_size(count: int) -> str:
    """Write bytes as EMQX does: `15.52G`."""
    power = min((max(count, 1).bit_length() - 1) // 10, len(_UNITS) - 1)
    return f"{count / 1024**power:.2f}{_UNITS[power]}"


def _total_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def _limit(value: int) -> int:
    """Give "no limit" the largest number that clients in other languages can hold."""
    return sys.maxsize if resource is not None and value == resource.RLIM_INFINITY else value
