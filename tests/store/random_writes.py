"""Writes of every kind, chosen at random: good ones and ones that must be refused."""

from collections.abc import Awaitable, Callable
from itertools import count
from random import Random
from typing import TypeVar, get_args

from wardenmq.store.access_replacement import AccessConfiguration
from wardenmq.store.credentials.stored_secrets import StoredSecret, store_token
from wardenmq.store.directory import Directory
from wardenmq.store.errors import DatabaseUnavailable, StoreError
from wardenmq.store.login_values import NewLogin
from wardenmq.store.records import (
    AclType,
    Action,
    Condition,
    Group,
    LoginKind,
    OrgRole,
    Permission,
    Role,
    RoleAcl,
    Rule,
)

from .restarts import BY_SQLITE, facts, rows

T = TypeVar("T")

USERS = [f"u{n}" for n in range(5)]
DEVICES = ["d0", "d1", "c"]
ROLES = [f"r{n}" for n in range(4)]
GROUPS = [f"g{n}" for n in range(3)]
TENANTS = ["default", "t0", "t1"]
RULE_TOPICS = ["a", "a/b", "a/#", "+/b", "#", "eq a/#", "u/${username}/#", "x${clientid}", "$SYS/#"]
ACL_TOPICS = ["a", "a/b", "a/#", "+/b", "#", "u/%u/#", "%c/+"]
TOPICS = ["a", "a/b", "b/b", "u/u0/x", "u/u1/x", "xc", "c/y", "$SYS/x", "z"]
FILTERS = [*TOPICS, "a/#", "+/b", "#", "u/u0/#", "$share/g/a/#"]


