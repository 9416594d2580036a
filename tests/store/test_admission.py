"""Each step of an authentication, for each way to prove a login; and that none of them tells a stranger anything."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from wardenmq.store.admission import Outcome, Verdict
from wardenmq.store.credentials.stored_secrets import store_token
from wardenmq.store.directory import Directory
from wardenmq.store.records import Login, Tenant

from .argon2_gate import Argon2Gate
from .conditions import until
from .restarts import record
from .scram_client import ScramClient
from .test_authentication import settle

NOW = 1_700_000_000.0
PEER = "192.0.2.7"
PASSWORD = "wonderland"


class House:
    """Hold a directory whose clock is set by hand, with `alice`, and ask it as a listener does."""

    def __init__(self) -> None:
        self.now = NOW
        self.directory: Directory

    def clock(self) -> float:
        return self.now

    async def password(
        self,
        client_id: str = "c",
        username: str | None = "alice",
        password: str | None = PASSWORD,
        *,
        peer_host: str = PEER,
        allow_anonymous: bool = False,
    ) -> Verdict:
        given = None if password is None else password.encode()
        return await settle(
            self.directory.authenticate(
                client_id, username, given, peer_host=peer_host, allow_anonymous=allow_anonymous
            )
        )

    async def certificate(self, client_id: str = "c", username: str = "alice", *, peer_host: str = PEER) -> Verdict:
        return self.directory.authenticate_certified(username, client_id=client_id, peer_host=peer_host)

    async def scram(
        self, client_id: str = "c", username: str = "alice", password: str = PASSWORD, *, peer_host: str = PEER
    ) -> Verdict:
        exchange = self.directory.begin_scram([], client_id=client_id, peer_host=peer_host)
        assert exchange is not None
        client = ScramClient(username, password)
        challenge = exchange.respond(client.first())
        if isinstance(challenge, Verdict):
            return challenge
        assert isinstance(challenge, bytes)
        answer = exchange.respond(client.final(challenge))
        assert not isinstance(answer, bytes)
        return await settle(answer)

    async def each_way(self, client_id: str = "c", username: str = "alice", *, peer_host: str = PEER) -> Outcome:
        """Come with the right proof, of each kind; the answer must be the same."""
        verdicts = [
            await self.password(client_id, username, peer_host=peer_host),
            await self.certificate(client_id, username, peer_host=peer_host),
            await self.scram(client_id, username, peer_host=peer_host),
        ]
        (outcome,) = {verdict.outcome for verdict in verdicts}
        for verdict in verdicts:
            assert (verdict.principal is not None) is (outcome is Outcome.ACCEPTED)
            assert bool(verdict.log) is (outcome is not Outcome.ACCEPTED)
            assert verdict.answer is None or outcome is Outcome.ACCEPTED
        return outcome


@pytest.fixture
async def house(gate: Argon2Gate) -> AsyncIterator[House]:
    opened = House()
    opened.directory = await Directory.open(":memory:", clock=opened.clock)
    await opened.directory.create_login("username", "alice", PASSWORD)
    yield opened
    gate.open.set()
    await opened.directory.close()


# 1: bans


# Each kind: what to ban, what to come with instead in order not to be meant.
BANS = [
    ("clientid", "evil", {"client_id": "evil"}),
    ("clientid_re", "^ev.l$", {"client_id": "evil"}),
    ("peerhost", "203.0.113.9", {"peer_host": "203.0.113.9"}),
    ("peerhost", "203.0.113.9", {"peer_host": "::ffff:203.0.113.9"}),
    ("peerhost_net", "203.0.113.0/24", {"peer_host": "203.0.113.9"}),
    ("peerhost_net", "2001:db8::/32", {"peer_host": "2001:db8:1::2"}),
    ("username", "alice", {"username": "alice"}),
    ("username_re", "(?i)^ALI", {"username": "alice"}),
]
PROOFLESS = [ban for ban in BANS if not ban[0].startswith("username")]


@pytest.mark.parametrize(("who_type", "who", "meant"), BANS)
async def test_who_is_banned_is_refused_until_the_end(
    house: House, who_type: str, who: str, meant: dict[str, str]
) -> None:
    await house.directory.create_login("username", "bob", PASSWORD)
    await house.directory.bans.create(who_type, who, until=NOW + 60)
    assert await house.each_way(**meant) is Outcome.BANNED
    assert await house.each_way(username="bob") is Outcome.ACCEPTED
    house.now = NOW + 59.999999
    assert await house.each_way(**meant) is Outcome.BANNED
    house.now = NOW + 60
    assert await house.each_way(**meant) is Outcome.ACCEPTED


@pytest.mark.parametrize(("who_type", "who", "meant"), BANS)
async def test_a_ban_without_end_holds_until_it_is_lifted(
    house: House, who_type: str, who: str, meant: dict[str, str]
) -> None:
    await house.directory.bans.create(who_type, who)
    house.now = NOW + 1e9
    assert await house.each_way(**meant) is Outcome.BANNED
    await house.directory.bans.delete(who_type, who)
    assert await house.each_way(**meant) is Outcome.ACCEPTED


@pytest.mark.parametrize(("who_type", "who", "meant"), PROOFLESS)
async def test_a_banned_client_id_or_address_costs_no_hash_and_is_told_to_all(
    house: House, gate: Argon2Gate, who_type: str, who: str, meant: dict[str, str]
) -> None:
    await house.directory.bans.create(who_type, who)
    for username, password in (("alice", "wrong"), ("nobody", "x"), ("alice", None), (None, None)):
        fields = {"username": username, "password": password, **meant}
        assert (await house.password(**fields)).outcome is Outcome.BANNED  # type: ignore[arg-type]
        assert (await house.password(**fields, allow_anonymous=True)).outcome is Outcome.BANNED  # type: ignore[arg-type]
    assert (await house.certificate(username="nobody", **meant)).outcome is Outcome.BANNED  # type: ignore[arg-type]
    assert (await house.scram(username="nobody", **meant)).outcome is Outcome.BANNED  # type: ignore[arg-type]
    assert gate.verified == []


@pytest.mark.parametrize(("who_type", "who"), [("username", "alice"), ("username_re", "^ali")])
async def test_a_banned_user_name_is_told_to_its_owner_only(house: House, who_type: str, who: str) -> None:
    """Else anybody could find out, name by name, who is banned."""
    await house.directory.bans.create(who_type, who)
    assert (await house.password(password="wrong")).outcome is Outcome.WRONG
    assert (await house.scram(password="wrong")).outcome is Outcome.WRONG
    assert (await house.password(username="alicia")).outcome is Outcome.WRONG
    assert (await house.password()).outcome is Outcome.BANNED


async def test_a_ban_of_user_names_means_no_anonymous_client(house: House) -> None:
    await house.directory.bans.create("username_re", ".")
    assert (await house.password(username=None, password=None, allow_anonymous=True)).outcome is Outcome.ACCEPTED


async def test_a_user_name_beside_a_client_ids_password_can_be_banned_too(house: House) -> None:
    """Nothing proves it, but a client must not get around the ban of its name by a login that has no name."""
    await house.directory.create_login("clientid", "device", PASSWORD)
    await house.directory.bans.create("username", "mallory")
    assert (await house.password("device", "mallory")).outcome is Outcome.BANNED
    assert (await house.password("device", "mallory", "wrong")).outcome is Outcome.WRONG
    assert (await house.password("device", "other")).outcome is Outcome.ACCEPTED
    # A client id is no user name.
    await house.directory.bans.create("username", "device")
    assert (await house.password("device", None)).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize(("who_type", "who", "meant"), BANS)
async def test_a_ban_that_comes_while_the_password_is_checked_holds(
    house: House, gate: Argon2Gate, who_type: str, who: str, meant: dict[str, str]
) -> None:
    gate.open.clear()
    pending = asyncio.ensure_future(house.password(**meant))  # type: ignore[arg-type]
    await until(lambda: len(gate.verified) == 1)
    await house.directory.bans.create(who_type, who)
    gate.open.set()
    assert (await pending).outcome is Outcome.BANNED


async def test_a_ban_closes_the_live_sessions_that_it_means(house: House) -> None:
    changes = record(house.directory)
    await house.directory.bans.create("clientid", "evil")
    await house.directory.bans.create("username", "alice")
    await house.directory.bans.create("peerhost_net", "203.0.113.0/24")
    await house.directory.bans.create("clientid_re", "^bot")
    assert changes[0].banned_client_ids == {"evil"}
    assert changes[1].banned_usernames == {"alice"}
    network, expression = changes[2].banned, changes[3].banned
    assert network is not None
    assert expression is not None
    assert [network("c", None, host) for host in ("203.0.113.1", "198.51.100.1")] == [True, False]
    assert [expression(client_id, "bot", PEER) for client_id in ("bot-1", "robot")] == [True, False]


# 2: which login counts


@pytest.mark.parametrize(
    ("client_id", "username", "password", "who"),
    [
        ("x", "both", "by name", "username"),
        ("x", None, "by name", None),
        ("both", None, "by client id", "clientid"),
        ("both", "unknown", "by client id", "clientid"),
        ("both", None, "by name", None),
        ("x", "both", "by client id", None),
        ("both", "both", "by client id", None),  # the user name decides, whatever the client id is
    ],
)
async def test_the_user_names_login_counts_else_that_of_the_client_id(
    house: House, client_id: str, username: str | None, password: str, who: str | None
) -> None:
    logins = {
        "username": await house.directory.create_login("username", "both", "by name"),
        "clientid": await house.directory.create_login("clientid", "both", "by client id"),
    }
    verdict = await house.password(client_id, username, password)
    if who is None:
        assert verdict.outcome is Outcome.WRONG
    else:
        assert (verdict.outcome, verdict.principal) == (Outcome.ACCEPTED, logins[who].id)


async def test_a_certificate_is_no_client_ids_login(house: House) -> None:
    await house.directory.create_login("clientid", "device", PASSWORD)
    verdict = await house.certificate("device", "device")
    assert (verdict.outcome, verdict.principal) == (Outcome.WRONG, None)
    verdict = await house.certificate(username="alice")
    assert (verdict.outcome, verdict.username) == (Outcome.ACCEPTED, "alice")
    assert (await house.certificate(username="")).outcome is Outcome.WRONG


async def test_a_certificate_does_for_a_login_without_password(house: House) -> None:
    await house.directory.create_login("username", "machine", None)
    assert (await house.certificate(username="machine")).outcome is Outcome.ACCEPTED
    for password in ("", "machine", None):
        assert (await house.password(username="machine", password=password)).outcome is Outcome.WRONG
    assert (await house.scram(username="machine", password="x")).outcome is Outcome.WRONG


# 3 and 4: switches and dates


async def test_an_organization_that_is_switched_off(house: House) -> None:
    await house.directory.tenants.create("acme")
    await house.directory.create_login("username", "bob", PASSWORD, tenant="acme")
    await house.directory.tenants.update("acme", enabled=False)
    assert await house.each_way(username="bob") is Outcome.NOT_ALLOWED
    assert await house.each_way() is Outcome.ACCEPTED
    await house.directory.tenants.update("acme", enabled=True)
    assert await house.each_way(username="bob") is Outcome.ACCEPTED


SWITCHES: list[tuple[list[dict[str, bool]], bool, bool]] = [
    # What is done, one after the other; whether it is then disabled by the operator, and paused by its owner.
    ([{"paused": True}], False, True),
    ([{"disabled": True}], True, False),
    ([{"paused": True}, {"paused": False}], False, False),
    ([{"disabled": True}, {"disabled": False}], False, False),
    ([{"paused": True}, {"disabled": True}], True, True),
    ([{"disabled": True}, {"paused": True}], True, True),
    # The owner cannot lift the operator's switch, the operator lifts both.
    ([{"disabled": True}, {"paused": False}], True, False),
    ([{"disabled": True}, {"paused": True}, {"paused": False}], True, False),
    ([{"paused": True}, {"disabled": True}, {"paused": False}], True, False),
    ([{"paused": True}, {"disabled": True}, {"disabled": False}], False, False),
    ([{"paused": True}, {"disabled": False}], False, False),
    ([{"paused": False}, {"disabled": False}], False, False),
    # Again is not another time.
    ([{"disabled": True}, {"disabled": True}], True, False),
    ([{"paused": True}, {"paused": True}], False, True),
]


@pytest.mark.parametrize(("steps", "disabled", "paused"), SWITCHES)
async def test_the_operators_and_the_owners_switch(
    house: House, steps: list[dict[str, bool]], disabled: bool, paused: bool
) -> None:
    switched_at: dict[str, float] = {}
    for step in steps:
        house.now += 10
        for name, on in step.items():
            if on:
                switched_at.setdefault(name, house.now)
        await house.directory.update_login("username", "alice", **step)  # type: ignore[arg-type]
    login = house.directory.login("username", "alice")
    assert login is not None
    assert (login.disabled_at is not None, login.paused_at is not None) == (disabled, paused)
    assert login.disabled is (disabled or paused)
    assert login.disabled_at in (None, switched_at.get("disabled"))
    assert login.paused_at in (None, switched_at.get("paused"))
    expected = Outcome.NOT_ALLOWED if disabled or paused else Outcome.ACCEPTED
    assert await house.each_way() is expected
    assert (await house.password(password="wrong")).outcome is Outcome.WRONG


async def test_switching_closes_sessions_once(house: House) -> None:
    changes = record(house.directory)
    (one,) = [login.id for login in house.directory.logins("username")]
    for step in ({"paused": True}, {"disabled": True}, {"disabled": False}, {"disabled": True}):
        await house.directory.update_login("username", "alice", **step)  # type: ignore[arg-type]
    assert [change.close_principals for change in changes] == [{one}, {one}]


async def test_the_end_of_a_login(house: House) -> None:
    await house.directory.update_login("username", "alice", expires_at=NOW + 10)
    verdict = await house.password()
    assert (verdict.outcome, verdict.valid_until) == (Outcome.ACCEPTED, NOW + 10)
    house.now = NOW + 9.999999
    assert await house.each_way() is Outcome.ACCEPTED
    house.now = NOW + 10
    assert await house.each_way() is Outcome.NOT_ALLOWED
    assert (await house.password(password="wrong")).outcome is Outcome.WRONG
    await house.directory.update_login("username", "alice", expires_at=None)
    assert await house.each_way() is Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("login_ends", "secret_ends", "valid_until"),
    [(None, None, None), (5, None, 5), (None, 5, 5), (5, 9, 5), (9, 5, 5), (5, 5, 5)],
)
async def test_the_earlier_end_of_login_and_secret_counts(
    house: House, login_ends: float | None, secret_ends: float | None, valid_until: float | None
) -> None:
    def at(seconds: float | None) -> float | None:
        return None if seconds is None else NOW + seconds

    for name, create in (("new", True), ("changed", False)):
        if create:
            await house.directory.create_login(
                "username", name, PASSWORD, expires_at=at(login_ends), secret_expires_at=at(secret_ends)
            )
        else:
            await house.directory.create_login("username", name, "old")
            await house.directory.update_login(
                "username", name, password=PASSWORD, expires_at=at(login_ends), secret_expires_at=at(secret_ends)
            )
        house.now = NOW
        verdicts = [await house.password(username=name), await house.certificate(username=name)]
        verdicts.append(await house.scram(username=name))
        assert {(verdict.outcome, verdict.valid_until) for verdict in verdicts} == {(Outcome.ACCEPTED, at(valid_until))}
        house.now = NOW + 5
        expected = Outcome.ACCEPTED if valid_until is None else Outcome.NOT_ALLOWED
        assert await house.each_way(username=name) is expected
        house.now = NOW
    # A new password without an end has none, whatever the one before it had.
    await house.directory.update_login("username", "changed", password=PASSWORD)
    login = house.directory.login("username", "changed")
    assert login is not None
    assert login.valid_until == at(login_ends)


async def test_an_end_that_is_changed_is_told_to_live_sessions(house: House) -> None:
    changes = record(house.directory)
    (one,) = [login.id for login in house.directory.logins("username")]
    await house.directory.update_login("username", "alice", expires_at=NOW + 10)
    await house.directory.update_login("username", "alice", expires_at=NOW + 20, label="x")
    await house.directory.update_login("username", "alice", label="y")
    await house.directory.update_login("username", "alice", expires_at=None)
    assert [change.valid_until for change in changes] == [{one: NOW + 10}, {one: NOW + 20}, {one: None}]
    assert not any(change.close_principals for change in changes)
    changes.clear()
    await house.directory.update_login("username", "alice", expires_at=NOW)
    assert changes[0].close_principals == {one}


# 5: client ids


@pytest.mark.parametrize(
    ("mode", "client_id", "outcome"),
    [
        ("any", "own", Outcome.ACCEPTED),
        ("any", "other", Outcome.ACCEPTED),
        ("any", "", Outcome.ACCEPTED),
        ("reserved", "own", Outcome.ACCEPTED),
        ("reserved", "other", Outcome.ACCEPTED),
        ("required", "own", Outcome.ACCEPTED),
        ("required", "other", Outcome.CLIENT_ID),
        ("required", "Own", Outcome.CLIENT_ID),
        ("required", "", Outcome.CLIENT_ID),  # the server would choose another one
        ("per_connection", "own", Outcome.ACCEPTED),
        ("per_connection", "other", Outcome.ACCEPTED),
        ("per_connection", "a/b", Outcome.CLIENT_ID),
        ("per_connection", "a+", Outcome.CLIENT_ID),
        ("per_connection", "#", Outcome.CLIENT_ID),
        ("per_connection", "alice", Outcome.CLIENT_ID),  # a login of its own, whose topics it would get
        ("per_connection", "", Outcome.ACCEPTED),
        ("any", "taken", Outcome.CLIENT_ID),
        ("reserved", "taken", Outcome.CLIENT_ID),
        ("per_connection", "taken", Outcome.CLIENT_ID),
        ("any", "device", Outcome.CLIENT_ID),
        ("per_connection", "device", Outcome.CLIENT_ID),
    ],
)
async def test_client_ids(house: House, mode: str, client_id: str, outcome: Outcome) -> None:
    directory = house.directory
    await directory.create_login("username", "holder", "x", clientid="taken", clientid_mode="reserved")
    await directory.create_login("clientid", "device", "x")
    own = None if mode == "per_connection" else "own"
    await directory.create_login("username", "bob", PASSWORD, clientid=own, clientid_mode=mode)
    assert await house.each_way(client_id, "bob") is outcome
    assert (await house.password(client_id, "bob", "wrong")).outcome is Outcome.WRONG


async def test_a_required_client_id_is_reserved_for_nobody(house: House) -> None:
    """As in Mosquitto: the login must have it, others may."""
    directory = house.directory
    await directory.create_login("username", "bob", PASSWORD, clientid="own", clientid_mode="required")
    assert await house.each_way("own", "alice") is Outcome.ACCEPTED
    await directory.create_login("username", "carol", PASSWORD, clientid="own", clientid_mode="required")
    assert await house.each_way("own", "carol") is Outcome.ACCEPTED


async def test_a_reservation_follows_its_login(house: House) -> None:
    directory = house.directory
    await directory.create_login("username", "bob", PASSWORD, clientid="old", clientid_mode="reserved")
    assert await house.each_way("old") is Outcome.CLIENT_ID
    await directory.update_login("username", "bob", clientid="new")
    assert await house.each_way("old") is Outcome.ACCEPTED
    assert await house.each_way("new") is Outcome.CLIENT_ID
    await directory.update_login("username", "bob", clientid_mode="required")
    assert await house.each_way("new") is Outcome.ACCEPTED
    await directory.update_login("username", "bob", clientid_mode="reserved")
    assert await house.each_way("new") is Outcome.CLIENT_ID
    # Whether the owner could get in makes no difference.
    await directory.update_login("username", "bob", disabled=True)
    assert await house.each_way("new") is Outcome.CLIENT_ID
    await directory.delete_login("username", "bob")
    assert await house.each_way("new") is Outcome.ACCEPTED


async def test_nobody_squats_on_a_reserved_client_id_without_a_name(house: House) -> None:
    await house.directory.create_login("username", "pub", "x", clientid="pub-x", clientid_mode="reserved")
    for client_id, outcome in (("pub-x", Outcome.WRONG), ("free", Outcome.ACCEPTED), ("", Outcome.ACCEPTED)):
        verdict = await house.password(client_id, None, None, allow_anonymous=True)
        assert (verdict.outcome, verdict.principal) == (outcome, None)


async def test_a_client_ids_login_is_proved_by_its_password_alone(house: House) -> None:
    """Neither anonymously nor under another login, whichever way that was proved."""
    await house.directory.create_login("clientid", "device", "firmware")
    assert (await house.password("device", None, None, allow_anonymous=True)).outcome is Outcome.WRONG
    assert await house.each_way("device", "alice") is Outcome.CLIENT_ID
    assert (await house.password("device", None, "firmware")).outcome is Outcome.ACCEPTED


# 6: the secret


@pytest.mark.parametrize("username", ["alice", "nobody", "machine", "device"])
async def test_each_guess_costs_one_hash(house: House, gate: Argon2Gate, username: str) -> None:
    """Of a name that is no login, that has no password, or that is one of a client id, as of one that is."""
    await house.directory.create_login("username", "machine", None)
    await house.directory.create_login("clientid", "device", "x")
    assert (await house.password(username=username, password="guess")).outcome is Outcome.WRONG
    assert gate.verified == [b"guess"]


async def test_guesses_are_counted_for_all_that_may_be_guessed_at(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever logins there are: what is charged to whom would tell."""
    counted: list[tuple[str, Sequence[str]]] = []
    limiter = house.directory._scram.limiter
    monkeypatch.setattr(limiter, "failed", lambda network, names: counted.append((network, names)))
    await house.directory.create_login("clientid", "device", "x")
    await house.password("c1", "alice", "guess", peer_host="192.0.2.1")
    await house.password("c2", "alice", "guess", peer_host="2001:db8::1")
    await house.scram("c3", "alice", "guess", peer_host="192.0.2.3")
    assert counted == [
        ("192.0.2.1/32", ("u:alice", "c:c1")),
        ("2001:db8::/48", ("u:alice", "c:c2")),
        ("192.0.2.3/32", ("u:alice", "c:c3")),
    ]
    counted.clear()
    for client_id in ("device", "nobody's"):
        for username in ("any", "device", None):
            await house.password(client_id, username, "guess")
        await house.scram(client_id, "any", "guess")
    names = [names for _, names in counted]
    assert names[:4] == [("u:any", "c:device"), ("u:device", "c:device"), ("c:device",), ("u:any", "c:device")]
    assert [names[0] for names in names[4:]] == ["u:any", "u:device", "c:nobody's", "u:any"]
    assert [names[-1] for names in names[4:]] == ["c:nobody's"] * 4
    counted.clear()
    # An empty client id is many clients' and no login's.
    await house.password("", "alice", "guess")
    assert [names for _, names in counted] == [("u:alice",)]
    counted.clear()
    # What was proved is no guess, whatever else is the matter.
    await house.directory.update_login("username", "alice", disabled=True)
    await house.password()
    await house.scram()
    assert counted == []


