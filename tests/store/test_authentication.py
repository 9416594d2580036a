"""Who gets in, what the others are told, and what happens when a login changes in between."""

import asyncio
from collections.abc import Awaitable

import pytest
from wardenmq.store.authentication import Outcome, Verdict
from wardenmq.store.credentials.stored_secrets import MAX_SECRET_BYTES, StoredSecret, store_token
from wardenmq.store.directory import Directory
from wardenmq.store.login_values import NewLogin

from .argon2_gate import Argon2Gate
from .conditions import until

DEVICE = "device-1"


async def settle(verdict: Verdict | Awaitable[Verdict]) -> Verdict:
    return verdict if isinstance(verdict, Verdict) else await verdict


@pytest.fixture
async def people(directory: Directory) -> Directory:
    await directory.create_login("username", "alice", "wonderland")
    await directory.create_login("clientid", DEVICE, "firmware", superuser=True)
    return directory


@pytest.mark.parametrize(
    ("client_id", "username", "password", "outcome"),
    [
        ("c", "alice", b"wonderland", Outcome.ACCEPTED),
        ("c", "alice", b"wrong", Outcome.WRONG),
        ("c", "alice", b"", Outcome.WRONG),
        ("c", "alice", None, Outcome.WRONG),
        ("c", "alice", b"x" * (MAX_SECRET_BYTES + 1), Outcome.WRONG),
        ("c", "Alice", b"wonderland", Outcome.WRONG),
        ("c", "mallory", b"wonderland", Outcome.WRONG),
        ("c", "mallory", None, Outcome.WRONG),
        ("c", "", b"wonderland", Outcome.WRONG),
        ("c", DEVICE, b"firmware", Outcome.WRONG),
        ("alice", "mallory", b"wonderland", Outcome.WRONG),
        (DEVICE, None, b"firmware", Outcome.ACCEPTED),
        (DEVICE, None, b"wrong", Outcome.WRONG),
        (DEVICE, "anything", b"firmware", Outcome.ACCEPTED),
        (DEVICE, "anything", b"wrong", Outcome.WRONG),
        (DEVICE, "alice", b"wonderland", Outcome.CLIENT_ID),
        (DEVICE, "alice", b"firmware", Outcome.WRONG),
        ("", None, None, Outcome.NOT_ALLOWED),
        ("c", None, None, Outcome.NOT_ALLOWED),
        (DEVICE, None, None, Outcome.NOT_ALLOWED),
        ("c", None, b"firmware", Outcome.WRONG),
    ],
)
async def test_outcomes(
    people: Directory, client_id: str, username: str | None, password: bytes | None, outcome: Outcome
) -> None:
    verdict = await settle(people.authenticate(client_id, username, password))
    assert verdict.outcome is outcome
    if outcome is not Outcome.ACCEPTED:
        assert verdict.principal is None
        assert verdict.log


@pytest.mark.parametrize(
    ("client_id", "username", "password", "outcome"),
    [
        ("c", None, None, Outcome.ACCEPTED),
        ("", None, None, Outcome.ACCEPTED),
        ("c", None, b"whatever", Outcome.ACCEPTED),
        (DEVICE, None, None, Outcome.WRONG),
        (DEVICE, None, b"wrong", Outcome.WRONG),
        (DEVICE, None, b"firmware", Outcome.ACCEPTED),
        ("c", "mallory", b"x", Outcome.WRONG),
        ("c", "", None, Outcome.WRONG),
    ],
)
async def test_outcomes_where_anonymous_clients_are_allowed(
    people: Directory, client_id: str, username: str | None, password: bytes | None, outcome: Outcome
) -> None:
    verdict = await settle(people.authenticate(client_id, username, password, allow_anonymous=True))
    assert verdict.outcome is outcome
    known = outcome is Outcome.ACCEPTED and client_id == DEVICE
    assert (verdict.principal is not None) is known


async def test_an_accepted_client_is_described(people: Directory) -> None:
    device = people.login("clientid", DEVICE)
    assert device is not None
    await people.update_login("clientid", DEVICE, expires_at=4_102_444_800.25)
    verdict = await settle(people.authenticate(DEVICE, None, b"firmware"))
    assert verdict == Verdict(
        Outcome.ACCEPTED, principal=device.id, superuser=True, confined=False, valid_until=4_102_444_800.25
    )


async def test_only_a_hash_is_waited_for(people: Directory, gate: Argon2Gate) -> None:
    assert isinstance(people.authenticate("c", None, None), Verdict)
    assert isinstance(people.authenticate("c", "alice", None), Verdict)
    assert not gate.verified
    first = people.authenticate("c", "alice", b"wonderland")
    assert not isinstance(first, Verdict)
    await first
    assert isinstance(people.authenticate("other client", "alice", b"wonderland"), Verdict)
    assert gate.verified == [b"wonderland"]


