"""The rules of one list read from the top, one by one, with the public matcher."""

import ipaddress
import re
from collections.abc import Sequence

from wardenmq.broker.routing.topics import covers, matches
from wardenmq.store.acl.client_facts import ClientFacts
from wardenmq.store.records import PUBLISH, RECEIVE, Condition, Rule

CLIENT_ID = "${clientid}"
USERNAME = "${username}"


def first_rule(
    rules: Sequence[Rule], facts: ClientFacts, operation: int, topic: str, qos: int, retain: bool
) -> int | None:
    """Give the place of the first rule that concerns the request."""
    for place, rule in enumerate(rules):
        if fits(rule, facts, operation, topic, qos, retain) and holds(rule.condition, facts):
            return place
    return None


def fits(rule: Rule, facts: ClientFacts, operation: int, topic: str, qos: int, retain: bool) -> bool:
    """Tell whether a rule concerns the request, its condition aside."""
    wanted = "publish" if operation == PUBLISH else "subscribe"
    if rule.action not in (wanted, "all"):
        return False
    literal = rule.topic[3:] if rule.topic.startswith("eq ") else None
    if operation == RECEIVE:
        if rule.permission == "deny" and (literal is not None or set(rule.qos) != {0, 1, 2}):
            return False
        pattern = literal if literal is not None else substitute(rule.topic, facts)
        return pattern is not None and matches(pattern, topic)
    if qos not in rule.qos:
        return False
    if operation == PUBLISH and rule.retain not in (None, retain):
        return False
    if literal is not None:
        return literal == topic
    pattern = substitute(rule.topic, facts)
    if pattern is None:
        return False
    if operation == PUBLISH:
        return matches(pattern, topic)
    return covers(pattern, topic) or (rule.permission == "deny" and matches_as_words(pattern, topic))


def holds(condition: Condition | None, facts: ClientFacts) -> bool:
    """Tell whether all that a condition sets is so."""
    if condition is None:
        return True
    if condition.ipaddr is not None and ipaddress.ip_address(facts.peer_host) not in ipaddress.ip_network(
        condition.ipaddr
    ):
        return False
    if condition.listener is not None and facts.listener not in (condition.listener, f"tcp:{condition.listener}"):
        return False
    if condition.username_re is not None and facts.username is None:
        return False
    return all(
        expression is None or re.search(expression, text or "") is not None
        for expression, text in ((condition.clientid_re, facts.client_id), (condition.username_re, facts.username))
    )


def substitute(topic: str, facts: ClientFacts) -> str | None:
    """Put the client's values in, None where one cannot be used."""
    client_id, username = facts.client_id, facts.username
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
