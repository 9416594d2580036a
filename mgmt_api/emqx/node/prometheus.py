"""Numbers for Prometheus: scraped here, or pushed to a gateway."""

from collections.abc import Mapping

from pydantic import Field

from ...encoding import encode
from ...paging import Query
from ...routes import Answer, Call
from ...state import ApiState
from .exposition import Family, as_object, as_rows, write_text
from .monitoring import MONITORING
from .prometheus_families import Groups, Mode, collect_auth, collect_data_integration, collect_stats
from .prometheus_settings import PROMETHEUS, PrometheusSettings

_LISTS = frozenset({"certs", "emqx_authn", "emqx_authz", "rules", "actions", "connectors"})
"""Groups that are lists in the JSON form even where there is no name of a node."""


class ScrapeQuery(Query):
    """Choose how the nodes of a cluster are told."""

    mode: Mode = Field(
        default="node",
        description="This node alone, the sums over all nodes, or each node with its name; there is one node",
    )


def scrape_is_public(state: ApiState) -> bool:
    """Tell whether anybody may scrape, which is so unless it was switched off."""
    return not state.configuration.get(PROMETHEUS).enable_basic_auth


async def get_settings(call: Call[None, None]) -> PrometheusSettings:
    """Show who may scrape and where numbers are pushed to."""
    return call.state.configuration.as_json(PROMETHEUS)


async def put_settings(call: Call[None, PrometheusSettings]) -> PrometheusSettings:
    """Change who may scrape and where numbers are pushed to."""
    await call.state.configuration.put(PROMETHEUS, call.body, **call.origin)
    return call.state.configuration.as_json(PROMETHEUS)


async def scrape_stats(call: Call[ScrapeQuery, None]) -> Answer:
    """Give gauges and counters."""
    return _answer(call, await collect_stats(call.state, call.query.mode, call.state.part(MONITORING).certificates))


async def scrape_auth(call: Call[ScrapeQuery, None]) -> Answer:
    """Give what authenticators and sources of rules have decided."""
    return _answer(call, collect_auth(call.state, call.query.mode))


async def scrape_data_integration(call: Call[ScrapeQuery, None]) -> Answer:
    """Give the numbers of rules, connectors and actions."""
    return _answer(call, collect_data_integration())


async def expose_all(state: ApiState) -> str:
    """Write all numbers of this node for a push gateway."""
    groups = await collect_stats(state, "node", state.part(MONITORING).certificates)
    return write_text(_families(groups))


def _answer(call: Call[ScrapeQuery, None], groups: Groups) -> Answer:
    # what a browser or Prometheus itself accepts names text as well
    if "application/json" in call.accept and "text/plain" not in call.accept:
        return Answer(encode(_json(groups)), 200)
    return Answer(write_text(_families(groups)), 200, "text/plain")


def _families(groups: Groups) -> list[Family]:
    return [family for families in groups.values() for family in families]


def _json(groups: Groups) -> Mapping[str, object]:
    return {name: _group(name, families) for name, families in groups.items()}


def _group(name: str, families: list[Family]) -> object:
    labelled = any(labels for family in families for labels, _ in family.samples)
    return as_rows(families) if labelled or name in _LISTS else as_object(families)