async def test_an_unknown_name_is_hashed_like_a_known_one(people: Directory, gate: Argon2Gate) -> None:
    for client_id, username in (("c", "mallory"), ("c", None), (DEVICE, "mallory")):
        await settle(people.authenticate(client_id, username, b"guess"))
    assert gate.verified == [b"guess"] * 3


async def test_a_wrong_token_takes_what_an_unknown_name_takes(
    directory: Directory, gate: Argon2Gate, caplog: pytest.LogCaptureFixture
) -> None:
    """Else a stranger learns by the time taken that the login exists and what it has."""
    await directory.create_login("username", "machine", None, secret=store_token("token"))
    wrong = directory.authenticate("c", "machine", b"guess")
    assert not isinstance(wrong, Verdict)
    assert (await wrong).outcome is Outcome.WRONG
    assert gate.verified == [b"guess"]
    assert caplog.records == []
    # Nor does the limiter tell it from a name of nobody; the right one is never held up.
    limiter = directory._authentication._limiter
    for _ in range(19):
        await settle(directory.authenticate("c", "machine", b"guess"))
    assert limiter.suspect("", ("u:machine",))
    assert isinstance(directory.authenticate("c", "machine", b"token"), Verdict)


async def test_what_is_charged_to_whom_does_not_tell_who_exists(people: Directory) -> None:
    limiter = people._authentication._limiter
    for client_id in (DEVICE, "missing"):
        for number in range(20):
            assert not limiter.suspect("", (f"c:{client_id}",))
            # Each under another user name and from another network, so that they have nothing else in common.
            await settle(people.authenticate(client_id, f"u{number}", b"guess", peer_host=f"192.0.2.{number}"))
        assert limiter.suspect("", (f"c:{client_id}",))
    for username in ("alice", "mallory"):
        for number in range(20):
            assert not limiter.suspect("", (f"u:{username}",))
            await settle(people.authenticate(f"c{number}", username, b"guess", peer_host=f"198.51.100.{number}"))
        assert limiter.suspect("", (f"u:{username}",))


@pytest.mark.parametrize(
    ("client_id", "username", "password", "excused", "judged"),
    [
        ("c", "alice", b"wonderland", ("u:alice", "c:other"), ("u:other", "c:c")),
        (DEVICE, "any", b"firmware", ("u:any", f"c:{DEVICE}"), ("u:any", "c:other")),
        (DEVICE, None, b"firmware", (f"c:{DEVICE}",), ("u:other", f"c:{DEVICE}")),
    ],
)
async def test_what_was_proved_from_a_network_is_excused_there(
    people: Directory,
    client_id: str,
    username: str | None,
    password: bytes,
    excused: tuple[str, ...],
    judged: tuple[str, ...],
) -> None:
    verdict = await settle(people.authenticate(client_id, username, password, peer_host="192.0.2.1"))
    assert verdict.outcome is Outcome.ACCEPTED
    limiter = people._authentication._limiter
    for _ in range(200):
        limiter.failed("192.0.2.1/32", ("u:mallory",))
    assert not limiter.suspect("192.0.2.1/32", excused)
    assert limiter.suspect("192.0.2.1/32", judged)


async def test_a_fleet_behind_one_address_gets_in_all_at_once(directory: Directory, gate: Argon2Gate) -> None:
    fleet = [f"device {number}" for number in range(5_000)]
    secrets = [StoredSecret("argon2id", gate.hash(name.encode()).encode()) for name in fleet]
    for start in range(0, len(fleet), 1_000):
        batch = zip(fleet[start : start + 1_000], secrets[start : start + 1_000], strict=True)
        await directory.import_logins(
            [NewLogin(login_type="username", login=name, secret=secret) for name, secret in batch]
        )
    logins = (settle(directory.authenticate("c", name, name.encode(), peer_host="192.0.2.1")) for name in fleet)
    verdicts = await asyncio.gather(*logins)
    assert {verdict.outcome for verdict in verdicts} == {Outcome.ACCEPTED}
    assert len(gate.verified) == 5_000


async def test_nobody_waits_behind_another_networks_guesses(people: Directory, gate: Argon2Gate) -> None:
    gate.open.clear()
    guesses = [
        asyncio.ensure_future(
            settle(people.authenticate(f"c{n}", f"made up {n}", b"guess", peer_host=f"2001:db8:{n % 3}:{n:x}::1"))
        )
        for n in range(600)
    ]
    await until(lambda: len(gate.verified) == 2 and people._passwords.waiting == 598)
    rightful = asyncio.ensure_future(settle(people.authenticate("c", "alice", b"wonderland", peer_host="192.0.2.1")))
    await until(lambda: people._passwords.waiting == 599)
    gate.open.set()
    assert (await rightful).outcome is Outcome.ACCEPTED
    # One of each of the three networks, however many addresses they have, and those that the threads were at.
    assert gate.verified.index(b"wonderland") <= 6
    for guess in guesses:
        guess.cancel()
    await asyncio.gather(*guesses, return_exceptions=True)


