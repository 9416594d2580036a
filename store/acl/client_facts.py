"""What is known of a client when its rules are compiled for it; none of it changes while it is connected."""

from typing import NamedTuple


class ClientFacts(NamedTuple):
    """Name a client and where it came from."""

    client_id: str
    username: str | None
    """None where it presented none, and no certificate did."""
    peer_host: str = ""
    """Its address; empty where it has none, as over a Unix socket."""
    listener: str = ""
    """The listener's type and name, such as `tcp:default`."""
