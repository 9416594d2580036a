"""SCRAM-SHA-256: the standard's example, strict messages, what a stranger learns, and where the keys come from."""

import asyncio
import base64
import hmac
import logging
import time
from collections.abc import Awaitable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from passlib.utils import saslprep
from wardenmq.store.admission import Outcome, Verdict
from wardenmq.store.credentials.scram import (
    MAX_MESSAGE_BYTES,
    MIN_ITERATIONS,
    BadMessage,
    Challenged,
    ScramKeys,
    derive_keys,
    parse_client_first,
)
from wardenmq.store.database import Statement
from wardenmq.store.directory import Directory
from wardenmq.store.errors import Invalid

from .argon2_gate import Argon2Gate
from .conditions import until
from .scram_client import ScramClient, salt_password

KEYS = ScramKeys(MIN_ITERATIONS, b"0" * 16, b"1" * 32, b"2" * 32)


async def settle(verdict: Verdict | Awaitable[Verdict]) -> Verdict:
    return verdict if isinstance(verdict, Verdict) else await verdict


def log_in(directory: Directory, client: ScramClient, *presented: str) -> Verdict:
    """Run one exchange to its end."""
    exchange = directory.begin_scram(presented)
    assert exchange is not None
    challenge = exchange.respond(client.first())
    if isinstance(challenge, Verdict):
        return challenge
    verdict = exchange.respond(client.final(challenge))
    assert isinstance(verdict, Verdict)
    return verdict


def challenge_of(directory: Directory, name: str) -> tuple[bytes, int]:
    """Return the salt and the iterations that a stranger is told of a name."""
    client = ScramClient(name, "a guess")
    assert log_in(directory, client).outcome is Outcome.WRONG
    return client.salt, client.iterations


# The exchange


