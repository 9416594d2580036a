"""The operator's API without a socket: the same operations, the same answers."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from wardenmq.broker.broker import Broker
from wardenmq.mgmt_api.encoding import encode
from wardenmq.mgmt_api.local import LocalFacade
from wardenmq.mgmt_api.operator.table import OPERATOR
from wardenmq.mgmt_api.routes import Caller
from wardenmq.mgmt_api.settings import ApiSettings
from wardenmq.mgmt_api.state import ApiState
from wardenmq.store.directory import Directory
from wardenmq.store.errors import DatabaseUnavailable

from .callers import Reply
from .operators import ODD_NAMES, segment
from .test_operator_table import CALLS, check, route_and_path


@pytest_asyncio.fixture
async def local(directory: Directory) -> AsyncIterator[LocalFacade]:
    """Give the API of a broker that was never started."""
    broker = Broker({"listeners": {"default": {"type": "external"}}, "plugins": {}})
    state = ApiState(broker, directory, ApiSettings(), "0", operator_document=b"{}")
    yield LocalFacade(OPERATOR, state, Caller("operator", "administrator", "cli"))


async def call(local: LocalFacade, method: str, path: str, query: str = "", body: object = None) -> Reply:

    data = body if isinstance(body, bytes) else b"" if body is None else encode(body)
    reply = await local.call(method, path, query, "" if body is None else "application/json", data)
    return Reply(reply.status, reply.headers, b"".join(reply.parts))


async def test_every_operation_answers_as_over_http(local: LocalFacade) -> None:
    for method, written, query, body, status in CALLS:
        route, path = route_and_path(method, written)
        reply = await call(local, method, path, query, body)
        assert reply.status == status, (method, path, query, reply.body)
        if not route.public:
            check(route, reply)


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_any_name_fits_into_a_path(local: LocalFacade, name: str) -> None:
    await call(local, "POST", "/users", body={"login": name})
    assert (await call(local, "GET", f"/users/{segment(name)}")).json["login"] == name


async def test_the_audit_log_names_the_command_line(local: LocalFacade, directory: Directory) -> None:
    await call(local, "POST", "/roles", body={"name": "r"})
    (entry,) = await directory.audit.entries(action="role.create")
    assert (entry.actor, entry.facade) == ("operator", "cli")


async def test_trouble_of_the_database_is_not_an_answer(
    local: LocalFacade, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("the disk is full")

    monkeypatch.setattr(directory, "delete_login", fail)
    with pytest.raises(DatabaseUnavailable):
        await call(local, "DELETE", "/users/alice")


async def test_there_is_nothing_else(local: LocalFacade) -> None:
    with pytest.raises(LookupError):
        await call(local, "GET", "/nothing")
