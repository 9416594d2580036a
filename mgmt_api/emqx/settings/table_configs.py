"""The part of the route table about the configuration."""

from typing import Any

from ...configuration import Root
from ...routes import Route
from ..dashboard.dashboard_settings import DASHBOARD
from ..node.alarm_settings import ALARM
from ..node.sys_topics import SYS_TOPICS
from ..node.sysmon import SYSMON
from . import configs
from .configs import ChangeQuery, ConfigsQuery, ResetQuery, Zone
from .log_root import LOG
from .mqtt_root import BROKER

_LIMIT = 1_048_576
"""Bytes of a configuration that is sent as text."""
_UPDATE = {400: ("UPDATE_FAILED", "INVALID_CONFIG"), 403: ("UPDATE_FAILED",)}


def _pair(root: Root[Any]) -> tuple[Route[Any, Any], Route[Any, Any]]:
    path = f"/configs/{root.name}"
    return (
        Route(
            "GET", path, configs.reader(root), f"Show the configuration of {root.name}", "Configs", answer=root.model
        ),
        Route(
            "PUT",
            path,
            configs.writer(root),
            f"Change the configuration of {root.name}",
            "Configs",
            body=root.model,
            answer=root.model,
            errors=_UPDATE,
        ),
    )


CONFIG_ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        "GET",
        "/configs",
        configs.get_configs,
        "Show the configuration",
        "Configs",
        query=ConfigsQuery,
        answer=str,
        other_types={"application/json": dict[str, Any]},
        errors={400: ("INVALID_ACCEPT",), 404: ("NOT_FOUND",), 500: ("BAD_NODE",)},
    ),
    Route(
        "PUT",
        "/configs",
        configs.put_configs,
        "Change the configuration",
        "Configs",
        query=ChangeQuery,
        body=str,
        max_body_size=_LIMIT,
        other_answers={400: dict[str, Any]},
        errors={400: ("UPDATE_FAILED",)},
    ),
    *(route for root in (SYS_TOPICS, SYSMON, ALARM, DASHBOARD, BROKER, LOG) for route in _pair(root)),
    Route("GET", "/configs/global_zone", configs.get_zone, "Show what holds for all clients", "Configs", answer=Zone),
    Route(
        "PUT",
        "/configs/global_zone",
        configs.put_zone,
        "Change what holds for all clients",
        "Configs",
        body=Zone,
        answer=Zone,
        errors=_UPDATE,
    ),
    Route(
        "POST",
        "/configs_reset/{rootname}",
        configs.reset_root,
        "Set a value back to its default",
        "Configs",
        query=ResetQuery,
        errors={400: ("NO_DEFAULT_VALUE", "REST_FAILED"), 403: ("REST_FAILED",)},
    ),
)