def test_the_example_of_the_standard() -> None:
    first = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    keys = derive_keys(b"pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    challenged = Challenged(parse_client_first(first), "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", keys)
    assert challenged.challenge == f"r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    final = f"c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=".encode()
    assert challenged.check(final) == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    # The tests' client says the same, so it can be believed.
    client = ScramClient("user", "pencil", nonce="rOprNGfwEbeRWgbNEkqO")
    assert client.first() == first
    assert client.final(challenged.challenge.encode()) == final


@pytest.mark.parametrize("header", ["n,,", "y,,", "n,a=alice,", "y,a=alice,"])
async def test_a_client_gets_in_and_trusts_the_server(directory: Directory, header: str) -> None:
    login = await directory.create_login("username", "alice", "wonderland", superuser=True)
    client = ScramClient("alice", "wonderland", header=header)
    verdict = log_in(directory, client, "alice")
    expected = Verdict(Outcome.ACCEPTED, principal=login.id, superuser=True, username="alice", answer=verdict.answer)
    assert verdict == expected
    assert client.trusts(verdict.answer)


@pytest.mark.parametrize(
    ("name", "password", "outcome"),
    [
        ("alice", "wrong", Outcome.WRONG),
        ("mallory", "wonderland", Outcome.WRONG),
        ("Alice", "wonderland", Outcome.WRONG),
        ("device", "firmware", Outcome.WRONG),
        ("a,b=c", "wonderland", Outcome.ACCEPTED),
        ("=2C=3D", "wonderland", Outcome.ACCEPTED),
        ("grün", "Straße", Outcome.ACCEPTED),
        ("gru\u0308n", "Straße", Outcome.ACCEPTED),  # composed by SASLprep
        ("gr\u00adün", "Stra\u200bße", Outcome.ACCEPTED),  # what is mapped to nothing
        ("ｇrün", "Straße", Outcome.ACCEPTED),  # noqa: RUF001 (what NFKC folds)
    ],
)
async def test_outcomes(directory: Directory, name: str, password: str, outcome: Outcome) -> None:
    await directory.create_login("username", "alice", "wonderland")
    await directory.create_login("username", "a,b=c", "wonderland")
    await directory.create_login("username", "=2C=3D", "wonderland")
    await directory.create_login("username", "grün", "Straße")
    await directory.create_login("clientid", "device", "firmware")
    verdict = log_in(directory, ScramClient(name, password))
    assert verdict.outcome is outcome
    if outcome is Outcome.ACCEPTED:
        assert verdict.username == saslprep(name)
    else:
        assert (verdict.principal, verdict.answer) == (None, None)
        assert verdict.log


async def test_the_name_must_agree_with_what_was_presented_otherwise(directory: Directory) -> None:
    await directory.create_login("username", "grün", "Straße")
    for presented in (["grün"], ["gru\u0308n", "grün"], []):
        assert log_in(directory, ScramClient("grün", "Straße"), *presented).outcome is Outcome.ACCEPTED
    for presented in (["alice"], [""], ["grün", "alice"], ["\u0007"]):
        verdict = log_in(directory, ScramClient("grün", "Straße"), *presented)
        assert verdict == Verdict(Outcome.WRONG, "the SCRAM user name is not the one presented")


async def test_a_long_name_in_connect_is_another_one_at_once(directory: Directory) -> None:
    """What stands in CONNECT is a stranger's, up to 65,535 bytes of it."""
    name = "a" + "\u0345" * 8_000 + "\u0301" * 8_000 + "\u0323" * 8_000 + "\u0334" * 8_000
    started = time.process_time()
    verdict = log_in(directory, ScramClient("alice", "wonderland"), name)
    assert time.process_time() - started < 0.1
    assert verdict == Verdict(Outcome.WRONG, "the SCRAM user name is not the one presented")


async def test_a_client_without_a_first_word_is_asked_for_it_once(directory: Directory) -> None:
    await directory.create_login("username", "alice", "wonderland")
    client = ScramClient("alice", "wonderland")
    exchange = directory.begin_scram(())
    assert exchange is not None
    assert exchange.respond(None) == b""
    challenge = exchange.respond(client.first())
    assert isinstance(challenge, bytes)
    verdict = exchange.respond(client.final(challenge))
    assert isinstance(verdict, Verdict)
    assert verdict.outcome is Outcome.ACCEPTED

    silent = directory.begin_scram(())
    assert silent is not None
    assert silent.respond(None) == b""
    verdict = silent.respond(None)
    assert isinstance(verdict, Verdict)
    assert verdict.outcome is Outcome.MALFORMED


async def test_an_exchange_ends_with_its_verdict(directory: Directory) -> None:
    await directory.create_login("username", "alice", "wonderland")
    for password in ("wonderland", "wrong"):
        client = ScramClient("alice", password)
        exchange = directory.begin_scram(())
        assert exchange is not None
        challenge = exchange.respond(client.first())
        assert isinstance(challenge, bytes)
        final = client.final(challenge)
        exchange.respond(final)
        for again in (final, client.first(), None):
            verdict = exchange.respond(again)
            assert isinstance(verdict, Verdict)
            assert verdict.outcome is Outcome.MALFORMED


async def test_an_answer_fits_no_other_exchange(directory: Directory) -> None:
    await directory.create_login("username", "alice", "wonderland")
    client = ScramClient("alice", "wonderland")
    overheard, replayed = directory.begin_scram(()), directory.begin_scram(())
    assert overheard is not None
    assert replayed is not None
    challenge = overheard.respond(client.first())
    assert isinstance(challenge, bytes)
    assert replayed.respond(client.first()) != challenge
    verdict = replayed.respond(client.final(challenge))
    assert isinstance(verdict, Verdict)
    assert (verdict.outcome, verdict.log) == (
        Outcome.MALFORMED,
        "the SCRAM exchange failed: the last message has another nonce",
    )


# Messages


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the message is incomplete"),
        (b"n,", "the message is incomplete"),
        (b"n,,", "the message is incomplete"),
        (b"n,,n=alice", "the message is incomplete"),
        (b"n=alice,r=abc", "the message is incomplete"),
        (b",,n=alice,r=abc", "the header is damaged"),
        (b"x,,n=alice,r=abc", "the header is damaged"),
        (b"N,,n=alice,r=abc", "the header is damaged"),
        (b"p=tls-unique,,n=alice,r=abc", "channel binding is not supported"),
        (b"p=tls-exporter,,n=alice,r=abc", "channel binding is not supported"),
        (b"n,alice,n=alice,r=abc", "the header is damaged"),
        (b"n,a=bob,n=alice,r=abc", "acting for another name is not supported"),
        (b"n,a=,n=alice,r=abc", "the name is empty"),
        (b"n,,m=x,n=alice,r=abc", "a mandatory extension is not known"),
        (b"n,,m=x", "a mandatory extension is not known"),
        (b"n,,r=abc,n=alice", "the first message is damaged"),
        (b"n,,u=alice,r=abc", "the first message is damaged"),
        (b"n,,n=,r=abc", "the name is empty"),
        (b"n,,n=\xc2\xad,r=abc", "the name is empty"),
        (b"n,,n=al=ice,r=abc", "the name is damaged"),
        (b"n,,n=al=2cice,r=abc", "the name is damaged"),
        (b"n,,n=alice=,r=abc", "the name is damaged"),
        (b"n,,n=al\x07ice,r=abc", "the name cannot be used: a character is prohibited"),
        (b"n,,n=al\x00ice,r=abc", "the name cannot be used: a character is prohibited"),
        (b"n,,n=\xd8\xa7a,r=abc", "the name cannot be used: the writing directions are mixed"),
        (b"n,,n=\xd8\xa71,r=abc", "the name cannot be used: right-to-left text must be at both ends"),
        (b"n,,n=alice,r=", "the first message is damaged"),
        (b"n,,n=alice,r=a c", "the first message is damaged"),
        (b"n,,n=alice,r=abc\n", "the first message is damaged"),
        (b"n,,n=alice,r=\xc3\xa4", "the first message is damaged"),
        (b"n,,n=alice,r=" + b"x" * 257, "the first message is damaged"),
        (b"n,,n=alice,r=abc,", "an extension is damaged"),
        (b"n,,n=alice,r=abc,1=x", "an extension is damaged"),
        (b"n,,n=alice,r=abc,x=", "an extension is damaged"),
        (b"n,,n=al\xffice,r=abc", "the message is not UTF-8"),
        (b"n,,n=al\xed\xa0\x80ice,r=abc", "the message is not UTF-8"),
        (b"n,,n=" + b"x" * MAX_MESSAGE_BYTES + b",r=abc", "the message is too long"),
    ],
)
def test_a_bad_first_message_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(BadMessage) as caught:
        parse_client_first(data)
    assert caught.value.message == message


