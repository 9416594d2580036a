"""Which rules count for a client, and in which order they are asked."""

from collections.abc import Collection, Iterator

from .acl.access import ClientAccess, Layer, build_access
from .acl.client_facts import ClientFacts
from .acl.policy import Policy
from .acl.tallies import NOWHERE, Place
from .authenticators.token_rights import TokenRights
from .default_access import DefaultAccess
from .derivation import derive
from .groups import Groups
from .integrations import Integrations
from .logins import Logins
from .records import Login, Rule
from .roles import Roles
from .rules import Rules
from .sources import Sources


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
        sources: Sources,
        *,
        enforce_on_delivery: bool,
    ) -> None:
        self._logins = logins
        self._rules = rules
        self._roles = roles
        self._groups = groups
        self._integrations = integrations
        self._defaults = defaults
        self._sources = sources
        self._enforce_on_delivery = enforce_on_delivery
        self._derived: dict[str, tuple[tuple[Rule, ...], Policy]] = {}
        """By principal: what was derived last, so that it is compiled again only where it is another."""
        logins.on_forget(self._forget_principals)

    def _forget_principals(self, principals: Collection[str]) -> None:
        for principal in principals:
            self._derived.pop(principal, None)

    def build(
        self,
        generation: int,
        facts: ClientFacts,
        principal: str | None,
        previous: ClientAccess | None,
        rights: TokenRights | None = None,
    ) -> ClientAccess:
        """Return what a client may do; `previous` is what it was given before, of which is kept what still holds.

        `rights` are what a token says of its bearer, who has a name then whatever it is.
        """
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
        token = () if rights is None or rights.policy is None else (Layer("token", "", rights.policy),)
        final = rights is not None and rights.final
        return build_access(
            generation,
            token if final else (*token, *self._of(facts, login, anonymous=rights is None)),
            facts,
            self._defaults.allowed,
            confined=confined or final,
            enforce_on_delivery=self._enforce_on_delivery,
            previous=previous,
            last=NOWHERE if final else self._sources.order.last,
            limits=self._sources.limits,
        )

    def _of(self, facts: ClientFacts, login: Login | None, *, anonymous: bool) -> Iterator[Layer]:
        """Give the layers in the order of the sources; `anonymous` is whether one without a name is nobody."""
        confined = login is not None and login.confined
        order = self._sources.order
        for step, place in order.steps:
            if step == "file":
                if (policy := order.file.confined if confined else order.file.full) is not None:
                    yield Layer("file", "", policy, place)
            elif step == "names":
                yield from self._of_names(facts, place)
            elif step == "own":
                yield from self._of_login(facts, login, place, anonymous=anonymous)
            elif not confined and (policy := self._rules.policy("all", "")) is not None:
                yield Layer("all", "", policy, place)

    def _of_names(self, facts: ClientFacts, place: Place) -> Iterator[Layer]:
        if (policy := self._rules.policy("clientid", facts.client_id)) is not None:
            yield Layer("clientid", facts.client_id, policy, place)
        if facts.username is not None and (policy := self._rules.policy("username", facts.username)) is not None:
            yield Layer("username", facts.username, policy, place)

    def _of_login(self, facts: ClientFacts, login: Login | None, place: Place, *, anonymous: bool) -> Iterator[Layer]:
        if login is not None:
            if (policy := self._derived_policy(login)) is not None:
                yield Layer("derived", login.login, policy, place)
            for role in self._roles.of_login(login.id):
                if (policy := self._roles.policy(role)) is not None:
                    yield Layer("role", role, policy, place)
        if login is not None or (facts.username is None and anonymous):
            for name, policy in self._groups.policies_of(None if login is None else login.id):
                yield Layer("group", name, policy, place)

    def _derived_policy(self, login: Login) -> Policy | None:
        rules = derive(login, self._integrations.readable(login.id))
        if not rules:
            return None
        known = self._derived.get(login.id)
        if known is None or known[0] != rules:
            known = self._derived[login.id] = (rules, Policy.of_derived(rules))
        return known[1]
