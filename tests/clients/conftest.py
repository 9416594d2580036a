from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio
from wardenmq.broker.broker import Broker
from wardenmq.store.directory import Directory
from wardenmq.store.records import Rule

from ..engine.brokers import running_broker
from .kinds import Meeting
from .node import Node
from .places import Certificates, open_place

PLUGINS = {
    "wardenmq.plugins.credentials.CredentialAuthPlugin": {},
    "wardenmq.plugins.topic_acl.TopicAclPlugin": {},
}


@pytest_asyncio.fixture
async def broker() -> AsyncIterator[Broker]:
    """Run a broker that lets anonymous clients do everything, with one TCP listener."""
    async with running_broker() as running:
        yield running


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Issue the certificate of the TLS listeners."""
    return Certificates.issue(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Hold the Node process; MQTT.js is installed in pytest's cache, which git ignores and `make clean` removes."""
    cache = getattr(request.config, "cache", None)
    directory: Path = cache.mkdir("mqttjs") if cache is not None else tmp_path_factory.mktemp("mqttjs")
    held = Node(directory)
    yield held
    held.close()


@pytest_asyncio.fixture
async def meeting(certificates: Certificates, node: Node) -> AsyncIterator[Meeting]:
    """Run a broker with every kind of listener that lets anonymous clients do everything."""
    async with open_place(certificates) as place, AsyncExitStack() as stack:
        yield Meeting(place, node, stack)


class Guarded(NamedTuple):
    """A broker that knows `alice`, whose password is `secret` and who may use `own/#`."""

    meeting: Meeting
    directory: Directory


@pytest_asyncio.fixture
async def guarded(certificates: Certificates, node: Node) -> AsyncIterator[Guarded]:
    async with AsyncExitStack() as stack:
        directory = await Directory.open(":memory:")
        stack.push_async_callback(directory.close)
        await directory.create_login("username", "alice", "secret")
        await directory.set_rules("username", "alice", [Rule("own/#", "allow", "all")])
        place = await stack.enter_async_context(open_place(certificates, PLUGINS, directory=directory))
        clients = await stack.enter_async_context(AsyncExitStack())
        yield Guarded(Meeting(place, node, clients), directory)
