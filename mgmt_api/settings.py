"""What the management API itself can be told."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Hold the names and limits of the HTTP side; sizes in bytes."""

    bind: str = "127.0.0.1:18083"
    """Where the API is to listen, to be shown; whoever serves the application binds."""
    node_name: str = "wardenmq@127.0.0.1"
    """The name that node lists, clients and metrics carry, in EMQX's form `name@host`."""
    cluster_name: str = "wardenmq"
    max_body_size: int = 8 * 1024 * 1024
    """Largest request body; past it the answer is 413."""
    max_connections: int = 256
    """Connections that are open at a time; one more takes the place of one that has not asked for anything yet."""
    max_rules: int = 100
    """Rules of one user name, one client id or for all."""
    bootstrap_file: str = ""
    """A file with API keys that are put in force at each start; empty for none."""
