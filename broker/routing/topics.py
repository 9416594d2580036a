"""The one topic matcher: checks, matches and compares topic names and topic filters.

Terms and ids are those of MQTT 5.0, section 4.7. A *level* is what stands between two `/` and may be empty, so `a//b`
has three levels and `/` has two (4.7.1.1). Nothing here recurses: a topic of 65,535 bytes may have 65,536 levels.
"""

MAX_TOPIC_BYTES = 65_535
"""Longest topic name or filter, UTF-8 encoded [MQTT-4.7.3-3]."""


class InvalidTopic(ValueError):
    """Say why a text is no topic name, topic filter or shared subscription."""


def check_name(topic: str, max_levels: int = 0, max_bytes: int = MAX_TOPIC_BYTES) -> None:
    """Raise InvalidTopic unless `topic` may be published to; `max_levels` 0 is no bound."""
    _check_text(topic, "topic name", max_levels, max_bytes)
    if "+" in topic or "#" in topic:  # [MQTT-3.3.2-2], [MQTT-4.7.1-1], [MQTT-4.7.0-1]
        raise InvalidTopic("a topic name must not contain the wildcards + and #")


def check_filter(topic_filter: str, max_levels: int = 0, max_bytes: int = MAX_TOPIC_BYTES) -> None:
    """Raise InvalidTopic unless `topic_filter` may be subscribed to; `max_levels` 0 is no bound.

    The filter is taken as it stands: split off a `$share/` or `$queue/` prefix first.
    """
    _check_text(topic_filter, "topic filter", max_levels, max_bytes)
    hashes = topic_filter.count("#")
    if hashes and (hashes > 1 or not (topic_filter == "#" or topic_filter.endswith("/#"))):
        raise InvalidTopic("# must be the whole last level of a topic filter")  # [MQTT-4.7.1-2], [MQTT5-4.7.1-1]
    if "+" in topic_filter:
        for level in topic_filter.split("/"):
            if "+" in level and level != "+":
                raise InvalidTopic("+ must be a whole level of a topic filter")  # [MQTT-4.7.1-3], [MQTT5-4.7.1-2]


def has_wildcard(topic_filter: str) -> bool:
    """Tell whether a filter can match more than the one topic of the same name."""
    return "#" in topic_filter or "+" in topic_filter


def matches(topic_filter: str, topic: str) -> bool:
    """Tell whether a valid filter matches a valid topic name."""
    if topic_filter == topic:  # [MQTT-4.7.3-4]
        return True
    if not has_wildcard(topic_filter):
        return False
    if topic.startswith("$") and topic_filter[0] in "+#":  # [MQTT-4.7.2-1]
        return False
    wanted = topic_filter.split("/")
    levels = topic.split("/")
    if wanted[-1] == "#":
        wanted.pop()  # what is left must match the topic's beginning; `a/#` matches `a` too (4.7.1.2)
        if len(wanted) > len(levels):
            return False
    elif len(wanted) != len(levels):
        return False
    return _levels_cover(wanted, levels)


def covers(rule_filter: str, topic_filter: str) -> bool:
    """Tell whether every topic that `topic_filter` matches is matched by `rule_filter` too; both must be valid.

    This decides whether a permission on one filter allows a subscription to another.
    """
    if rule_filter == topic_filter:
        return True
    if not has_wildcard(rule_filter):
        return False
    if topic_filter.startswith("$") and rule_filter[0] in "+#":  # [MQTT-4.7.2-1]
        return False
    rule = rule_filter.split("/")
    asked = topic_filter.split("/")
    asked_open = asked[-1] == "#"
    if asked_open:
        asked.pop()  # the shortest topic that it matches has the levels before `#`, but is never empty:
        if not asked:
            asked = ["+"]  # `#` matches what `+/#` matches
        elif asked == [""]:
            asked = ["", "+"]  # `/#` matches what `/+/#` matches
    if rule[-1] == "#":
        rule.pop()
        if len(rule) > len(asked):
            return False
    elif asked_open or len(rule) != len(asked):
        return False
    return _levels_cover(rule, asked)


def is_shared(topic_filter: str) -> bool:
    """Tell whether a filter is that of a shared subscription."""
    return topic_filter.startswith(("$share/", "$queue/"))


def split_share(topic_filter: str) -> tuple[str | None, str]:
    """Split a shared subscription into group and filter; the group is None for an ordinary filter.

    `$queue/f` is EMQX's older form of sharing and belongs to the group `$queue`. The filter that comes back is
    not empty and not shared itself, but otherwise unchecked. Raises InvalidTopic.
    """
    if not topic_filter.startswith("$"):
        return None, topic_filter
    if topic_filter.startswith("$share/"):
        group, slash, shared = topic_filter[7:].partition("/")
        if not group:
            raise InvalidTopic("the share name must not be empty")  # [MQTT-4.8.2-1]
        if has_wildcard(group):
            raise InvalidTopic("the share name must not contain + or #")  # [MQTT-4.8.2-2]
        if not slash or not shared:
            raise InvalidTopic("a share name must be followed by / and a topic filter")  # [MQTT-4.8.2-2]
    elif topic_filter.startswith("$queue/"):
        group, shared = "$queue", topic_filter[7:]
        if not shared:
            raise InvalidTopic("$queue/ must be followed by a topic filter")
    else:
        return None, topic_filter
    if shared.startswith(("$share/", "$queue/")):
        raise InvalidTopic("a shared subscription must not be shared again")
    return group, shared


def _check_text(text: str, what: str, max_levels: int, max_bytes: int) -> None:
    if not text:
        raise InvalidTopic(f"a {what} must not be empty")  # [MQTT-4.7.3-1]
    if "\0" in text:
        raise InvalidTopic(f"a {what} must not contain U+0000")  # [MQTT-4.7.3-2]
    if text.isascii():
        size = len(text)
    else:
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise InvalidTopic(f"a {what} must not contain surrogates") from None  # [MQTT-1.5.4-1]
    if size > max_bytes:
        raise InvalidTopic(f"a {what} must not be longer than {max_bytes} bytes")  # [MQTT-4.7.3-3]
    if max_levels and text.count("/") >= max_levels:
        raise InvalidTopic(f"a {what} must not have more than {max_levels} levels")


def _levels_cover(wanted: list[str], levels: list[str]) -> bool:
    """Compare level by level, as far as `wanted` goes."""
    return all(want in (level, "+") for want, level in zip(wanted, levels, strict=False))