async def test_the_old_password_is_refused_at_once(people: Directory) -> None:
    assert (await settle(people.authenticate("c", "alice", b"wonderland"))).outcome is Outcome.ACCEPTED
    await people.update_login("username", "alice", password="looking-glass")
    assert (await settle(people.authenticate("c", "alice", b"wonderland"))).outcome is Outcome.WRONG
    assert (await settle(people.authenticate("c", "alice", b"looking-glass"))).outcome is Outcome.ACCEPTED
    await people.delete_login("username", "alice")
    assert (await settle(people.authenticate("c", "alice", b"looking-glass"))).outcome is Outcome.WRONG
    await people.create_login("username", "alice", "third")
    for old in (b"wonderland", b"looking-glass"):
        assert (await settle(people.authenticate("c", "alice", old))).outcome is Outcome.WRONG


async def test_a_disabled_or_expired_login_is_told_to_its_owner_only(gate: Argon2Gate) -> None:
    now = 1_000_000.0
    directory = await Directory.open(":memory:", clock=lambda: now)
    await directory.create_login("username", "alice", "wonderland")
    await settle(directory.authenticate("c", "alice", b"wonderland"))

    await directory.update_login("username", "alice", disabled=True)
    assert (await settle(directory.authenticate("c", "alice", b"wonderland"))).outcome is Outcome.NOT_ALLOWED
    assert (await settle(directory.authenticate("c", "alice", b"wrong"))).outcome is Outcome.WRONG
    await directory.update_login("username", "alice", disabled=False)
    assert (await settle(directory.authenticate("c", "alice", b"wonderland"))).outcome is Outcome.ACCEPTED

    await directory.update_login("username", "alice", expires_at=now + 10)
    verdict = await settle(directory.authenticate("c", "alice", b"wonderland"))
    assert (verdict.outcome, verdict.valid_until) == (Outcome.ACCEPTED, now + 10)
    now += 10
    assert (await settle(directory.authenticate("c", "alice", b"wonderland"))).outcome is Outcome.NOT_ALLOWED
    assert (await settle(directory.authenticate("c", "alice", b"wrong"))).outcome is Outcome.WRONG
    await directory.update_login("username", "alice", expires_at=None)
    assert (await settle(directory.authenticate("c", "alice", b"wonderland"))).outcome is Outcome.ACCEPTED
    await directory.close()


@pytest.mark.parametrize("change", ["password", "delete", "recreate", "disable", "demote", "shadow"])
async def test_a_login_changed_during_the_check_counts_as_it_is_then(
    people: Directory, gate: Argon2Gate, change: str
) -> None:
    gate.open.clear()
    username = None if change == "shadow" else "alice"
    client_id, password = (DEVICE, b"firmware") if change == "shadow" else ("c", b"wonderland")
    username = "bob" if change == "shadow" else username
    await people.update_login("username", "alice", superuser=True)
    pending = asyncio.ensure_future(settle(people.authenticate(client_id, username, password)))
    await until(lambda: gate.verified == [password])
    match change:
        case "password":
            await people.update_login("username", "alice", password="looking-glass")
        case "delete":
            await people.delete_login("username", "alice")
        case "recreate":
            await people.delete_login("username", "alice")
            await people.create_login("username", "alice", "wonderland")
        case "disable":
            await people.update_login("username", "alice", disabled=True)
        case "demote":
            await people.update_login("username", "alice", superuser=False)
        case _:
            # The name that was none, and so left the decision to the client id, has become somebody's.
            await people.create_login("username", "bob", "builder")
    gate.open.set()
    verdict = await pending
    expected = {"disable": Outcome.NOT_ALLOWED, "demote": Outcome.ACCEPTED}.get(change, Outcome.WRONG)
    assert verdict.outcome is expected
    assert not verdict.superuser


async def test_too_many_waiting_clients_are_turned_away(gate: Argon2Gate) -> None:
    directory = await Directory.open(":memory:", password_wait_limit=1)
    await directory.create_login("username", "alice", "wonderland")
    await settle(directory.authenticate("c", "alice", b"wonderland"))
    gate.open.clear()
    names = ["alice", "mallory"] * 3
    pending = [asyncio.ensure_future(settle(directory.authenticate("c", name, b"guess"))) for name in names]
    await until(lambda: sum(task.done() for task in pending) == 3)
    assert {task.result().outcome for task in pending if task.done()} == {Outcome.OVERLOADED}
    # Who was verified before gets in nevertheless.
    known = directory.authenticate("c", "alice", b"wonderland")
    assert isinstance(known, Verdict)
    assert known.outcome is Outcome.ACCEPTED
    gate.open.set()
    outcomes = [verdict.outcome for verdict in await asyncio.gather(*pending)]
    assert outcomes.count(Outcome.WRONG) == 3
    await directory.close()