@pytest.mark.parametrize("extensions", ["", ",x=y", ",x=y,z=1=2"])
async def test_optional_extensions_are_let_be(directory: Directory, extensions: str) -> None:
    await directory.create_login("username", "alice", "wonderland")
    client = ScramClient("alice", "wonderland")
    client.bare += extensions
    assert log_in(directory, client).outcome is Outcome.ACCEPTED


PROOF = base64.b64encode(b"3" * 32).decode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "the message is incomplete"),
        ("c=biws,r=cs", "the message is incomplete"),
        (f"c=biws,p={PROOF}", "the message is incomplete"),
        (f"c=biws,r=cs,p={PROOF},x=y", "the last message is damaged"),
        (f"r=cs,c=biws,p={PROOF}", "the last message has another header than the first"),
        (f"c=eSws,r=cs,p={PROOF}", "the last message has another header than the first"),
        (f"c=,r=cs,p={PROOF}", "the last message has another header than the first"),
        (f"c=biws,r=c,p={PROOF}", "the last message has another nonce"),
        (f"c=biws,r=csx,p={PROOF}", "the last message has another nonce"),
        (f"c=biws,r=ä,p={PROOF}", "the last message has another nonce"),
        (f"c=biws,r=cs,y,p={PROOF}", "an extension is damaged"),
        ("c=biws,r=cs,p=", "the proof is damaged"),
        ("c=biws,r=cs,p=ä", "the proof is damaged"),
        ("c=biws,r=cs,p=AAAA", "the proof is damaged"),
        (f"c=biws,r=cs,p={PROOF[:-1]}", "the proof is damaged"),
        (f"c=biws,r=cs,p= {PROOF}", "the proof is damaged"),
        (f"c=biws,r=cs,x={'y' * MAX_MESSAGE_BYTES},p={PROOF}", "the message is too long"),
    ],
)
def test_a_bad_last_message_is_refused(data: str, message: str) -> None:
    challenged = Challenged(parse_client_first(b"n,,n=alice,r=c"), "s", KEYS)
    with pytest.raises(BadMessage) as caught:
        challenged.check(data.encode())
    assert caught.value.message == message


