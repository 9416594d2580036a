"""Random writes to the credential store, and after each of them every decision of the live broker compared.

What the broker does, with all that it remembers, must be what a decision made from nothing says.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

import pytest
from wardenmq.broker.routing.topics import matches, split_share
from wardenmq.store.acl.access import ClientAccess
from wardenmq.store.directory import Directory
from wardenmq.store.records import PUBLISH, RECEIVE, SUBSCRIBE, RoleAcl, Rule

from .guarded import Guarded, guarding
from .wire import Client, publish

TOPICS = ("a/x", "a/y", "b/x", "b/secret")
FILTERS = ("a/#", "b/+", "b/secret", "#", "$share/g/a/#", "$share/g/b/+")
USERS = ("alice", "bob", "carol")
STEPS = 120


@dataclass
class Member:
    """One client, what it should be subscribed to, and what it should be sent."""

    username: str | None
    client: Client
    client_id: str
    subscribed: dict[str, int] = field(default_factory=dict[str, int])


class History:
    """Write at random, and look after each write."""

    def __init__(self, guarded: Guarded, random: Random) -> None:
        self.guarded = guarded
        self.random = random
        self.members: list[Member] = []
        self.retained: dict[str, bytes] = {}
        self.sent = self.allowed = self.reached = 0

    @property
    def directory(self) -> Directory:
        return self.guarded.directory

    def access(self, member: Member) -> ClientAccess:
        """Decide from nothing."""
        identity = self.guarded.session(member.client_id).identity
        return self.directory.access(
            identity.client_id,
            identity.username,
            identity.principal,
            peer_host=identity.peer_host,
            listener=identity.listener,
        )

    def may_receive(self, member: Member, topic: str, qos: int) -> bool:
        access = self.access(member)
        return not access.checks_delivery or access.decide(RECEIVE, topic, qos, False)

    # Writes

    def rules(self) -> list[Rule]:
        choose = self.random.choice
        return [
            Rule(
                choose(("a/#", "b/#", "a/x", "b/secret", "+/x", "eq #", "#", "${username}/x")),
                choose(("allow", "allow", "deny")),
                choose(("publish", "subscribe", "all")),
                choose(((0, 1, 2), (0, 1, 2), (0,), (1, 2))),
                choose((None, None, True, False)),
            )
            for _ in range(self.random.randrange(4))
        ]

    def acls(self) -> list[RoleAcl]:
        kinds = ("publishClientSend", "publishClientReceive", "subscribePattern", "subscribeLiteral")
        picked = {
            (self.random.choice(kinds), self.random.choice(("a/#", "b/#", "b/secret", "#", "%u/x")))
            for _ in range(self.random.randrange(4))
        }
        return [
            RoleAcl(kind, topic, self.random.random() < 0.6, self.random.randrange(3))  # pyright: ignore
            for kind, topic in sorted(picked)
        ]

    async def write(self) -> None:
        random, directory = self.random, self.directory
        username = random.choice(USERS)
        kinds: list[Callable[[], Awaitable[object]]] = [
            lambda: directory.set_rules("username", username, self.rules()),
            lambda: directory.set_rules("clientid", random.choice(self.members).client_id, self.rules()),
            lambda: directory.set_rules("all", "", self.rules()),
            lambda: directory.set_default_access(
                {operation: random.random() < 0.6 for operation in ("publish", "subscribe", "receive")}
            ),
            lambda: directory.roles.update(
                random.choice(("r0", "r1")), acls=self.acls(), allow_wildcard_subs=random.random() < 0.8
            ),
            lambda: directory.roles.grant("username", username, random.choice(("r0", "r1")), random.randrange(3)),
            lambda: directory.groups.add_member("g", username),
            lambda: directory.groups.set_anonymous(random.choice(("g", None))),
        ]
        if "r0" in directory.roles.of_login(directory.login("username", username).id):  # pyright: ignore
            kinds.append(lambda: directory.roles.revoke("username", username, "r0"))
        if username in directory.groups.get("g").members:  # pyright: ignore[reportOptionalMemberAccess]
            kinds.append(lambda: directory.groups.remove_member("g", username))
        await random.choice(kinds)()

    # Looking

    def look_at_subscriptions(self) -> None:
        """Expect those that are no longer allowed to be gone, and only those."""
        for member in self.members:
            access = self.access(member)
            member.subscribed = {
                name: qos for name, qos in member.subscribed.items() if access.decide(SUBSCRIBE, name, qos, False)
            }
            assert set(self.guarded.session(member.client_id).subscriptions) == set(member.subscribed)

    async def subscribe(self) -> None:
        """Have everybody ask for something, and be sent what is retained."""
        for member in self.members:
            access = self.access(member)
            name, qos = self.random.choice(FILTERS), self.random.randrange(2)
            expected = qos if access.decide(SUBSCRIBE, name, qos, False) else 0x80
            assert await member.client.subscribe((name, qos)) == [expected], (member, name, qos)
            got = await self.drain(member)
            if expected == 0x80:
                assert got == []
                continue
            member.subscribed[name] = qos
            inner = split_share(name)[1]
            assert sorted(got) == sorted(
                payload
                for topic, payload in self.retained.items()
                if inner == name and matches(name, topic) and self.may_receive(member, topic, qos)
            )

    async def drain(self, member: Member) -> list[bytes]:
        """Take and acknowledge all that came."""
        await member.client.ping()
        got = list(member.client._waiting)
        member.client._waiting.clear()
        for message in got:
            await member.client.complete(message)
        return [message.payload for message in got]

    async def publish(self, sender: Member, topic: str, qos: int, retain: bool) -> list[bytes]:
        """Publish three messages, at QoS 0 as one run, and give their payloads."""
        self.sent += 3
        words = [b"%04d" % (self.sent - number) for number in (2, 1, 0)]
        if qos:
            for word in words:
                await sender.client.publish(topic, word, qos, retain=retain)
        else:
            sender.client.send(*(publish(topic, word, retain=retain) for word in words))
            await sender.client.ping()
        return words

    async def look_at_publishes(self) -> None:
        for sender in self.members:
            topic, qos, retain = self.random.choice(TOPICS), self.random.randrange(3), self.random.random() < 0.3
            allowed = self.access(sender).decide(PUBLISH, topic, qos, retain)
            words = await self.publish(sender, topic, qos, retain)
            expected: dict[str, list[bytes]] = {member.client_id: [] for member in self.members}
            if allowed:
                self.allowed += 1
                if retain:
                    self.retained[topic] = words[-1]
                for member in self.members:
                    plain = [granted for name, granted in member.subscribed.items() if matches(name, topic)]
                    if plain and self.may_receive(member, topic, max(plain)):
                        expected[member.client_id] = words
            came = {member.client_id: sorted(await self.drain(member)) for member in self.members}
            self.reached += sum(map(len, came.values()))
            for name in ("$share/g/a/#", "$share/g/b/+"):
                if allowed and matches(split_share(name)[1], topic):
                    self.take_shared(name, topic, words, came, expected)
            assert came == expected, (topic, qos, retain, allowed)

    def take_shared(
        self, name: str, topic: str, words: list[bytes], came: dict[str, list[bytes]], expected: dict[str, list[bytes]]
    ) -> None:
        """Take out what came by a shared subscription: each word once, to a member that may have it."""
        members = [
            member
            for member in self.members
            if name in member.subscribed and self.may_receive(member, topic, member.subscribed[name])
        ]
        for word in words:
            extra = [
                member
                for member in members
                if came[member.client_id].count(word) > expected[member.client_id].count(word)
            ]
            assert len(extra) == bool(members), (name, topic, word)
            for member in extra:
                came[member.client_id].remove(word)


@pytest.mark.parametrize("seed", range(6))
async def test_every_decision_is_that_of_now(seed: int) -> None:
    random = Random(seed)
    plugins = {
        "wardenmq.plugins.credentials.CredentialAuthPlugin": {"allow_anonymous": True},
        "wardenmq.plugins.topic_acl.TopicAclPlugin": {},
    }
    async with guarding(*USERS, plugins=plugins) as guarded:
        history = History(guarded, random)
        for username, client_id in (("alice", "c0"), ("alice", "c1"), ("bob", "c2"), ("carol", "c3"), (None, "c4")):
            history.members.append(Member(username, await guarded.connected(username, client_id), client_id))
        for name in ("r0", "r1"):
            await guarded.directory.roles.create(name)
        await guarded.directory.groups.create("g", roles={"r1": 0})
        for _ in range(STEPS):
            await history.write()
            history.look_at_subscriptions()
            if random.random() < 0.4:  # not each time, for a new subscription makes all routes be found anew
                await history.subscribe()
            await history.look_at_publishes()
        # A history in which nothing was allowed, or everything, would show nothing.
        assert 0.1 < history.allowed / (STEPS * len(history.members)) < 0.9
        assert history.reached > STEPS
