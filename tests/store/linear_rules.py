"""The rules read from the top, one by one, with the public matcher: what the compiled form must agree with."""

from collections.abc import Sequence

from wardenmq.broker.routing.topics import covers, matches
from wardenmq.store.records import PUBLISH, RECEIVE, SUBSCRIBE, Rule

CLIENT_ID = "${clientid}"
USERNAME = "${username}"


def decide(
    layers: Sequence[Sequence[Rule]],
    no_match: bool,
    client_id: str,
    username: str | None,
    operation: int,
    topic: str,
    qos: int,
    retain: bool,
) -> bool:
    """Give the decision of the first rule that fits in the first layer that has one."""
    if operation == SUBSCRIBE and topic.startswith("$share/"):
        topic = topic.split("/", 2)[2]
    for rules in layers:
        for rule in rules:
            if fits(rule, client_id, username, operation, topic, qos, retain):
                return rule.permission == "allow"
    return True if operation == RECEIVE else no_match


def fits(rule: Rule, client_id: str, username: str | None, operation: int, topic: str, qos: int, retain: bool) -> bool:
    """Tell whether a rule concerns the request."""
    wanted = "publish" if operation == PUBLISH else "subscribe"
    if rule.action not in (wanted, "all"):
        return False
    literal = rule.topic[3:] if rule.topic.startswith("eq ") else None
    if operation == RECEIVE:
        if rule.permission == "deny" and (literal is not None or set(rule.qos) != {0, 1, 2}):
            return False
        pattern = literal if literal is not None else substitute(rule.topic, client_id, username)
        return pattern is not None and matches(pattern, topic)
    if qos not in rule.qos:
        return False
    if operation == PUBLISH and rule.retain not in (None, retain):
        return False
    if literal is not None:
        return literal == topic
    pattern = substitute(rule.topic, client_id, username)
    if pattern is None:
        return False
    if operation == PUBLISH:
        return matches(pattern, topic)
    return covers(pattern, topic) or (rule.permission == "deny" and matches_as_words(pattern, topic))


def substitute(topic: str, client_id: str, username: str | None) -> str | None:
    """Put the client's values in, None where one cannot be used."""
    for placeholder, value in ((CLIENT_ID, client_id), (USERNAME, username)):
        if placeholder in topic and (not value or any(sign in value for sign in "/+#")):
            return None
    if topic.startswith((CLIENT_ID, USERNAME)):
        leading = client_id if topic.startswith(CLIENT_ID) else username
        if leading is not None and leading.startswith("$"):
            return None
    text = topic.replace(CLIENT_ID, client_id).replace(USERNAME, username or "")
    return text.replace("${$}", "$")


def matches_as_words(pattern: str, topic_filter: str) -> bool:
    """Compare as EMQX does: the levels of the requested filter are words like any other."""
    if topic_filter.startswith("$") and pattern[0] in "+#":
        return False
    wanted, words = pattern.split("/"), topic_filter.split("/")
    for position, want in enumerate(wanted):
        if want == "#":
            return True
        if position >= len(words) or want not in ("+", words[position]):
            return False
    return len(wanted) == len(words)
