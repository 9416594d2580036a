"""Which clients a list is asked for."""

from collections.abc import Callable, Iterable
from ipaddress import ip_address

from ....broker.session import Session
from ...errors import bad_request
from ...state import ApiState
from ...timestamps import to_milliseconds
from .models import CLIENT_FIELDS, ClientFilters

Test = Callable[[Session], bool]


def candidates(state: ApiState, query: ClientFilters) -> Iterable[Session]:
    """Give the sessions among which the wanted ones are; a copy, so that a pause does no harm."""
    registry = state.broker.registry
    if query.clientid:
        found = (registry.get(client_id) for client_id in dict.fromkeys(query.clientid))
        return [session for session in found if session is not None]
    if query.username:
        return [session for name in dict.fromkeys(query.username) for session in registry.of_username(name)]
    return list(registry)


def wanted(query: ClientFilters) -> Test | None:
    """Build the test that a session must pass beyond being a candidate; None where all pass. Raises `ApiError`."""
    tests = [*_name_tests(query), *_state_tests(query), *_time_tests(query)]
    if not tests:
        return None
    return lambda session: all(test(session) for test in tests)


def is_counted(query: ClientFilters) -> bool:
    """Tell whether the answer says how many there are: not for a search by part of a name."""
    return not (query.like_clientid and not query.clientid) and not (query.like_username and not query.username)


def chosen_fields(query: ClientFilters) -> frozenset[str] | None:
    """Return the keys that rows shall have, None for all. Raises `ApiError` for an unknown one."""
    if query.fields == "all":
        return None
    fields = frozenset(part.strip() for part in query.fields.split(","))
    unknown = sorted(fields - CLIENT_FIELDS)
    if unknown:
        raise bad_request(f"query: fields: not a key of a client: {', '.join(unknown)[:200]}")
    return fields


def _name_tests(query: ClientFilters) -> list[Test]:
    tests: list[Test] = []
    if query.clientid and query.username:
        names = frozenset(query.username)
        tests.append(lambda session: session.username in names)
    like_clientid = query.like_clientid
    if like_clientid and not query.clientid:
        tests.append(lambda session: like_clientid in session.client_id)
    like_username = query.like_username
    if like_username and not query.username:
        tests.append(lambda session: session.username is not None and like_username in session.username)
    return tests


def _state_tests(query: ClientFilters) -> list[Test]:
    tests: list[Test] = []
    if query.ip_address is not None:
        try:
            address = str(ip_address(query.ip_address))
        except ValueError:
            raise bad_request("query: ip_address: must be an IPv4 or IPv6 address", "INVALID_PARAMETER") from None
        tests.append(lambda session: session.peer_host == address)
    match query.conn_state:
        case "connected":
            tests.append(lambda session: session.connected)
        case "disconnected":
            tests.append(lambda session: not session.connected)
        case "idle":  # in EMQX a connection before its CONNECT, which here has no session yet
            tests.append(lambda session: False)
        case None:
            pass
    if query.clean_start is not None:
        clean_start = query.clean_start
        tests.append(lambda session: session.clean_start is clean_start)
    if query.proto_ver is not None:
        version = int(query.proto_ver)
        tests.append(lambda session: session.protocol_version == version)
    return tests


def _time_tests(query: ClientFilters) -> list[Test]:
    tests: list[Test] = []
    created_from, created_to = query.gte_created_at, query.lte_created_at
    connected_from, connected_to = query.gte_connected_at, query.lte_connected_at
    if created_from is not None:
        tests.append(lambda session: to_milliseconds(session.created_at) >= created_from)
    if created_to is not None:
        tests.append(lambda session: to_milliseconds(session.created_at) <= created_to)
    if connected_from is not None:
        tests.append(lambda session: to_milliseconds(session.connected_at) >= connected_from)
    if connected_to is not None:
        tests.append(lambda session: to_milliseconds(session.connected_at) <= connected_to)
    return tests
