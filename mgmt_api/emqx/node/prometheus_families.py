"""The broker's numbers as EMQX names them for Prometheus."""

from collections.abc import Iterable, Mapping
from typing import Literal

from ...state import ApiState
from .certificate_dates import CertificateDates
from .exposition import Family, Labels, Number
from .metrics import METRICS, STATS
from .monitoring import MONITORING

Mode = Literal["node", "all_nodes_aggregated", "all_nodes_unaggregated"]
Groups = dict[str, list[Family]]
"""Families by EMQX's name of the group that they belong to."""

_RENAMED = {
    "packets.connect.received": "emqx_packets_connect",
    "messages.dropped.await_pubrel_timeout": "emqx_messages_dropped_expired",
}
_LEFT_OUT = frozenset(
    {
        "messages.persisted",
        "messages.validation_failed",
        "messages.validation_succeeded",
        "messages.transformation_failed",
        "messages.transformation_succeeded",
    }
)
_GROUPS = {
    "bytes": "packets",
    "packets": "packets",
    "messages": "messages",
    "delivery": "delivery",
    "client": "client",
    "session": "session",
    "authorization": "acl",
    "authentication": "authn",
    "overload_protection": "olp",
}
"""The group of a counter, by the first part of its key."""
_OF_CLUSTER = ("topics.", "retained.", "subscriptions.shared.", "cluster_sessions.")
"""Gauges that are of the cluster as a whole and never carry the name of a node."""
_AUTHN = (
    ("enable", "gauge", "Whether the authenticator is switched on"),
    ("status", "gauge", "Whether the authenticator works"),
    ("nomatch", "counter", "Clients that the authenticator had no opinion about"),
    ("total", "counter", "Clients that the authenticator was asked about"),
    ("success", "counter", "Clients that the authenticator let in"),
    ("failed", "counter", "Clients that the authenticator refused"),
    ("users_count", "gauge", "Users that the authenticator knows"),
)
_AUTHZ = (
    ("enable", "gauge", "Whether the source is switched on"),
    ("status", "gauge", "Whether the source works"),
    ("nomatch", "counter", "Questions that the source had no rule for"),
    ("total", "counter", "Questions that the source was asked"),
    ("allow", "counter", "Questions that the source answered with yes"),
    ("deny", "counter", "Questions that the source answered with no"),
    ("rules_count", "gauge", "Rules of the source"),
)


def _name(key: str) -> str:
    return _RENAMED.get(key) or "emqx_" + key.replace(".", "_")


def _labels_of(state: ApiState, mode: Mode) -> Labels:
    return (("node", state.node),) if mode == "all_nodes_unaggregated" else ()


async def collect_stats(state: ApiState, mode: Mode, certificates: CertificateDates) -> Groups:
    """Collect gauges and counters."""
    labels = _labels_of(state, mode)
    groups: Groups = {"stats": list(_stats(state, labels)), "metrics": _machine(state, labels)}
    metrics = await state.broker.gather_metrics()
    for key in METRICS:
        if key in _LEFT_OUT:
            continue
        family = Family(_name(key), "counter", f"{key} since start", [(labels, metrics.get(key, 0))])
        groups.setdefault(_GROUPS[key.partition(".")[0]], []).append(family)
    groups["cluster"] = [
        Family("emqx_cluster_nodes_running", "gauge", "Nodes that run", [((), 1)]),
        Family("emqx_cluster_nodes_stopped", "gauge", "Nodes that do not run", [((), 0)]),
    ]
    dates = await certificates.of_listeners(state.broker)
    expiry = Family("emqx_cert_expiry_at", "gauge", "When a listener's certificate expires, seconds since the epoch")
    expiry.samples += [((("listener_type", kind), ("listener_name", name)), at) for kind, name, at in dates]
    groups["certs"] = [expiry]
    return groups


def _stats(state: ApiState, labels: Labels) -> Iterable[Family]:
    stats = state.broker.stats()
    for key in STATS:
        words = f"{key}, its highest value since start" if key.endswith(".max") else f"{key} now"
        own = () if key.startswith(_OF_CLUSTER) else labels
        yield Family(_name(key), "gauge", words, [(own, stats[key])])


def _machine(state: ApiState, labels: Labels) -> list[Family]:
    readings = state.part(MONITORING).readings
    used = readings.cpu()
    total_memory, used_memory = readings.memory() or (0, 0)
    percent = round((used or 0.0) * 100, 2)
    found: tuple[tuple[str, Number, str], ...] = (
        ("cpu_use", percent, "Percent of the machine's processors in use since the last look"),
        ("cpu_idle", round(100 - percent, 2), "Percent of the machine's processors idle since the last look"),
        ("run_queue", readings.run_queue(), "Programs of the machine that run or wait for a processor"),
        ("total_memory", total_memory, "The machine's memory in bytes"),
        ("used_memory", used_memory, "The machine's memory in use, in bytes"),
    )
    return [Family(f"emqx_vm_{name}", "gauge", words, [(labels, value)]) for name, value, words in found]


def collect_auth(state: ApiState, mode: Mode) -> Groups:
    """Collect what authenticators and sources of rules have decided."""
    labels = _labels_of(state, mode)
    authn = _families("emqx_authn", _AUTHN)
    for authenticator in state.directory.authenticators.report():
        metrics = authenticator.counts
        values = {
            "enable": int(authenticator.enabled),
            "status": int(authenticator.status == "connected"),
            "nomatch": metrics.nomatch,
            "total": metrics.total,
            "success": metrics.success,
            "failed": metrics.failed,
            "users_count": authenticator.users_count,
        }
        _add(authn, (*labels, ("id", authenticator.id)), values)
    authz = _families("emqx_authz", _AUTHZ)
    for source in state.directory.sources.report():
        values = {
            "enable": int(source.enabled),
            "status": int(source.enabled),
            "nomatch": source.nomatch,
            "total": source.total,
            "allow": source.allow,
            "deny": source.deny,
            "rules_count": source.rules,
        }
        _add(authz, (*labels, ("type", source.type)), values)
    banned = Family("emqx_banned_count", "gauge", "Bans", [((), len(state.directory.bans.all()))])
    return {
        "emqx_authn": list(authn.values()),
        "emqx_authz": list(authz.values()),
        "emqx_banned": [banned],
    }


def _families(prefix: str, described: Iterable[tuple[str, str, str]]) -> dict[str, Family]:
    return {
        name: Family(f"{prefix}_{name}", "counter" if kind == "counter" else "gauge", words)
        for name, kind, words in described
    }


def _add(families: Mapping[str, Family], labels: Labels, values: Mapping[str, int | None]) -> None:
    for name, value in values.items():
        if value is not None:
            families[name].samples.append((labels, value))


def collect_data_integration() -> Groups:
    """Collect what there is of EMQX's data integration here: nothing."""
    found = (("rules", "Rules"), ("connectors", "Connectors"), ("actions", "Actions"))
    overview = [Family(f"emqx_{name}_count", "gauge", words, [((), 0)]) for name, words in found]
    return {"data_integration_overview": overview, "rules": [], "actions": [], "connectors": []}
