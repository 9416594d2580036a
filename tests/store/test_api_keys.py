"""API keys, dashboard users and operators' tokens."""

from pathlib import Path

import pytest
from wardenmq.store.api_keys import MAX_API_KEYS
from wardenmq.store.directory import Directory
from wardenmq.store.errors import AlreadyExists, Invalid, NotFound

from .argon2_gate import Argon2Gate
from .test_authentication import settle


async def test_a_generated_key_opens_and_nothing_else_does(directory: Directory) -> None:
    key, secret = await directory.create_api_key("first", "viewer", description="for reading")
    other, other_secret = await directory.create_api_key("second")
    assert (key.name, key.role, key.enabled, key.description) == ("first", "viewer", True, "for reading")
    assert other.role == "administrator"
    assert len(key.api_key) == 16
    assert len(secret) == 43  # 256 bits in base 62
    assert directory.verify_api_key(key.api_key, secret) == key
    for wrong in (other_secret, secret[:-1], secret + "0", "", "\ud800", "x" * 100_000):
        assert directory.verify_api_key(key.api_key, wrong) is None
    assert directory.verify_api_key(other.api_key, secret) is None
    assert directory.verify_api_key("first", secret) is None
    assert directory.api_keys() == [key, other]


async def test_both_halves_can_be_supplied(directory: Directory) -> None:
    key, secret = await directory.create_api_key("mine", api_key="app_id", secret="app secret")
    assert (key.api_key, secret) == ("app_id", "app secret")
    assert directory.verify_api_key("app_id", "app secret") == key
    assert directory.verify_api_key("app_id", "app-secret") is None
    with pytest.raises(AlreadyExists):
        await directory.create_api_key("other", api_key="app_id")


async def test_a_key_is_refused_while_disabled_and_once_expired() -> None:
    now = 1_000.0
    directory = await Directory.open(":memory:", clock=lambda: now)
    key, secret = await directory.create_api_key("key", expires_at=1_010.0)
    assert directory.verify_api_key(key.api_key, secret) == key
    now = 1_010.0
    assert directory.verify_api_key(key.api_key, secret) is None
    changed = await directory.update_api_key("key", expires_at=None, role="publisher")
    assert directory.verify_api_key(key.api_key, secret) == changed
    assert (changed.expires_at, changed.role) == (None, "publisher")
    await directory.update_api_key("key", enabled=False)
    assert directory.verify_api_key(key.api_key, secret) is None
    await directory.update_api_key("key", enabled=True)
    assert directory.verify_api_key(key.api_key, secret) == changed
    await directory.delete_api_key("key")
    assert directory.verify_api_key(key.api_key, secret) is None
    assert directory.api_keys() == []
    await directory.close()


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": ""},
        {"name": "1st"},
        {"name": "a b"},
        {"name": "key\n"},
        {"name": "x" * 257},
        {"name": "key", "role": "root"},
        {"name": "key", "api_key": "a:b"},
        {"name": "key", "api_key": ""},
        {"name": "key", "secret": ""},
        {"name": "key", "description": "x" * 10_001},
    ],
)
async def test_what_is_no_key_is_refused(directory: Directory, arguments: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        await directory.create_api_key(**arguments)
    assert directory.api_keys() == []


async def test_names_are_unique_and_keys_limited(directory: Directory) -> None:
    for number in range(MAX_API_KEYS):
        await directory.create_api_key(f"key-{number}")
    with pytest.raises(AlreadyExists):
        await directory.create_api_key("key-0")
    with pytest.raises(Invalid, match="more than 100"):
        await directory.create_api_key("one-more")
    with pytest.raises(NotFound):
        await directory.delete_api_key("one-more")
    with pytest.raises(NotFound):
        await directory.update_api_key("one-more", enabled=False)


async def test_tokens_open_their_own_door(directory: Directory) -> None:
    bunkerm, operator = await directory.create_bunkerm_key(), await directory.create_operator_token()
    assert operator.startswith("isr_mqtt_platform_rest_")
    assert directory.verify_bunkerm_key(bunkerm)
    assert directory.verify_operator_token(operator)
    assert not directory.verify_bunkerm_key(operator)
    assert not directory.verify_operator_token(bunkerm)
    for wrong in ("", operator[:-1], "\ud800"):
        assert not directory.verify_operator_token(wrong)


async def test_a_dashboard_user_is_no_mqtt_login(directory: Directory) -> None:
    await directory.create_dashboard_user("admin", "public")
    assert directory.logins("username") == []
    assert (await settle(directory.authenticate("c", "admin", b"public"))).outcome.name == "WRONG"
    await directory.create_login("username", "admin", "mqtt")  # nor does it take the name
    with pytest.raises(AlreadyExists):
        await directory.create_dashboard_user("admin", "other")
    with pytest.raises(Invalid):
        await directory.create_dashboard_user("", "other")


async def test_all_of_it_survives_a_restart(tmp_path: Path, gate: Argon2Gate) -> None:
    path = tmp_path / "wardenmq.db"
    directory = await Directory.open(path)
    generated, generated_secret = await directory.create_api_key("generated", "publisher", expires_at=4e9)
    supplied, supplied_secret = await directory.create_api_key("supplied", api_key="id", secret="chosen")
    disabled, disabled_secret = await directory.create_api_key("disabled")
    await directory.update_api_key("disabled", enabled=False, description="off")
    bunkerm, operator = await directory.create_bunkerm_key(), await directory.create_operator_token()
    await directory.create_dashboard_user("admin", "public")
    keys = directory.api_keys()
    await directory.close()

    again = await Directory.open(path)
    assert again.api_keys() == keys
    assert again.verify_api_key(generated.api_key, generated_secret) == generated
    assert again.verify_api_key(supplied.api_key, supplied_secret) == supplied
    assert again.verify_api_key(disabled.api_key, disabled_secret) is None
    assert again.verify_bunkerm_key(bunkerm)
    assert again.verify_operator_token(operator)
    assert again.logins("username") == []
    with pytest.raises(AlreadyExists):
        await again.create_dashboard_user("admin", "public")
    await again.close()


@pytest.mark.parametrize("end", [float("nan"), float("inf"), -float("inf"), -1.0, 1e18])
async def test_an_end_that_is_no_time_is_refused(directory: Directory, end: float) -> None:
    with pytest.raises(Invalid):
        await directory.create_api_key("key", expires_at=end)
    assert directory.api_keys() == []
    key, _ = await directory.create_api_key("key", expires_at=4e9)
    with pytest.raises(Invalid):
        await directory.update_api_key("key", expires_at=end)
    assert directory.api_keys() == [key]
