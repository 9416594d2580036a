"""What Mosquitto decides by its ACL file, said again in the plainest way, to compare decisions with.

After the description in mosquitto.conf(5) and the behaviour of 2.0 and 2.1, which agree on these cases.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from paho.mqtt.client import topic_matches_sub


@dataclass(frozen=True)
class Line:
    """One `topic` or `pattern` line; `user` is None before the first `user` line."""

    keyword: str
    user: str | None
    access: str
    topic: str


def as_file(lines: Sequence[Line]) -> bytes:
    """Write the lines with `user` lines where the user changes; those without user must come first."""
    text: list[str] = []
    user = None
    for line in lines:
        if line.keyword == "topic" and line.user != user:
            text.append(f"user {line.user}")
            user = line.user
        text.append(f"{line.keyword} {line.access} {line.topic}")
    return "\n".join(text).encode()


def in_order(lines: Sequence[Line], client_id: str, username: str | None) -> Iterator[tuple[str, str]]:
    """Give access and filter of all that concerns a client, in the order in which Mosquitto asks."""
    own = [line for line in lines if line.keyword == "topic" and line.user == username]
    patterns = [line for line in lines if line.keyword == "pattern"]
    for some in (own, patterns):
        for line in [*(x for x in some if x.access == "deny"), *(x for x in some if x.access != "deny")]:
            topic = line.topic
            if line.keyword == "pattern":
                values = {"%c": client_id, "%u": username}
                if any(mark in topic and not usable(value) for mark, value in values.items()):
                    continue
                for mark, value in values.items():
                    topic = topic.replace(mark, value or "")
            yield line.access, topic


def usable(value: str | None) -> bool:
    """Tell whether a client's value can be one level of a topic; Mosquitto 2.1 does not match one with a slash."""
    return bool(value) and not set(value or "") & set("/+#")


def may(lines: Sequence[Line], access: str, client_id: str, username: str | None, topic: str) -> bool:
    """Answer for `read` (a delivery) and `write` (a publish)."""
    for granted, topic_filter in in_order(lines, client_id, username):
        if topic_matches_sub(topic_filter, topic):
            if granted == "deny":
                return False
            if granted in (access, "readwrite"):
                return True
    return False
