"""Topic rewrite: what clients publish and subscribe to under one name is published and subscribed to under another.

Source of the rules' form and order: EMQX 5's topic rewrite.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .routing.topics import InvalidTopic, check_filter, check_name, is_shared, matches, split_share

Action: TypeAlias = Literal["publish", "subscribe", "all"]
Groups: TypeAlias = tuple[str | None, ...]
Search: TypeAlias = Callable[[str], Groups | None]
"""Look for an expression in a topic: what its groups found, the whole match first, or None. Bounded in time."""

_PLACEHOLDER = re.compile(r"\$(\d{1,2})|\$\{(clientid|username)\}")
_NOT_IN_NAMES = frozenset("/+#")


@dataclass(frozen=True, slots=True)
class RewriteRule:
    """Lead the topics that a filter matches and an expression is found in to another."""

    action: Action
    source_topic: str
    dest_topic: str
    """With `$1`, `$2`, ... for what the expression's groups found, and `${clientid}`, `${username}`."""
    search: Search


class TopicRewrite:
    """Own the rules; the last one whose source matches a topic decides on it, and no other."""

    def __init__(self) -> None:
        self._publish: tuple[RewriteRule, ...] = ()
        self._subscribe: tuple[RewriteRule, ...] = ()

    @property
    def active(self) -> bool:
        """Tell whether there are rules."""
        return bool(self._publish or self._subscribe)

    def set_rules(self, rules: Iterable[RewriteRule]) -> None:
        """Take the place of all rules."""
        latest_first = [*rules][::-1]
        self._publish = tuple(rule for rule in latest_first if rule.action != "subscribe")
        self._subscribe = tuple(rule for rule in latest_first if rule.action != "publish")

    def publish_topic(self, topic: str, client_id: str, username: str | None) -> str:
        """Give the topic under which a message is passed on; what would be no topic name is left as it is."""
        rewritten = _rewrite(self._publish, topic, client_id, username)
        if rewritten is None:
            return topic
        try:
            check_name(rewritten)
        except InvalidTopic:
            return topic
        return topic if rewritten.startswith("$") else rewritten  # those are the server's [MQTT-4.7.2-1]

    def filter(self, topic_filter: str, client_id: str, username: str | None) -> str:
        """Give the filter that is subscribed to; of a shared subscription only what is shared is rewritten."""
        if not self._subscribe:
            return topic_filter
        try:
            _, inner = split_share(topic_filter)
        except InvalidTopic:
            return topic_filter
        rewritten = _rewrite(self._subscribe, inner, client_id, username)
        if rewritten is None:
            return topic_filter
        try:
            check_filter(rewritten)
        except InvalidTopic:
            return topic_filter
        # What is the server's, or shared, nobody gets to who has not asked for it: it was this that rights decided on.
        if rewritten.startswith("$") and (is_shared(rewritten) or not inner.startswith("$")):
            return topic_filter
        return topic_filter[: len(topic_filter) - len(inner)] + rewritten


def _rewrite(rules: tuple[RewriteRule, ...], topic: str, client_id: str, username: str | None) -> str | None:
    """Apply the first rule whose source matches; None where there is none, or its expression is not found."""
    for rule in rules:
        if matches(rule.source_topic, topic):
            groups = rule.search(topic)
            return None if groups is None else _fill(rule.dest_topic, groups, client_id, username)
    return None


def _fill(template: str, groups: Groups, client_id: str, username: str | None) -> str | None:
    """Fill a template in; None where a name is missing, or could lead out of the level that it was meant for."""
    names = {"clientid": client_id, "username": username}
    parts: list[str] = []
    end = 0
    for found in _PLACEHOLDER.finditer(template):
        parts.append(template[end : found.start()])
        end = found.end()
        if found[1] is not None:
            number = int(found[1])
            parts.append((groups[number] or "") if number < len(groups) else found[0])
            continue
        name = names[found[2]]
        if not name or not _NOT_IN_NAMES.isdisjoint(name):
            return None
        parts.append(name)
    return "".join((*parts, template[end:]))
