"""Credential stores to measure with: many logins with argon2 passwords, and as many rules."""

import asyncio
import base64
import os
from pathlib import Path

from argon2.low_level import Type, hash_secret
from wardenmq.store.credentials.scram import MIN_ITERATIONS, derive_keys
from wardenmq.store.credentials.stored_secrets import HOUSE_MEMORY_KIB, HOUSE_ROUNDS, StoredSecret
from wardenmq.store.directory import Directory
from wardenmq.store.login_values import NewLogin
from wardenmq.store.records import Rule

PASSWORD = "bench-password"
BATCH = 1_000
WATCHERS_FROM = 50_000
"""The users from there on subscribe to what the first ones publish."""
RULES_FOR_ALL = 9_700
"""So that some can be added: a list may have 10,000."""
RULES_OF_CLIENT_IDS = 10_000


def user(number: int) -> str:
    """Name a user."""
    return f"user-{number:06d}"


def own_rule(number: int, *, allowed: bool) -> Rule:
    """Give the one rule of a user."""
    return Rule(f"site/{user(number)}/#", "allow" if allowed else "deny", "publish")


def rules_of_watcher(number: int, *, shown: bool, zone: bool) -> list[Rule]:
    """Give the rules of a user who watches another one's topics and asks for a zone, each allowed or not."""
    return [
        Rule(f"site/{user(number)}/state", "allow" if shown else "deny", "subscribe"),
        Rule(f"zone/{number}/#", "allow" if zone else "deny", "subscribe"),
        Rule(f"site/{user(number)}/#", "allow", "subscribe"),
    ]


def hashed_password() -> StoredSecret:
    """Hash the password as the house does, SCRAM keys included, which make the rows longer."""
    salt = os.urandom(16)
    text = hash_secret(PASSWORD.encode(), salt, HOUSE_ROUNDS, HOUSE_MEMORY_KIB, 1, 32, Type.ID)
    return StoredSecret("argon2id", text, scram=derive_keys(PASSWORD.encode(), salt, MIN_ITERATIONS))


async def build(path: Path, principals: int, rules: int, own_hashes: int = 0) -> None:
    """Write the logins and rules through the directory; the first `own_hashes` have a hash of their own.

    Each rule belongs to another user name, but for those of client ids and for the one long list for all.
    """
    directory = await Directory.open(path, scram_iterations=0)
    shared = hashed_password()
    try:
        for first in range(0, principals, BATCH):
            numbers = range(first, min(first + BATCH, principals))
            secrets = {number: hashed_password() for number in numbers if number < own_hashes}
            await directory.import_logins(
                [
                    NewLogin(login_type="username", login=user(number), secret=secrets.get(number, shared))
                    for number in numbers
                ]
            )
        for_all = min(RULES_FOR_ALL, rules // 10)
        of_client_ids = min(RULES_OF_CLIENT_IDS, rules // 10)
        of_users = rules - for_all - of_client_ids
        await directory.set_rules(
            "all", "", [Rule(f"common/{number}/+/${{clientid}}/#", "allow", "all") for number in range(for_all)]
        )
        for first in range(0, of_users, BATCH):
            numbers = range(first, min(first + BATCH, of_users))
            await directory.create_rules(
                "username", [(user(number), [own_rule(number, allowed=True)]) for number in numbers]
            )
        for first in range(0, of_client_ids, BATCH):
            numbers = range(first, min(first + BATCH, of_client_ids))
            await directory.create_rules(
                "clientid", [(f"device-{number}", [Rule("device/${clientid}/#", "allow", "all")]) for number in numbers]
            )
    finally:
        await directory.close()


def build_store(path: Path, principals: int, rules: int, own_hashes: int = 0) -> None:
    """Build a store in an event loop of its own."""
    asyncio.run(build(path, principals, rules, own_hashes))


def a_token() -> str:
    """Give a text that nobody has seen."""
    return base64.b32encode(os.urandom(10)).decode()
