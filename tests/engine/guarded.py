"""A broker that asks a credential store, and what the engine remembers of its answers."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from wardenmq.broker.connection import Connection
from wardenmq.broker.publish_routes import PublishRoute
from wardenmq.broker.rechecks import Rechecks
from wardenmq.broker.session import Session
from wardenmq.broker.settings import MqttSettings
from wardenmq.store.credentials.stored_secrets import store_token
from wardenmq.store.directory import Directory

from ..spec.v5.serving import Clients5
from .brokers import running_broker
from .wire import Client
from .wire5 import Client5

CREDENTIALS = "wardenmq.plugins.credentials.CredentialAuthPlugin"
PLUGINS: dict[str, dict[str, Any]] = {CREDENTIALS: {}, "wardenmq.plugins.topic_acl.TopicAclPlugin": {}}


def secret_of(username: str) -> str:
    """Give a user's token: such a password costs no hashing."""
    return f"the token of {username}"


@dataclass(frozen=True, slots=True)
class Guarded:
    """Clients of a broker and its credential store."""

    clients: Clients5
    directory: Directory

    async def connected(self, username: str | None, client_id: str = "", **fields: object) -> Client:
        """Open a 3.1.1 connection under the user name, by default with it for a client id."""
        password = None if username is None else secret_of(username).encode()
        return await self.clients.connected(client_id or username or "", username=username, password=password, **fields)

    async def connected5(self, username: str | None, client_id: str = "", **fields: object) -> Client5:
        """Do the same in MQTT 5."""
        password = None if username is None else secret_of(username).encode()
        return await self.clients.connected5(
            client_id or username or "", username=username, password=password, **fields
        )

    async def principal(self, username: str, **values: Any) -> str:
        """Create a login and return its id."""
        secret = store_token(secret_of(username))
        login = await self.directory.create_login("username", username, None, secret=secret, **values)
        return login.id

    def session(self, client_id: str) -> Session:
        return self.clients.session(client_id)

    @property
    def rechecks(self) -> Rechecks:
        return self.clients.broker._engine.rechecks

    def decisions(self, client_id: str) -> dict[tuple[int, bytes], PublishRoute]:
        """Give what is remembered of a client's publishes, by flags and topic."""
        session = self.session(client_id)
        connections = cast("list[Connection]", list(self.clients.broker._listeners.connections))
        incoming = next(each._incoming for each in connections if each.session is session)
        if incoming._remembered.generation != self.clients.broker.router.generation:
            return {}
        return {(flags, topic): route for flags, known in enumerate(incoming._routes) for topic, route in known.items()}


@asynccontextmanager
async def guarding(
    *usernames: str,
    settings: MqttSettings | None = None,
    plugins: Mapping[str, Mapping[str, Any]] = PLUGINS,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Guarded]:
    """Run a broker with a credential store by this clock that has these logins, and `root`, whom no rule holds."""
    async with AsyncExitStack() as stack:
        directory = await Directory.open(":memory:", clock=clock)
        stack.push_async_callback(directory.close)
        broker = await stack.enter_async_context(running_broker(plugins, settings, directory))
        guarded = Guarded(Clients5(broker, stack), directory)
        await guarded.principal("root", superuser=True)
        for username in usernames:
            await guarded.principal(username)
        yield guarded
