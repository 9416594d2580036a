"""What a genuine token says: claims that must be there, times, rights."""

from typing import Any

import pytest
from wardenmq.store.acl.access import Layer, build_access
from wardenmq.store.acl.client_facts import ClientFacts
from wardenmq.store.authenticators.key_source import KeySource
from wardenmq.store.authenticators.settings import JwtSettings, SharedSecret
from wardenmq.store.authenticators.token_authenticator import Bearer, Refused, TokenAuthenticator
from wardenmq.store.authenticators.token_rights import MAX_EXPRESSIONS, TokenRights, TokenRightsReader
from wardenmq.store.errors import Invalid
from wardenmq.store.records import PUBLISH, RECEIVE, SUBSCRIBE

from .signing import SECRET, signed

NOW = 1_000.0


async def authenticator(**settings: Any) -> TokenAuthenticator:
    keys = SharedSecret(secret=SECRET)
    source = KeySource(keys)
    await source.load()
    return TokenAuthenticator(JwtSettings(keys=keys, **settings), source, lambda: NOW)


async def decide(claims: dict[str, Any], **settings: Any) -> Bearer | Refused | None:
    return (await authenticator(**settings)).decide("dev-1", "alice", signed(claims))


async def test_a_bearer_is_described() -> None:
    assert await decide({}) == Bearer("alice", False, None, TokenRights())
    assert await decide({"exp": 1_001, "is_superuser": True}) == Bearer("alice", True, 1_001.0, TokenRights())
    assert await decide({"exp": 1_001}, disconnect_after_expire=False) == Bearer("alice", False, None, TokenRights())
    assert await decide({"exp": 10**14}) == Bearer("alice", False, None, TokenRights())


@pytest.mark.parametrize(
    ("claim", "expected"), [(True, True), ("true", True), (False, False), ("yes", False), (1, False), ([True], False)]
)
async def test_superusers(claim: object, expected: bool) -> None:
    answer = await decide({"is_superuser": claim})
    assert isinstance(answer, Bearer)
    assert answer.superuser is expected


@pytest.mark.parametrize(
    ("templates", "claims", "accepted"),
    [
        ({"username": "${username}"}, {"username": "alice"}, True),
        ({"username": "${username}"}, {"username": "bob"}, False),
        ({"username": "${username}"}, {}, False),
        ({"username": "${username}"}, {"username": ["alice"]}, False),
        ({"c": "${clientid}"}, {"c": "dev-1"}, True),
        ({"c": "x-${clientid}-${username}"}, {"c": "x-dev-1-alice"}, True),
        ({"aud": "broker", "level": "3", "on": "true"}, {"aud": "broker", "level": 3, "on": True}, True),
        ({"aud": "broker", "level": "3"}, {"aud": "broker"}, False),
        ({"aud": ""}, {}, False),
        ({"aud": "None"}, {"aud": None}, False),
        ({"c": "${cert}"}, {"c": "${cert}"}, True),
    ],
)
async def test_claims_that_must_be_there(templates: dict[str, str], claims: dict[str, Any], accepted: bool) -> None:
    answer = await decide(claims, verify_claims=templates)
    assert isinstance(answer, Bearer if accepted else Refused)


async def test_a_missing_value_fits_no_claim() -> None:
    asked = await authenticator(verify_claims={"c": "${clientid}"})
    assert isinstance(asked.decide("", "alice", signed({"c": ""})), Refused)


async def test_what_it_has_no_opinion_on() -> None:
    asked = await authenticator()
    for password in (None, b"", b"password", b"a.b.c", signed({}, "another secret"), b"x" * 70_000):
        assert asked.decide("dev-1", "alice", password) is None


@pytest.mark.parametrize("claims", [{"exp": 1_000}, {"nbf": 1_001}, {"iat": 1_001}, {"exp": "x"}, {"acl": 1}])
async def test_genuine_tokens_that_let_nobody_in(claims: dict[str, Any]) -> None:
    answer = await decide(claims)
    assert isinstance(answer, Refused)
    assert answer.log


async def test_a_token_as_the_user_name_is_not_shown_as_a_name() -> None:
    asked = await authenticator(source="username")
    token = signed({"username": "alice"}).decode()
    answer = asked.decide("dev-1", token, None)
    assert isinstance(answer, Bearer)
    assert answer.username == "alice"
    for claims, name in (({"sub": "s"}, "s"), ({}, "dev-1"), ({"username": 1}, "dev-1"), ({"sub": "a\n"}, "dev-1")):
        answer = asked.decide("dev-1", signed(claims).decode(), b"x")
        assert isinstance(answer, Bearer)
        assert answer.username == name
    assert asked.decide("dev-1", "alice", token.encode()) is None
    assert asked.decide("dev-1", None, token.encode()) is None


ALICE = ClientFacts("dev-1", "alice", "127.0.0.1")


