"""How many files, and so sockets, the process may open: raised as far as it goes, and what that leaves for clients."""

import sys

_ENOUGH = 1_048_576
"""What is asked for where the system knows no bound."""
_RESERVED = 384
"""Files that are no clients': listeners, database, API connections, clients that are being told they are too many."""


def raise_file_limit() -> int | None:
    """Raise the soft limit of open files to the hard one; return what it is then, None where there is none."""
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if wanted > soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # macOS has a bound below the one that it names
            return soft
        return wanted
    return soft


def bound_connections(max_connections: int, files: int | None) -> int:
    """Lower the number of connections, 0 for no bound, to what the number of files allows.

    A few files stay for everything else, so that a client which is too many can be told so.
    """
    if files is None:
        return max_connections
    most = max(1, files - min(_RESERVED, files // 2))
    return min(max_connections, most) if max_connections else most


def bound_api_connections(max_connections: int, files: int | None) -> int:
    """Lower the number of connections to the API to its part of the files that are no MQTT clients'."""
    if files is None:
        return max_connections
    return max(1, min(max_connections, min(_RESERVED, files // 2) * 2 // 3))