def test_a_wrong_proof_is_no_bad_message() -> None:
    challenged = Challenged(parse_client_first(b"n,,n=alice,r=c"), "s", KEYS)
    assert challenged.check(f"c=biws,r=cs,x=y,p={PROOF}".encode()) is None


PIECES = [
    "n",
    "y",
    "p=",
    ",",
    ",,",
    "n=",
    "alice",
    "r=",
    "c",
    "cs",
    "a=",
    "m=",
    "c=biws",
    "p=" + PROOF,
    "=2C",
    "\0",
    "\u0627",
]
GARBAGE = st.one_of(
    st.none(),
    st.binary(max_size=200),
    st.lists(st.sampled_from(PIECES), max_size=12).map(lambda p: "".join(p).encode()),
)


@given(data=GARBAGE)
def test_garbage_is_refused_by_the_parsers(data: bytes | None) -> None:
    try:
        parsed = parse_client_first(data or b"")
    except BadMessage as error:
        assert error.message
    else:
        assert parsed.name
        assert parsed.nonce
    challenged = Challenged(parse_client_first(b"n,,n=alice,r=c"), "s", KEYS)
    try:
        assert challenged.check(data or b"") is None
    except BadMessage as error:
        assert error.message


async def test_garbage_never_gets_in(directory: Directory) -> None:
    await directory.create_login("username", "alice", "wonderland")

    @given(steps=st.lists(GARBAGE, min_size=1, max_size=4), begin=st.booleans())
    def run(steps: list[bytes | None], begin: bool) -> None:
        exchange = directory.begin_scram(())
        assert exchange is not None
        if begin:
            assert isinstance(exchange.respond(b"n,,n=alice,r=c"), bytes)
        for step in steps:
            answer = exchange.respond(step)
            if isinstance(answer, Verdict):
                assert answer.outcome in (Outcome.MALFORMED, Outcome.WRONG)
                return
            assert answer == b"" or answer.startswith(b"r=")

    run()


# What a stranger learns


async def test_an_unknown_name_looks_like_a_known_one(directory: Directory) -> None:
    unknown = challenge_of(directory, "alice")
    await directory.create_login("username", "alice", "wonderland")
    known = challenge_of(directory, "alice")
    await directory.update_login("username", "alice", password="looking-glass")
    changed = challenge_of(directory, "alice")
    await directory.delete_login("username", "alice")
    deleted = challenge_of(directory, "alice")
    assert unknown == known == changed == deleted
    assert unknown[1] == MIN_ITERATIONS
    assert challenge_of(directory, "bob")[0] != unknown[0]


async def test_only_the_owner_learns_that_a_login_is_not_allowed(gate: Argon2Gate) -> None:
    now = 1_000_000.0
    directory = await Directory.open(":memory:", clock=lambda: now)
    await directory.create_login("username", "alice", "wonderland")
    await directory.update_login("username", "alice", disabled=True)
    assert log_in(directory, ScramClient("alice", "wonderland")) == Verdict(
        Outcome.NOT_ALLOWED, "the login is disabled"
    )
    assert log_in(directory, ScramClient("alice", "wrong")).outcome is Outcome.WRONG
    await directory.update_login("username", "alice", disabled=False, expires_at=now + 10)
    assert log_in(directory, ScramClient("alice", "wonderland")).valid_until == now + 10
    now += 10
    assert log_in(directory, ScramClient("alice", "wonderland")) == Verdict(
        Outcome.NOT_ALLOWED, "the login has expired"
    )
    assert log_in(directory, ScramClient("alice", "wrong")).outcome is Outcome.WRONG
    await directory.close()


