"""The explanation of a decision in words."""

from collections.abc import Mapping
from typing import Any

from .table import Column, column, format_table, visible

_KINDS = {
    "token": "token's own rules",
    "file": "rule file",
    "clientid": "client id",
    "username": "user name",
    "derived": "login's own rules",
    "role": "role",
    "group": "group/role",
    "all": "all clients",
}
_FALLBACKS = {
    "default": "no rule fits, so the default decides",
    "confined": "the user is confined, and no rule of its own fits",
    "reserved": "no default allows topics that begin with $CONTROL",
    "settings": "the server's settings refuse it, whatever the rules are",
    "no_plugin": "no plugin is loaded that decides on topics, so everything is allowed",
    "other_plugins": "the rules are not asked, for their plugin is not loaded; others decide",
    "superuser": "the user is a superuser, whom no rule is asked about",
    "system_topic": "no client may publish to topics that begin with $",
}
_ANSWERS = {True: "allow", False: "deny", None: "no rule fits"}


def describe(answer: dict[str, Any], action: str, topic: str) -> str:
    """Say what was decided, by what, and what each layer said that was asked."""
    lines = [
        f"{'allowed' if answer['allowed'] else 'denied'}: {action} {visible(topic)}",
        f"decided by: {_decided_by(answer)}",
        f"client: {_client(answer['client'])}",
        *(f"remark: {remark}" for remark in answer["remarks"]),
    ]
    if answer["layers"]:
        lines += ["", format_table(answer["layers"], _LAYERS)]
    return "\n".join(lines)


def _decided_by(answer: dict[str, Any]) -> str:
    kind = answer["decided_by"]
    if kind in _FALLBACKS:
        return _FALLBACKS[kind]
    layer = answer["layers"][-1]
    of = f" {visible(layer['name'])}" if layer["name"] else ""
    return f"{_KINDS[kind]}{of}, {_rule(layer)}"


def _client(client: dict[str, Any]) -> str:
    parts = [visible(client["clientid"])]
    parts.append("no user name" if client["username"] is None else f"user name {visible(client['username'])}")
    if client["login_type"] == "clientid":
        parts.append("logged in by its client id")
    if client["address"]:
        parts.append(f"from {visible(client['address'])}")
    if client["listener"]:
        parts.append(f"listener {visible(client['listener'])}")
    parts.append("connected" if client["connected"] else "session kept" if client["session"] else "no session")
    return ", ".join(parts)


def _rule(layer: Mapping[str, Any]) -> str | None:
    if layer["wildcard_guard"]:
        return "the role allows no subscriptions with + or #"
    rule = layer["rule"]
    if rule is None:
        return None
    if "acltype" in rule:
        words = f"{'allow' if rule['allow'] else 'deny'} {rule['acltype']} {rule['topic']} priority {rule['priority']}"
    else:
        words = f"{rule['permission']} {rule['action']} {rule['topic']}{_limits(rule)}"
    place = "line" if layer["kind"] == "file" else "rule"
    return f"{place} {layer['position']}: {visible(words)}"


def _limits(rule: dict[str, Any]) -> str:
    words = ""
    if sorted(rule["qos"]) != [0, 1, 2]:
        words += f" qos {','.join(str(level) for level in rule['qos'])}"
    if rule["retain"] != "all":
        words += f" retain {'yes' if rule['retain'] else 'no'}"
    if rule["condition"] is not None:
        given = [f"{name}={value}" for name, value in rule["condition"].items() if value is not None]
        words += f" if {' '.join(given)}"
    return words


_LAYERS: list[Column] = [
    ("layer", lambda layer: _KINDS[layer["kind"]]),
    column("name"),
    ("answer", lambda layer: _ANSWERS[layer["allowed"]]),
    ("rule", _rule),
]
