"""The roots `dashboard` and `api_key`: what they show, change, refuse and keep; and what other origins may read."""

from pathlib import Path

import pytest
from wardenmq.broker.broker import Broker
from wardenmq.mgmt_api.configuration import Configuration, Governed
from wardenmq.mgmt_api.emqx.dashboard.api_key_settings import API_KEY, ApiKeySettings, load_configured_keys
from wardenmq.mgmt_api.emqx.dashboard.dashboard_settings import (
    DASHBOARD,
    Dashboard,
    DashboardListeners,
    HttpListener,
    HttpsListener,
)
from wardenmq.mgmt_api.errors import ApiError
from wardenmq.mgmt_api.settings import ApiSettings
from wardenmq.store.directory import Directory

from .callers import V5, Api

ORIGIN = {"Origin": "https://example.org"}
ASKING = ORIGIN | {"Access-Control-Request-Method": "GET"}


def test_what_is_shown(api: Api) -> None:
    shown = api.state.configuration.as_json(DASHBOARD)
    assert shown["default_password"] == "******"
    assert (shown["token_expired_time"], shown["cors"], shown["swagger_support"]) == ("60m", False, True)
    assert shown["listeners"]["http"]["bind"] == api.state.settings.bind
    assert shown["listeners"]["https"] == {"bind": "0"}


async def test_what_was_shown_can_be_sent_back_and_the_password_is_not_kept(api: Api) -> None:
    configuration = api.state.configuration
    shown = configuration.as_json(DASHBOARD)
    again = Dashboard.model_validate(shown | {"cors": True, "default_password": "top-secret"})
    await configuration.put(DASHBOARD, again)
    assert configuration.as_json(DASHBOARD) == shown | {"cors": True}
    assert "top-secret" not in str(api.directory.configurations.get("dashboard"))


@pytest.mark.parametrize(
    "listeners",
    [
        DashboardListeners(http=HttpListener(bind="0.0.0.0:1")),
        DashboardListeners(http=HttpListener(bind="1")),
        DashboardListeners(http=HttpListener(max_connections=7)),
        DashboardListeners(https=HttpsListener(bind="18084")),
    ],
)
async def test_where_it_listens_is_not_changed_here(api: Api, listeners: DashboardListeners) -> None:
    configuration = api.state.configuration
    with pytest.raises(ApiError) as caught:
        await configuration.put(DASHBOARD, Dashboard(listeners=listeners, cors=True))
    assert (caught.value.status, caught.value.code) == (400, "UPDATE_FAILED")
    assert configuration.get(DASHBOARD).cors is False


async def test_it_is_there_after_a_restart_wherever_the_listener_has_moved(api: Api, tmp_path: Path) -> None:
    bind = HttpListener(bind=api.state.settings.bind)
    changed = Dashboard(token_expired_time="5m", cors=True, listeners=DashboardListeners(http=bind))
    await api.state.configuration.put(DASHBOARD, changed)
    fresh = Broker({"listeners": {"default": {"type": "tcp", "bind": "127.0.0.1:0"}}, "plugins": {}})
    again = Configuration(Governed(fresh, api.directory, ApiSettings(bind="127.0.0.1:9")), (DASHBOARD,))
    await again.load()
    value = again.get(DASHBOARD)
    assert (value.token_expired_time, value.token_life, value.cors) == ("5m", 300.0, True)
    assert again.as_json(DASHBOARD)["listeners"]["http"]["bind"] == "127.0.0.1:9"


async def test_other_origins_may_read_only_where_that_is_wanted(api: Api) -> None:
    name = "Access-Control-Allow-Origin"
    nodes, nothing = f"{V5}/nodes", f"{V5}/nothing"
    assert name not in (await api.call("GET", nodes, headers=ORIGIN)).headers
    assert (await api.call("OPTIONS", nodes, headers=ASKING, role=None)).status == 405
    await api.state.configuration.put(DASHBOARD, Dashboard(cors=True))
    assert name not in (await api.call("GET", nodes)).headers
    for path, role in ((nodes, "viewer"), (nodes, None), (nothing, None), ("/api-docs", None)):
        assert (await api.call("GET", path, headers=ORIGIN, role=role)).headers[name] == "*"
    asked = await api.call("OPTIONS", f"{V5}/api_key", headers=ASKING, role=None)
    assert (asked.status, asked.body) == (204, b"")
    assert asked.headers[name] == "*"
    assert asked.headers["Access-Control-Allow-Methods"] == "GET, POST"
    assert asked.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type"
    assert "Access-Control-Allow-Credentials" not in asked.headers
    assert (await api.call("OPTIONS", nodes, headers=ORIGIN, role=None)).status == 405
    assert (await api.call("OPTIONS", nothing, headers=ASKING, role=None)).status == 404


async def test_keys_come_from_a_file_when_it_is_named(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("app:secret:viewer\n")
    await api.state.configuration.put(API_KEY, ApiKeySettings(bootstrap_file=str(file)))
    found = api.directory.verify_api_key("app", "secret")
    assert found is not None
    assert found.role == "viewer"
    rows = (await api.call("GET", f"{V5}/api_key", headers=await api.bearer(), role=None)).json
    (row,) = [row for row in rows if row["api_key"] == "app"]
    assert row["name"].startswith("from_bootstrap_file_")
    assert (row["desc"], row["expired_at"], row["enable"]) == ("Bootstrapped From File", "infinity", True)


@pytest.mark.parametrize("stored", [False, True])
async def test_at_the_start_the_file_of_the_api_counts_before_that_of_the_settings(
    directory: Directory, tmp_path: Path, stored: bool
) -> None:
    for name in ("settings", "stored"):
        (tmp_path / name).write_text(f"{name}:secret")
    if stored:
        await directory.configurations.put("api_key", {"bootstrap_file": str(tmp_path / "stored")})
    broker = Broker({"listeners": {"default": {"type": "tcp", "bind": "127.0.0.1:0"}}, "plugins": {}})
    settings = ApiSettings(bootstrap_file=str(tmp_path / "settings"))
    configuration = Configuration(Governed(broker, directory, settings), (API_KEY,))
    await configuration.load()
    await load_configured_keys(configuration)
    assert [key.api_key for key in directory.api_keys()] == ["stored" if stored else "settings"]