def decides(claim: object, operation: int, topic: str, qos: int = 0, retain: bool = False) -> bool:
    """Decide where nothing else than the token and a default, which allows, has anything to say."""
    rights = TokenRightsReader().read(claim)
    layers = () if rights.policy is None else (Layer("token", "", rights.policy),)
    allowed = dict.fromkeys((PUBLISH, RECEIVE, SUBSCRIBE), True)
    return build_access(1, layers, ALICE, allowed, confined=rights.final).decide(operation, topic, qos, retain)


def test_the_old_form_allows_what_it_names_and_nothing_else() -> None:
    claim = {"pub": ["p/${username}"], "sub": ["s/#"], "all": ["a/+"]}
    assert decides(claim, PUBLISH, "p/alice")
    assert not decides(claim, PUBLISH, "p/bob")
    assert not decides(claim, SUBSCRIBE, "p/alice")
    assert decides(claim, SUBSCRIBE, "s/1")
    assert not decides(claim, PUBLISH, "s/1")
    assert decides(claim, PUBLISH, "a/1")
    assert decides(claim, SUBSCRIBE, "a/1")
    assert not decides(claim, SUBSCRIBE, "elsewhere")
    assert not decides({}, PUBLISH, "elsewhere")


def test_the_new_form_leaves_the_rest_to_others() -> None:
    claim = [
        {"permission": "deny", "action": "publish", "topic": "t/1", "qos": [1, 2]},
        {"permission": "deny", "action": "publish", "topics": ["t/2", "t/3"], "retain": True},
        {"permission": "deny", "action": "subscribe", "topic": "eq t/#"},
        {"permission": "deny", "action": "pub", "topic": "n/#", "ipaddr": "10.0.0.0/8"},
        {"permission": "deny", "action": "all", "topic": "q/#", "qos": "1,2", "retain": "all"},
    ]
    assert decides(claim, PUBLISH, "t/1", 0)
    assert not decides(claim, PUBLISH, "t/1", 1)
    assert not decides(claim, PUBLISH, "t/3", 0, True)
    assert decides(claim, PUBLISH, "t/3", 0, False)
    assert not decides(claim, SUBSCRIBE, "t/#")
    assert decides(claim, SUBSCRIBE, "t/1")
    assert decides(claim, PUBLISH, "n/1")
    assert not decides(claim, PUBLISH, "q/1", 2)
    assert decides(claim, PUBLISH, "elsewhere")
    assert decides(None, PUBLISH, "elsewhere")


RULE = {"permission": "allow", "action": "all", "topic": "t"}


@pytest.mark.parametrize(
    "claim",
    [
        1,
        "all",
        {"pub": "t"},
        {"pub": [1]},
        {"publish": ["t"]},
        {"pub": ["a/#/b"]},
        ["t"],
        [{}],
        [RULE | {"permission": "maybe"}],
        [RULE | {"action": "receive"}],
        [RULE | {"action": ["all"]}],
        [RULE | {"topic": 1}],
        [RULE | {"topics": "t"}],
        [RULE | {"qos": 3}],
        [RULE | {"qos": []}],
        [RULE | {"retain": 1}],
        [RULE | {"retain": {}}],
        [RULE | {"unknown": 1}],
        [RULE | {"ipaddr": "here"}],
        [RULE | {"clientid_re": 1}],
        [RULE | {"topic": "$share/g/t"}],
        [RULE | {"topic": "${nobody}"}],
        [RULE | {"clientid_re": f"^{number}$"} for number in range(MAX_EXPRESSIONS + 1)],
        [RULE] * 1_001,
    ],
)
def test_rights_that_are_none(claim: object) -> None:
    with pytest.raises(Invalid):
        TokenRightsReader().read(claim)


def test_rights_of_the_same_rules_are_compiled_once() -> None:
    reader = TokenRightsReader()
    assert reader.read([RULE]) is reader.read([dict(RULE)])
    assert reader.read([RULE]) is not reader.read([RULE, RULE])


@pytest.mark.parametrize("claim", [None, {"pub": ["t/é"]}, [RULE], [RULE | {"ipaddr": "10.0.0.0/8", "retain": True}]])
def test_rights_are_the_same_again_by_their_text(claim: object) -> None:
    reader = TokenRightsReader()
    rights = reader.read(claim)
    assert reader.restore(rights.text) is rights
    again = TokenRightsReader().restore(rights.text)
    assert (again.text, again.final, again.policy is None) == (rights.text, rights.final, rights.policy is None)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"publish": ["t"]}', "[" * 100_000, "\ud800"])
def test_rights_that_cannot_be_read_any_more_allow_nothing(text: str) -> None:
    rights = TokenRightsReader().restore(text)
    assert (rights.final, rights.text) == (True, text)
    assert rights.policy is not None and rights.policy.operations == 0