async def test_guesses_by_scram_wait_among_the_suspects(
    house: House, gate: Argon2Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proof costs the server next to nothing, so that else it would be the fast way to guess."""
    waited: list[str] = []
    wait = house.directory._scram.wait_as_suspect

    async def wait_as_suspect(network: str) -> None:
        waited.append(network)
        await wait(network)

    monkeypatch.setattr(house.directory._scram, "wait_as_suspect", wait_as_suspect)
    for number in range(20):
        await house.scram(f"c{number}", "alice", "guess", peer_host=f"198.51.100.{number}")
    assert (waited, gate.verified) == ([], [])
    assert (await house.scram(peer_host="2001:db8::1")).outcome is Outcome.ACCEPTED
    assert (waited, gate.verified) == (["2001:db8::/48"], [b""])
    # From where it was proved it is not held up again, whatever others do.
    await house.scram("another", peer_host="2001:db8::2")
    assert len(waited) == 1


# 7: keys need their role and something to read


async def key_with(house: House, *, role: bool, link: bool, active: bool = True) -> Login:
    directory = house.directory
    await directory.tenants.create("acme")
    key = await directory.create_login(
        "username", "K", None, kind="haltian_key", tenant="acme", id="K", secret=store_token("token"), confined=True
    )
    integration = await directory.integrations.create("acme", state="active" if active else "inactive")
    if role:
        await directory.integrations.assign_role("K", "MqttIntegrator")
    if link:
        await directory.integrations.link(integration.id, "K")
    return key


@pytest.mark.parametrize(
    ("role", "link", "active", "outcome"),
    [
        (True, True, True, Outcome.ACCEPTED),
        (False, True, True, Outcome.NOT_ALLOWED),
        (True, False, True, Outcome.NOT_ALLOWED),
        (True, True, False, Outcome.NOT_ALLOWED),
        (False, False, True, Outcome.NOT_ALLOWED),
    ],
)
async def test_a_key_needs_its_role_and_an_active_link(
    house: House, role: bool, link: bool, active: bool, outcome: Outcome
) -> None:
    key = await key_with(house, role=role, link=link, active=active)
    verdicts = [await house.password(username="K", password="token"), await house.certificate(username="K")]
    assert {verdict.outcome for verdict in verdicts} == {outcome}
    assert (await house.password(username="K", password="other")).outcome is Outcome.WRONG
    if outcome is Outcome.ACCEPTED:
        assert {(verdict.principal, verdict.confined) for verdict in verdicts} == {(key.id, True)}


async def test_another_role_does_not_do(house: House) -> None:
    await key_with(house, role=False, link=True)
    await house.directory.integrations.assign_role("K", "OrganizationManager")
    assert (await house.password(username="K", password="token")).outcome is Outcome.NOT_ALLOWED
    await house.directory.integrations.assign_role("K", "MqttIntegrator")
    assert (await house.password(username="K", password="token")).outcome is Outcome.ACCEPTED


# The order of the answers


async def tenant_of(house: House) -> Tenant:
    return house.directory.tenants.required("default")


HINDRANCES: dict[str, Callable[[House], Awaitable[object]]] = {
    "nothing": tenant_of,
    "tenant": lambda h: h.directory.tenants.update("default", enabled=False),
    "disabled": lambda h: h.directory.update_login("username", "alice", disabled=True),
    "paused": lambda h: h.directory.update_login("username", "alice", paused=True),
    "expired": lambda h: h.directory.update_login("username", "alice", expires_at=NOW - 1),
    "secret expired": lambda h: h.directory.update_login(
        "username", "alice", password=PASSWORD, secret_expires_at=NOW - 1
    ),
    "client id": lambda h: h.directory.update_login("username", "alice", clientid="own", clientid_mode="required"),
    "reserved": lambda h: h.directory.create_login("username", "x", "x", clientid="c", clientid_mode="reserved"),
    "banned": lambda h: h.directory.bans.create("username", "alice"),
    "banned by expression": lambda h: h.directory.bans.create("username_re", "^alice"),
}


@pytest.mark.parametrize("hindrance", HINDRANCES)
async def test_a_stranger_is_told_the_same_whatever_holds_for_the_login(
    house: House, gate: Argon2Gate, hindrance: str
) -> None:
    """Same outcome, same work, no word of it in what goes back: as for a name that does not exist."""
    await HINDRANCES[hindrance](house)
    told = [
        await house.password(username=username, password=password)
        for username in ("alice", "nobody")
        for password in ("guess", None, "")
    ]
    told += [await house.scram(username=username, password="guess") for username in ("alice", "nobody")]
    for verdict in told:
        assert verdict.outcome is Outcome.WRONG
        assert (verdict.principal, verdict.username, verdict.answer) == (None, None, None)
        assert (verdict.superuser, verdict.confined, verdict.valid_until) == (False, False, None)
    assert gate.verified == [b"guess", b"", b"guess", b""]


@pytest.mark.parametrize("hindrance", [name for name in HINDRANCES if name != "nothing"])
async def test_whoever_proved_the_login_is_told_why(house: House, hindrance: str) -> None:
    await HINDRANCES[hindrance](house)
    expected = Outcome.NOT_ALLOWED
    if hindrance in ("client id", "reserved"):
        expected = Outcome.CLIENT_ID
    elif hindrance.startswith("banned"):
        expected = Outcome.BANNED
    assert await house.each_way() is expected


async def test_of_several_hindrances_the_first_of_the_model_is_told(house: House) -> None:
    """Bans first, then what is switched off or over, the client id last."""
    for name, expected in (
        ("client id", Outcome.CLIENT_ID),
        ("reserved", Outcome.CLIENT_ID),
        ("expired", Outcome.NOT_ALLOWED),
        ("disabled", Outcome.NOT_ALLOWED),
        ("tenant", Outcome.NOT_ALLOWED),
        ("banned", Outcome.BANNED),
    ):
        await HINDRANCES[name](house)
        assert await house.each_way() is expected, name


async def test_superusers_are_held_to_all_of_it(house: House) -> None:
    """They are exempt from rules, not from being let in."""
    await house.directory.update_login("username", "alice", superuser=True)
    assert (await house.password()).superuser
    await house.directory.update_login("username", "alice", paused=True)
    verdict = await house.password()
    assert (verdict.outcome, verdict.superuser) == (Outcome.NOT_ALLOWED, False)


async def test_no_log_sentence_holds_a_secret(house: House, caplog: pytest.LogCaptureFixture) -> None:
    await house.directory.bans.create("clientid", "evil")
    with caplog.at_level("DEBUG"):
        for client_id in ("c", "evil"):
            for username in ("alice", "nobody", None):
                for allow_anonymous in (True, False):
                    verdict = await house.password(client_id, username, "s3cr3t", allow_anonymous=allow_anonymous)
                    assert "s3cr3t" not in repr(verdict)
    assert "s3cr3t" not in caplog.text
