"""Log in, call with the token, log out; and everything that ends a token."""

import asyncio
import logging

import pytest
from wardenmq.mgmt_api.emqx.dashboard.dashboard_settings import DASHBOARD, Dashboard
from wardenmq.mgmt_api.emqx.dashboard.login_tokens import MAX_PER_USER, TOKENS, LoginTokens, NoLogin
from wardenmq.mgmt_api.emqx.table import EMQX
from wardenmq.store.credentials.passwords import Passwords
from wardenmq.store.dashboard_users import DashboardUsers
from wardenmq.store.errors import Overloaded

from .callers import V5, Api, Reply

PASSWORD = "secret-12"


async def log_in(api: Api, username: str = "root", password: str = PASSWORD) -> Reply:
    return await api.call("POST", f"{V5}/login", {"username": username, "password": password}, role=None)


async def token_of(api: Api, username: str = "root", password: str = PASSWORD) -> dict[str, str]:
    reply = await log_in(api, username, password)
    assert reply.status == 200, reply.body
    return {"Authorization": f"Bearer {reply.json['token']}"}


@pytest.fixture
async def users(api: Api) -> DashboardUsers:
    """Make an administrator `root` and a viewer `guest`."""
    made = api.directory.dashboard_users
    await made.create("root", PASSWORD)
    await made.create("guest", PASSWORD, "viewer")
    return made


async def refusal(api: Api, headers: dict[str, str], method: str = "GET", path: str = "/users") -> tuple[int, str]:
    reply = await api.call(method, V5 + path, headers=headers, role=None)
    return (reply.status, reply.code) if reply.status >= 400 else (reply.status, "")


async def test_a_token_opens_what_a_key_opens_and_more(api: Api, users: DashboardUsers) -> None:
    reply = await log_in(api)
    assert reply.status == 200
    answer = reply.json
    assert (answer["version"], answer["license"], answer["role"]) == (
        api.state.version,
        {"edition": "opensource"},
        "administrator",
    )
    headers = {"Authorization": f"bearer {answer['token']}"}
    for path in ("/users", "/api_key", "/clients", "/nodes"):
        assert await refusal(api, headers, path=path) == (200, "")
    created = await api.call("POST", f"{V5}/users", {"username": "x", "password": PASSWORD}, headers=headers, role=None)
    assert created.status == 200
    (entry, *_) = [one for one in await api.directory.audit.entries() if one.action == "dashboard_user.create"]
    assert (entry.actor, entry.facade) == ("dashboard:root", "emqx")


@pytest.mark.parametrize(
    ("username", "password"), [("root", "wrong-12"), ("nobody", PASSWORD), ("", ""), ("root", ""), ("root\0", PASSWORD)]
)
async def test_whoever_is_wrong_is_told_the_same(
    api: Api, users: DashboardUsers, caplog: pytest.LogCaptureFixture, username: str, password: str
) -> None:
    caplog.set_level(logging.DEBUG)
    reply = await log_in(api, username, password)
    assert (reply.status, reply.json) == (401, {"code": "BAD_USERNAME_OR_PWD", "message": "Auth failed"})
    assert api.state.refused_callers == 1
    assert not password or password not in caplog.text


async def test_an_mqtt_login_or_an_api_key_is_no_dashboard_user(api: Api, users: DashboardUsers) -> None:
    await api.directory.create_login("username", "device", PASSWORD)
    key, secret = await api.directory.create_api_key("other")
    assert (await log_in(api, "device")).status == 401
    assert (await log_in(api, key.api_key, secret)).status == 401


@pytest.mark.parametrize(
    "body", [{}, {"username": "root"}, {"username": "r" * 101, "password": "x"}, {"username": 1, "password": "x"}, []]
)
async def test_what_is_no_login(api: Api, body: object) -> None:
    reply = await api.call("POST", f"{V5}/login", body, role=None)
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")


async def test_a_stranger_sends_no_large_body(api: Api) -> None:
    (route,) = [route for route in EMQX.routes if route.path == "/login"]
    assert route.max_body_size is not None
    body = b'{"username": "root", "password": "' + b"x" * route.max_body_size + b'"}'
    reply = await api.call("POST", f"{V5}/login", data=body, headers={"Content-Type": "application/json"}, role=None)
    assert (reply.status, reply.code) == (413, "BAD_REQUEST")


async def test_unknown_fields_are_ignored(api: Api, users: DashboardUsers) -> None:
    body = {"username": "root", "password": PASSWORD, "mfa_token": "1"}
    assert (await api.call("POST", f"{V5}/login", body, role=None)).status == 200


async def test_unknown_names_cost_a_check_and_guesses_are_paced(
    api: Api, users: DashboardUsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown: list[bytes] = []
    suspects: list[bool] = []
    check, check_unknown = Passwords.check, Passwords.check_unknown

    async def counted(self: Passwords, presented: bytes, **more: object) -> None:
        unknown.append(presented)
        await check_unknown(self, presented, **more)  # pyright: ignore[reportArgumentType]

    async def noted(self: Passwords, *what: object, suspect: object, **more: object) -> bool:
        assert callable(suspect)
        suspects.append(bool(suspect()))
        return await check(self, *what, **more)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Passwords, "check_unknown", counted)
    monkeypatch.setattr(Passwords, "check", noted)
    assert (await log_in(api, "nobody", "guess")).status == 401
    assert unknown == [b"guess"]
    for number in range(22):
        assert (await log_in(api, "root", f"guess-{number}")).status == 401
    assert suspects[0] is False
    assert suspects[-1] is True
    assert (await log_in(api)).status == 200  # paced, not locked out