@pytest.mark.parametrize("change", ["password", "delete", "recreate", "disable", "demote"])
async def test_a_login_changed_during_the_exchange_counts_as_it_is_then(directory: Directory, change: str) -> None:
    await directory.create_login("username", "alice", "wonderland", superuser=True)
    client = ScramClient("alice", "wonderland")
    exchange = directory.begin_scram(())
    assert exchange is not None
    challenge = exchange.respond(client.first())
    assert isinstance(challenge, bytes)
    match change:
        case "password":
            await directory.update_login("username", "alice", password="looking-glass")
        case "delete":
            await directory.delete_login("username", "alice")
        case "recreate":
            await directory.delete_login("username", "alice")
            await directory.create_login("username", "alice", "wonderland", superuser=True)
        case "disable":
            await directory.update_login("username", "alice", disabled=True)
        case _:
            await directory.update_login("username", "alice", superuser=False)
    verdict = exchange.respond(client.final(challenge))
    assert isinstance(verdict, Verdict)
    expected = {"disable": Outcome.NOT_ALLOWED, "demote": Outcome.ACCEPTED}.get(change, Outcome.WRONG)
    assert verdict.outcome is expected
    assert not verdict.superuser


async def test_nothing_shows_a_secret(directory: Directory, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await directory.create_login("username", "alice", "wonderland")
    client = ScramClient("alice", "wonderland")
    exchange = directory.begin_scram(("alice",))
    assert exchange is not None
    first = parse_client_first(client.first())
    challenge = exchange.respond(client.first())
    assert isinstance(challenge, bytes)
    verdict = exchange.respond(client.final(challenge))
    keys = derive_keys(b"wonderland", client.salt, client.iterations)
    shown = repr((first, exchange, verdict, keys, directory._logins.find("username", "alice"))) + caplog.text
    for secret in (keys.salt, keys.stored_key, keys.server_key, client.server_signature):
        for form in (repr(secret), secret.hex(), base64.b64encode(secret).decode()):
            assert form not in shown
    assert client.nonce not in shown
    assert "wonderland" not in shown


# Keys


async def test_keys_survive_a_restart_and_go_with_the_password(gate: Argon2Gate, tmp_path: Path) -> None:
    path = tmp_path / "wardenmq.db"
    directory = await Directory.open(path)
    await directory.create_login("username", "alice", "wonderland")
    told = challenge_of(directory, "alice"), challenge_of(directory, "mallory")
    await directory.close()
    directory = await Directory.open(path)
    assert (challenge_of(directory, "alice"), challenge_of(directory, "mallory")) == told
    assert log_in(directory, ScramClient("alice", "wonderland")).outcome is Outcome.ACCEPTED
    await directory.update_login("username", "alice", password="looking-glass")
    assert log_in(directory, ScramClient("alice", "wonderland")).outcome is Outcome.WRONG
    assert log_in(directory, ScramClient("alice", "looking-glass")).outcome is Outcome.ACCEPTED
    await directory.update_login("username", "alice", superuser=True)
    assert log_in(directory, ScramClient("alice", "looking-glass")).superuser
    await directory.close()
    directory = await Directory.open(path, scram_iterations=0)
    assert directory.begin_scram(()) is None
    await directory.update_login("username", "alice", password="through it")
    await directory.close()
    directory = await Directory.open(path)
    for password in ("looking-glass", "through it"):
        assert log_in(directory, ScramClient("alice", password)).outcome is Outcome.WRONG
    rows = await directory._database.read("SELECT params FROM credential")
    assert rows == [("{}",)]
    await directory.close()


async def test_two_databases_salt_a_name_differently(gate: Argon2Gate) -> None:
    first, second = await Directory.open(":memory:"), await Directory.open(":memory:")
    assert challenge_of(first, "alice")[0] != challenge_of(second, "alice")[0]
    assert first.is_new
    await first.close()
    await second.close()


async def test_a_login_without_keys_gets_them_with_its_password(gate: Argon2Gate, tmp_path: Path) -> None:
    path = tmp_path / "wardenmq.db"
    directory = await Directory.open(path, scram_iterations=0)
    login = await directory.create_login("username", "alice", "wonderland")
    await directory.close()

    directory = await Directory.open(path)
    closed: list[object] = []

    async def note(change: object) -> None:
        closed.append(change)

    directory.on_change(note)
    generation = directory.generation
    before = challenge_of(directory, "alice")
    assert log_in(directory, ScramClient("alice", "wonderland")).outcome is Outcome.WRONG
    assert (await settle(directory.authenticate("c", "alice", b"wrong"))).outcome is Outcome.WRONG
    assert (await settle(directory.authenticate("c", "alice", b"wonderland"))).outcome is Outcome.ACCEPTED
    client = ScramClient("alice", "wonderland")
    await until(lambda: log_in(directory, client).outcome is Outcome.ACCEPTED)
    assert challenge_of(directory, "alice") == before
    assert closed == []
    # The cached login goes on counting, and an exchange that began before would too: the password is the same.
    verdict = directory.authenticate("c", "alice", b"wonderland")
    assert isinstance(verdict, Verdict)
    assert verdict.principal == login.id
    # Nobody did anything: no access has to be computed again, and the audit log has nothing to tell.
    assert directory.generation == generation
    assert await directory._database.read("SELECT action FROM audit_log") == [("login.create",)]
    await directory.close()

    # Another cost: the next password login derives anew, and once only.
    directory = await Directory.open(path, scram_iterations=MIN_ITERATIONS + 1)
    for _ in range(3):
        assert (await settle(directory.authenticate("c", "alice", b"wonderland"))).outcome is Outcome.ACCEPTED
    await until(lambda: challenge_of(directory, "alice")[1] == MIN_ITERATIONS + 1)
    assert log_in(directory, client).outcome is Outcome.ACCEPTED
    await directory.close()
    directory = await Directory.open(path, scram_iterations=MIN_ITERATIONS + 1)
    assert log_in(directory, client).outcome is Outcome.ACCEPTED
    assert len(await directory._database.read("SELECT 1 FROM audit_log")) == 1
    await directory.close()


async def test_logins_with_keys_of_another_cost_are_counted_at_the_start(
    gate: Argon2Gate, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Their cost tells a stranger that they exist, which whoever changes the setting is to know."""
    path = tmp_path / "wardenmq.db"
    for number, iterations in enumerate((MIN_ITERATIONS, MIN_ITERATIONS + 1, 0, MIN_ITERATIONS + 2)):
        directory = await Directory.open(path, scram_iterations=iterations)
        await directory.create_login("username", f"user {number}", "wonderland")
        await directory.create_login("clientid", f"device {number}", "firmware")
        await directory.close()
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    # None where all have the same, and none where SCRAM is not offered; a login without keys looks like nobody's.
    assert [warning.split(" ")[0] for warning in warnings] == ["1", "2"]
    assert f"scram_iterations {MIN_ITERATIONS + 2}" in warnings[-1]
    assert "user" not in warnings[-1].replace("user name", "")
    caplog.clear()
    directory = await Directory.open(path, scram_iterations=MIN_ITERATIONS + 2)
    assert (await settle(directory.authenticate("c", "user 0", b"wonderland"))).outcome is Outcome.ACCEPTED
    await until(lambda: challenge_of(directory, "user 0")[1] == MIN_ITERATIONS + 2)
    await directory.close()
    directory = await Directory.open(path, scram_iterations=MIN_ITERATIONS + 2)
    await directory.close()
    assert [record.getMessage().split(" ")[0] for record in caplog.records] == ["2", "1"]


async def test_keys_of_a_password_that_was_changed_meanwhile_are_dropped(
    gate: Argon2Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "wardenmq.db"
    directory = await Directory.open(path, scram_iterations=0)
    await directory.create_login("username", "alice", "wonderland")
    await directory.close()
    directory = await Directory.open(path)
    derived: list[ScramKeys | None] = []
    derive = directory._passwords.derive_keys

    async def change_first(password: bytes, salt: bytes) -> ScramKeys | None:
        keys = await derive(password, salt)
        await directory.update_login("username", "alice", password="looking-glass")
        derived.append(keys)
        return keys

    monkeypatch.setattr(directory._passwords, "derive_keys", change_first)
    await settle(directory.authenticate("c", "alice", b"wonderland"))
    await until(lambda: not directory._derivation._deriving)
    assert derived
    assert log_in(directory, ScramClient("alice", "wonderland")).outcome is Outcome.WRONG
    assert log_in(directory, ScramClient("alice", "looking-glass")).outcome is Outcome.ACCEPTED
    await directory.close()


async def test_a_storm_of_logins_does_not_wait_for_keys(
    gate: Argon2Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "wardenmq.db"
    directory = await Directory.open(path, scram_iterations=0)
    names = ["alice", *(f"user {number}" for number in range(30))]
    for name in names:
        await directory.create_login("username", name, "wonderland")
    await directory.close()
    directory = await Directory.open(path)
    released = asyncio.Event()

    async def held(password: bytes, salt: bytes) -> ScramKeys | None:
        await released.wait()
        return None

    monkeypatch.setattr(directory._passwords, "derive_keys", held)
    for name in (*names, "alice"):
        assert (await settle(directory.authenticate("c", name, b"wonderland"))).outcome is Outcome.ACCEPTED
    # Each that waits keeps a password in memory.
    assert len(directory._derivation._deriving) == 10
    await directory.close()
    assert not directory._derivation._deriving


@pytest.mark.parametrize("password", ["bell\u0007", "smile \U0001f600", "\u0627a", "\u00ad"])
async def test_a_password_that_scram_cannot_carry_is_still_a_password(directory: Directory, password: str) -> None:
    await directory.create_login("username", "alice", password)
    for _ in range(2):
        verdict = await settle(directory.authenticate("c", "alice", password.encode()))
        assert verdict.outcome is Outcome.ACCEPTED
    assert not directory._derivation._deriving
    assert await directory._database.read("SELECT params FROM credential") == [("{}",)]


@pytest.mark.parametrize("login", [("clientid", "device"), ("username", "gru\u0308n")])
async def test_keys_that_nobody_could_use_are_not_derived(directory: Directory, login: tuple[str, str]) -> None:
    await directory.create_login(*login, "firmware")
    assert await directory._database.read("SELECT params FROM credential") == [("{}",)]


async def test_a_dashboard_user_has_no_keys(directory: Directory) -> None:
    await directory.create_dashboard_user("admin", "secret")
    assert await directory._database.read("SELECT params FROM credential") == [("{}",)]
    assert log_in(directory, ScramClient("admin", "secret")).outcome is Outcome.WRONG


async def test_too_few_iterations_are_refused(tmp_path: Path) -> None:
    for iterations in (-1, 1, MIN_ITERATIONS - 1, 10**9):
        with pytest.raises(Invalid, match="scram_iterations must be 0 or between 4096 and"):
            await Directory.open(tmp_path / "wardenmq.db", scram_iterations=iterations)
    assert list(tmp_path.iterdir()) == []


async def test_whoever_lost_the_secret_gets_a_new_one(gate: Argon2Gate, tmp_path: Path) -> None:
    path = tmp_path / "wardenmq.db"
    directory = await Directory.open(path)
    await directory.create_login("username", "alice", "wonderland")
    told = challenge_of(directory, "mallory")
    await directory.close()
    directory = await Directory.open(path)
    await directory._database.transact([Statement("DELETE FROM setting WHERE key = ?", [("scram_secret",)])])
    await directory.close()
    directory = await Directory.open(path)
    assert challenge_of(directory, "mallory") != told
    assert log_in(directory, ScramClient("alice", "wonderland")).outcome is Outcome.ACCEPTED
    await directory.close()


def test_the_derivation_is_the_standards_own() -> None:
    keys = derive_keys(b"pencil", b"salt of sixteen.", MIN_ITERATIONS)
    salted = salt_password("pencil", b"salt of sixteen.", MIN_ITERATIONS)
    assert keys.server_key == hmac.digest(salted, b"Server Key", "sha256")
