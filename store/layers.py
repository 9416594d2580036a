"""Which rules count for a client, and in which order they are asked."""

from collections.abc import Collection, Iterator

from .acl.access import ClientAccess, Layer, build_access
from .acl.client_facts import ClientFacts
from .acl.policy import Policy
from .default_access import DefaultAccess
from .derivation import derive
from .groups import Groups
from .integrations import Integrations
from .logins import Logins
from .records import Login, Rule
from .roles import Roles
from .rules import Rules


class Layers:
    """Lay the compiled rules of one client over each other."""

    def __init__(
        self,
        logins: Logins,
        rules: Rules,
        roles: Roles,
        groups: Groups,
        integrations: Integrations,
        defaults: DefaultAccess,
        *,
        enforce_on_delivery: bool,
    ) -> None:
        self._logins = logins
        self._rules = rules
        self._roles = roles
        self._groups = groups
        self._integrations = integrations
        self._defaults = defaults
        self._enforce_on_delivery = enforce_on_delivery
        self._derived: dict[str, tuple[tuple[Rule, ...], Policy]] = {}
        """By principal: what was derived last, so that it is compiled again only where it is another."""
        logins.on_forget(self._forget_principals)

    def _forget_principals(self, principals: Collection[str]) -> None:
        for principal in principals:
            self._derived.pop(principal, None)

    def build(
        self, generation: int, facts: ClientFacts, principal: str | None, previous: ClientAccess | None
    ) -> ClientAccess:
        """Return what a client may do; `previous` is what it was given before, of which is kept what still holds."""
        login = None
        if principal is not None:
            stored = self._logins.by_id(principal)
            if stored is None:  # deleted a moment ago, and its sessions are about to be closed
                return build_access(generation, (), facts, self._defaults.allowed, confined=True)
            login = stored.login
            if login.login_type == "clientid":
                # Nobody proved this user name, so it gives nothing.
                facts = ClientFacts(facts.client_id, None, facts.peer_host, facts.listener)
        confined = login is not None and login.confined
        return build_access(
            generation,
            tuple(self._of(facts, login)),
            facts,
            self._defaults.allowed,
            confined=confined,
            enforce_on_delivery=self._enforce_on_delivery,
            previous=previous,
        )

    def _of(self, facts: ClientFacts, login: Login | None) -> Iterator[Layer]:
        if (policy := self._rules.policy("clientid", facts.client_id)) is not None:
            yield Layer("clientid", facts.client_id, policy)
        if facts.username is not None and (policy := self._rules.policy("username", facts.username)) is not None:
            yield Layer("username", facts.username, policy)
        if login is not None:
            if (policy := self._derived_policy(login)) is not None:
                yield Layer("derived", login.login, policy)
            for role in self._roles.of_login(login.id):
                if (policy := self._roles.policy(role)) is not None:
                    yield Layer("role", role, policy)
        if login is not None or facts.username is None:
            for name, policy in self._groups.policies_of(None if login is None else login.id):
                yield Layer("group", name, policy)
        if (login is None or not login.confined) and (policy := self._rules.policy("all", "")) is not None:
            yield Layer("all", "", policy)

    def _derived_policy(self, login: Login) -> Policy | None:
        rules = derive(login, self._integrations.readable(login.id))
        if not rules:
            return None
        known = self._derived.get(login.id)
        if known is None or known[0] != rules:
            known = self._derived[login.id] = (rules, Policy.of_derived(rules))
        return known[1]