async def test_too_many_logins_at_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object, **__: object) -> None:
        raise Overloaded("too many wait")

    monkeypatch.setattr(DashboardUsers, "check", full)
    reply = await log_in(api)
    assert (reply.status, reply.code) == (503, "SERVICE_UNAVAILABLE")


async def test_logout_ends_the_token_that_was_shown(api: Api, users: DashboardUsers) -> None:
    first, second = await token_of(api), await token_of(api)
    other = await api.call("POST", f"{V5}/logout", {"username": "guest"}, headers=first, role=None)
    assert (other.status, other.code) == (401, "WRONG_TOKEN_OR_USERNAME")
    assert await refusal(api, first) == (200, "")
    done = await api.call("POST", f"{V5}/logout", {"username": "root"}, headers=first, role=None)
    assert (done.status, done.body) == (204, b"")
    assert await refusal(api, first) == (401, "BAD_TOKEN")
    assert await refusal(api, second) == (200, "")


async def test_who_only_views_may_log_out(api: Api, users: DashboardUsers) -> None:
    headers = await token_of(api, "guest")
    assert await refusal(api, headers) == (200, "")
    assert await refusal(api, headers, "DELETE", "/users/root") == (403, "UNAUTHORIZED_ROLE")
    assert (await api.call("POST", f"{V5}/logout", {"username": "guest"}, headers=headers, role=None)).status == 204


@pytest.mark.parametrize("token", ["x", "0" * 43, "\u00e9", "a b"])
async def test_tokens_that_are_none(api: Api, token: str) -> None:
    assert await refusal(api, {"Authorization": f"Bearer {token}"}) == (401, "BAD_TOKEN")


async def test_password_role_and_deletion_end_all_tokens_of_a_user(api: Api, users: DashboardUsers) -> None:
    await users.create("other", PASSWORD)
    mine, kept = await token_of(api, "guest"), await token_of(api)
    await users.update("guest", description="changed")
    assert await refusal(api, mine) == (200, "")
    await users.update("guest", role="administrator")
    assert await refusal(api, mine) == (401, "BAD_TOKEN")
    mine = await token_of(api, "guest")
    await users.set_password("guest", "secret-13")
    assert await refusal(api, mine) == (401, "BAD_TOKEN")
    mine = await token_of(api, "guest", "secret-13")
    await users.delete("guest")
    await users.create("guest", PASSWORD)
    assert await refusal(api, mine) == (401, "BAD_TOKEN")
    assert await refusal(api, kept) == (200, "")


class Clock:
    """A clock that a test puts forward."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def test_a_token_lives_as_long_as_it_is_used(api: Api, users: DashboardUsers) -> None:
    clock = Clock()
    api.state.parts[TOKENS] = LoginTokens(users, clock)
    headers = await token_of(api)
    for _ in range(3):
        clock.now += 3_599
        assert await refusal(api, headers) == (200, "")
    clock.now += 3_600
    assert await refusal(api, headers) == (401, "TOKEN_TIME_OUT")

    headers = await token_of(api)
    await api.state.configuration.put(DASHBOARD, Dashboard(token_expired_time="10s"))
    clock.now += 9
    assert await refusal(api, headers) == (200, "")
    clock.now += 10
    assert await refusal(api, headers) == (401, "TOKEN_TIME_OUT")


async def test_tokens_are_bounded_and_the_longest_unused_goes(
    api: Api, users: DashboardUsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, guest = users.get("root"), users.get("guest")
    assert root is not None
    assert guest is not None
    tokens = LoginTokens(users)
    first, second = tokens.create(root), tokens.create(root)
    foreign = tokens.create(guest)
    assert tokens.find(first, 60) == root
    made = [tokens.create(root) for _ in range(MAX_PER_USER - 1)]
    assert tokens.find(second, 60) is NoLogin.UNKNOWN
    assert tokens.find(first, 60) == root
    assert tokens.find(foreign, 60) == guest
    assert len(tokens) == MAX_PER_USER + 1
    monkeypatch.setattr("wardenmq.mgmt_api.emqx.dashboard.login_tokens.MAX_TOKENS", MAX_PER_USER + 1)
    tokens.create(guest)
    assert len(tokens) == MAX_PER_USER + 1
    assert tokens.find(made[0], 60) is NoLogin.UNKNOWN


async def test_no_token_gets_into_the_log(api: Api, users: DashboardUsers, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    headers = await token_of(api)
    await refusal(api, headers)
    await refusal(api, headers, "DELETE", "/users/nobody")
    assert headers["Authorization"][7:] not in caplog.text
    assert PASSWORD not in caplog.text


async def test_many_logins_at_once(api: Api, users: DashboardUsers) -> None:
    replies = await asyncio.gather(*(log_in(api) for _ in range(20)))
    assert {reply.status for reply in replies} == {200}
    assert len({reply.json["token"] for reply in replies}) == 20
