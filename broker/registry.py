"""All sessions, by client id and by principal."""

from collections.abc import Iterator
from typing import TypeAlias

from .session import Session

_Index: TypeAlias = dict[str | None, dict[str, Session]]


class SessionRegistry:
    """Own the table of sessions, connected and stored."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._by_principal: _Index = {}
        self._by_username: _Index = {}
        self.connected_count = 0

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions.values())

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, client_id: str) -> Session | None:
        """Return the session of a client id."""
        return self._sessions.get(client_id)

    def add(self, session: Session) -> None:
        """Enter a session; its client id must be free."""
        client_id = session.client_id
        self._sessions[client_id] = session
        identity = session.identity
        if identity.principal is not None:
            _put(self._by_principal, identity.principal, client_id, session)
        if identity.username is not None or identity.principal is None:
            _put(self._by_username, identity.username, client_id, session)

    def remove(self, session: Session) -> None:
        """Take a session out."""
        client_id = session.client_id
        if self._sessions.get(client_id) is not session:
            return
        del self._sessions[client_id]
        identity = session.identity
        if identity.principal is not None:
            _take(self._by_principal, identity.principal, client_id)
        if identity.username is not None or identity.principal is None:
            _take(self._by_username, identity.username, client_id)

    def of_principal(self, principal: str) -> list[Session]:
        """List the sessions of a principal."""
        return list(self._by_principal.get(principal, {}).values())

    def of_username(self, username: str | None) -> list[Session]:
        """List the sessions of a user name; for None, those that have neither principal nor user name."""
        return list(self._by_username.get(username, {}).values())


def _put(index: _Index, key: str | None, client_id: str, session: Session) -> None:
    members = index.get(key)
    if members is None:
        index[key] = {client_id: session}
    else:
        members[client_id] = session


def _take(index: _Index, key: str | None, client_id: str) -> None:
    members = index[key]
    del members[client_id]
    if not members:
        del index[key]