class RandomWriter:
    """Write to a directory; the same seed gives the same writes."""

    def __init__(self, directory: Directory, seed: int) -> None:
        self._directory = directory
        self._random = Random(seed)
        self._tokens = count()
        self.done = 0
        self.refused = 0

    async def write(self) -> None:
        """Try one write; where it is refused, assert that nothing has changed."""
        before = facts(self._directory), await rows(self._directory)
        parts: list[Callable[[], Awaitable[object]]]
        parts = [self._login, self._rules, self._role, self._group, self._tenant, self._integration, self._other]
        part = self._random.choice([self._login, *parts])
        try:
            await part()
        except StoreError as error:
            # That it was SQLite which refused would mean that nobody had looked.
            assert not isinstance(error, DatabaseUnavailable), error.message
            assert not error.message.startswith(BY_SQLITE), error.message
            self.refused += 1
            assert (facts(self._directory), await rows(self._directory)) == before
        else:
            self.done += 1

    def _one(self, things: list[T]) -> T:
        return self._random.choice(things)

    def _chance(self, part: float = 0.5) -> bool:
        return self._random.random() < part

    def _priorities(self, names: list[str]) -> dict[str, int]:
        return {name: self._random.randrange(-2, 3) for name in names if self._chance(0.4)}

    def _secret(self) -> StoredSecret | None:
        return store_token(f"token {next(self._tokens)}") if self._chance(0.8) else None

    def _end(self) -> float | None:
        return self._one([None, 1.5, 4_102_444_800.25])

    def _rule(self) -> Rule:
        return Rule(
            self._one(RULE_TOPICS),
            self._one([*get_args(Permission)]),
            self._one([*get_args(Action)]),
            self._one([(0, 1, 2), (0,), (1, 2)]),
            self._one([None, None, True, False]),
            self._one([None, None, Condition(ipaddr="10.0.0.0/8"), Condition(username_re="^u[01]")]),
        )

    def _some_rules(self) -> list[Rule]:
        return [self._rule() for _ in range(self._random.randrange(4))]

    def _acl(self) -> RoleAcl:
        return RoleAcl(
            self._one([*get_args(AclType)]), self._one(ACL_TOPICS), self._chance(), self._random.randrange(-2, 3)
        )

    def _acls(self) -> tuple[RoleAcl, ...]:
        acls = {(acl.acltype, acl.topic): acl for acl in (self._acl() for _ in range(self._random.randrange(5)))}
        return tuple(acls.values())

    def _name(self) -> tuple[str, str]:
        return ("username", self._one(USERS)) if self._chance(0.7) else ("clientid", self._one(DEVICES))

    async def _login(self) -> None:
        directory, (kind, name) = self._directory, self._name()
        known = [login.id for login in directory.logins("username")]
        match self._random.randrange(6):
            case 0 | 1 | 2:
                mode = self._one(["any", "any", "reserved", "required", "per_connection"])
                await directory.create_login(
                    kind,
                    name,
                    None,
                    self._chance(0.1),
                    secret=self._secret(),
                    tenant=self._one(TENANTS),
                    kind=self._one([*get_args(LoginKind)]),
                    clientid=self._one([None, "c", "e"]) if kind == "username" else None,
                    clientid_mode=mode,
                    confined=self._chance(0.3),
                    can_publish=self._chance(0.8),
                    can_subscribe=self._chance(0.8),
                    disabled=self._chance(0.1),
                    expires_at=self._end(),
                    secret_expires_at=self._end(),
                    parent=self._one([None, None, None, *known]),
                    roles=self._priorities(ROLES) if self._chance(0.3) else {},
                    groups=self._priorities(GROUPS) if self._chance(0.3) else {},
                )
            case 3:
                change = self._one(
                    [
                        {"paused": self._chance()},
                        {"disabled": self._chance()},
                        {"superuser": self._chance()},
                        {"can_publish": self._chance()},
                        {"can_subscribe": self._chance()},
                        {"secret": self._secret(), "secret_expires_at": self._end()},
                        {"expires_at": self._end(), "label": "l"},
                        {"clientid": self._one([None, "c", "e"])},
                        {"clientid_mode": self._one(["any", "reserved", "required", "per_connection"])},
                        {"parent": self._one([None, *known])},
                    ]
                )
                await directory.update_login(kind, name, **change)  # type: ignore[arg-type]
            case 4:
                await directory.delete_login(kind, name)
            case _:
                news = [self._new(*self._name()) for _ in range(self._random.randrange(4))]
                await directory.import_logins(news, overwrite=self._chance())

    def _new(self, kind: str, name: str) -> NewLogin:
        values = {"clientid": "e", "clientid_mode": "reserved"} if kind == "username" and self._chance(0.2) else {}
        return NewLogin(
            login_type=kind,
            login=name,
            secret=self._secret(),
            superuser=self._chance(0.1),
            disabled=self._chance(0.2),
            expires_at=self._end(),
            secret_expires_at=self._end(),
            **values,  # type: ignore[arg-type]
        )

    async def _rules(self) -> None:
        directory = self._directory
        kind, name = self._one([("all", ""), ("username", self._one(USERS)), ("clientid", self._one(DEVICES))])
        match self._random.randrange(8):
            case 0 | 1 | 2 | 3:
                await directory.set_rules(kind, name, self._some_rules())
            case 4:
                await directory.create_rules(kind, [(name, self._some_rules()) for _ in range(self._one([1, 1, 2]))])
            case 5:
                await directory.delete_rules(kind, name)
            case 6:
                await directory.set_no_match(self._one([*get_args(Permission)]))
            case _:
                operation = self._one(["publish", "receive", "subscribe", "unsubscribe", "everything"])
                await directory.set_default_access({operation: self._chance()})

    async def _role(self) -> None:
        roles, name, acl = self._directory.roles, self._one(ROLES), self._acl()
        match self._random.randrange(9):
            case 0 | 1:
                await roles.create(name, allow_wildcard_subs=self._chance(0.8), acls=self._acls())
            case 2:
                await roles.update(name, acls=self._acls(), text_name="n")
            case 3:
                await roles.update(name, allow_wildcard_subs=self._chance())
            case 4:
                await roles.add_acl(name, acl)
            case 5:
                await roles.remove_acl(name, acl.acltype, acl.topic)
            case 6:
                await roles.grant(*self._name(), name, self._random.randrange(-2, 3))
            case 7:
                await roles.revoke(*self._name(), name)
            case _:
                await roles.delete(name)

    async def _group(self) -> None:
        groups, name, username, role = self._directory.groups, self._one(GROUPS), self._one(USERS), self._one(ROLES)
        match self._random.randrange(9):
            case 0 | 1:
                await groups.create(name, roles=self._priorities(ROLES), members=self._priorities(USERS))
            case 2:
                await groups.update(name, members=self._priorities(USERS))
            case 3:
                await groups.update(name, roles=self._priorities(ROLES), text_name="n")
            case 4:
                await groups.add_member(name, username, self._random.randrange(-2, 3))
            case 5:
                await groups.remove_member(name, username)
            case 6:
                await groups.add_role(name, role, self._random.randrange(-2, 3))
            case 7:
                await groups.remove_role(name, role)
            case _:
                if self._chance():
                    await groups.set_anonymous(self._one([None, *GROUPS]))
                else:
                    await groups.delete(name)

    async def _tenant(self) -> None:
        tenants, name = self._directory.tenants, self._one(TENANTS)
        match self._random.randrange(6):
            case 0 | 1 | 2:
                await tenants.create(name, display_name="d")
            case 3 | 4:
                await tenants.update(name, enabled=self._chance(0.8))
            case _:
                await tenants.delete(name)

    async def _integration(self) -> None:
        integrations, key = self._directory.integrations, self._one(USERS)
        known = [each.id for tenant in self._directory.tenants.all() for each in integrations.of_tenant(tenant.name)]
        some = self._one([*known, "nosuch"])
        match self._random.randrange(8):
            case 0 | 1:
                await integrations.create(self._one(TENANTS), state=self._one(["active", "inactive"]))
            case 2:
                await integrations.update(some, state=self._one(["active", "inactive", "on"]))
            case 3 | 4:
                await integrations.link(some, key)
            case 5:
                await integrations.unlink(some, key)
            case 6:
                await integrations.assign_role(key, self._one([*get_args(OrgRole), "MqttIntegrator"]))
            case _:
                if self._chance():
                    await integrations.unassign_role(key, "MqttIntegrator")
                else:
                    await integrations.delete(some)

    async def _other(self) -> None:
        directory = self._directory
        match self._random.randrange(5):
            case 0 | 1 | 2:
                who = self._one([("username", "u0"), ("clientid_re", "^d"), ("peerhost_net", "10.0.0.0/8")])
                if self._chance(0.7):
                    await directory.bans.create(*who, until=self._one([None, 4_102_444_800.5, 1.0]))
                else:
                    await directory.bans.delete(*who)
            case 3:
                await directory.create_api_key(self._one(["k0", "k1"]))
            case _:
                await directory.replace_access(self._configuration())

    def _configuration(self) -> AccessConfiguration:
        users = [self._new("username", name) for name in USERS if self._chance()]
        roles = [Role("", name, acls=self._acls()) for name in ROLES if self._chance(0.7)]
        known = [role.name for role in roles]
        names = [user.login for user in users]
        groups = [
            Group("", name, roles=self._priorities(known), members=self._priorities(names))
            for name in GROUPS
            if self._chance(0.7)
        ]
        return AccessConfiguration(
            users,
            roles,
            groups,
            {name: self._priorities(known) for name in names},
            {"subscribe": self._chance()},
            self._one([None, *(group.name for group in groups)]),
        )
