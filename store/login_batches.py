"""Many logins in one write: those of an import, or all the plain ones of a tenant in the place of those before."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from .audit_details import names
from .background_work import in_slices
from .database import Statement
from .errors import AlreadyExists, StoreError
from .login_changes import effect_of_change, reservations
from .login_index import StoredLogin
from .login_statements import in_bulk, insertions, replacements, secret_kind
from .login_values import NewLogin
from .logins import Logins, check_login_name
from .names import shown
from .principals import delete_credential
from .records import Change, Login
from .writer import Write, merge

FEW = 100
"""Logins that are checked and written without leaving the event loop."""


@dataclass(slots=True)
class UserReplacement:
    """Hold what becomes of a tenant's plain users."""

    before: Sequence[Login]
    removed: Sequence[Login]
    """Those that are not among the new ones, and who belonged to them."""
    stored: list[StoredLogin] = field(default_factory=list[StoredLogin])
    """As they are to be."""
    effects: list[Change] = field(default_factory=list[Change])
    """What it means for the sessions of those that stay."""
    left: set[str] = field(default_factory=set[str])
    """Names that belong to other kinds of login."""
    statements: list[Statement] = field(default_factory=list[Statement])
    apply: Callable[[], None] = lambda: None

    @property
    def detail(self) -> dict[str, object]:
        """What the audit log keeps of it."""
        known = {login.id for login in self.before}
        superusers = [stored.login for stored in self.stored if stored.login.superuser]
        return {
            "users": len(self.stored),
            "superusers": _names(superusers),
            "new users": _names(stored.login for stored in self.stored if stored.login.id not in known),
            "removed users": _names(sorted(self.removed, key=lambda login: (not login.superuser, login.login))),
            "left": len(self.left),
        }


def create_many(
    logins: Logins, news: Iterable[NewLogin], *, overwrite: bool, at: int
) -> Write[tuple[list[Login], int]]:
    """Prepare many logins in one transaction; the result: those written, and how many names were left alone.

    Of names that exist, those are left alone that are no plain logins of the same tenant, or are what they would
    become, and without `overwrite` all. Who comes without a password keeps the one that it has.
    """
    written: dict[tuple[str, str], tuple[StoredLogin, str | None]] = {}
    effects: dict[str, Change] = {}
    left = 0
    reserved: dict[str, str] = {}
    for given in in_slices(news):
        new = given
        old = logins.find(check_login_name(new.login_type, new.login), new.login)
        if old is not None and not (overwrite and _is_plain(old.login, new.tenant)):
            left += 1
            continue
        if old is not None:
            new, login = _replacement(logins, old, new, at)
            if _is_unchanged(old, new, login):
                written.pop((new.login_type, new.login), None)
                effects.pop(login.id, None)
                left += 1
                continue
            effects[login.id] = effect_of_change(old.login, login, new.secret != old.secret, at)
        else:
            login = logins.build(new, at)
        logins.check_reservation(login, reserved)
        written[new.login_type, new.login] = (StoredLogin(login, new.secret), new.public_id)
    statements: list[Statement] = []
    for stored, public_id in written.values():
        prepare = replacements if stored.login.id in effects else insertions
        statements += prepare(stored.login, stored.secret, public_id, at)
    records = [stored.login for stored, _ in written.values()]
    return Write(
        action="login.import",
        target=f"{len(records)} logins",
        statements=in_bulk(statements),
        apply=logins.change_many((), [stored for stored, _ in written.values()]),
        result=(records, left),
        change=merge(
            Change(banned_client_ids=reservations(*(login for login in records if login.id not in effects))),
            *effects.values(),
        ),
        detail={
            "written": len(records),
            "replaced": len(effects),
            "left": left,
            "superusers": _names(login for login in records if login.superuser),
            "replaced logins": _names(login for login in records if login.id in effects),
            "new logins": _names(login for login in records if login.id not in effects),
        },
    )


def is_there(logins: Logins, new: NewLogin, at: int) -> bool:
    """Tell whether a plain login is already what this one would make of it."""
    old = logins.find(check_login_name(new.login_type, new.login), new.login)
    if old is None or not _is_plain(old.login, new.tenant):
        return False
    try:
        return _is_unchanged(old, *_replacement(logins, old, new, at))
    except StoreError:
        return False


def _replacement(logins: Logins, old: StoredLogin, new: NewLogin, at: int) -> tuple[NewLogin, Login]:
    """Say what is written in the place of a login, and what it becomes; raise as `Logins.check` does."""
    if new.secret is None:
        new = replace(new, secret=old.secret, secret_expires_at=old.login.secret_expires_at)
    login = _in_place_of(old.login, logins.build(new, at))
    logins.check(login)
    return new, login


def _is_unchanged(old: StoredLogin, new: NewLogin, login: Login) -> bool:
    return new.public_id is None and (login, new.secret) == (old.login, old.secret)


def replace_users(logins: Logins, news: Iterable[NewLogin], tenant: str, at: int) -> UserReplacement:
    """Plan these users in the place of all plain ones of a tenant; those that stay keep what no file has."""
    before = {login.login: login for login in logins.of_type("username") if _is_plain(login, tenant)}
    users = [replace(new, login_type="username", tenant=tenant) for new in news]
    wanted = {new.login for new in users}
    staying = {login.id for name, login in before.items() if name in wanted}
    gone = [login.id for login in before.values() if login.id not in staying]
    removed = logins.with_children(gone, but=staying)
    plan = UserReplacement([*before.values()], logins.records(removed))
    seen: set[str] = set()
    reserved: dict[str, str] = {}
    for new in users:
        if new.login in seen:
            raise AlreadyExists(f"The user name '{shown(new.login)}' is there twice.")
        seen.add(new.login)
        check_login_name("username", new.login)
        old = logins.find("username", new.login)
        if old is not None and new.login not in before:
            plan.left.add(new.login)
            continue
        login = logins.build(new, at)
        if old is not None:
            login = _user_in_place_of(old.login, login, removed, has_secret=new.secret is not None)
            if new.secret is None:  # the end of a password goes with it
                login = replace(login, secret_expires_at=None)
            logins.check(login)
        logins.check_reservation(login, reserved)
        stored = StoredLogin(login, new.secret)
        plan.stored.append(stored)
        if old is None:
            plan.statements += insertions(login, new.secret, None, at)
            continue
        if new.secret is None:
            plan.statements.append(delete_credential(login.id, secret_kind(login.kind)))
        plan.statements += replacements(login, new.secret, None, at)
        plan.effects.append(effect_of_change(old.login, login, old.secret != new.secret, at))
    plan.apply = logins.change_many(removed, plan.stored)
    return plan


def _in_place_of(old: Login, new: Login) -> Login:
    """Let a login take the place of another, which keeps what no file knows: none may loosen what somebody tied."""
    return replace(
        new,
        id=old.id,
        created_at=old.created_at,
        disabled_at=new.disabled_at and (old.disabled_at or new.disabled_at),
        paused_at=old.paused_at,
        confined=old.confined,
        can_publish=old.can_publish,
        can_subscribe=old.can_subscribe,
        parent=old.parent if new.parent is None else new.parent,
    )


def _user_in_place_of(old: Login, new: Login, removed: Collection[str], *, has_secret: bool) -> Login:
    login = replace(_in_place_of(old, new), superuser=old.superuser, expires_at=old.expires_at, parent=old.parent)
    if old.parent in removed:
        login = replace(login, parent=None)
    if new.clientid is None and old.clientid_mode in ("reserved", "per_connection"):
        # Both let it have any client id, which is all that its file says.
        login = replace(login, clientid=old.clientid, clientid_mode=old.clientid_mode)
    if has_secret and new.secret_expires_at is None:
        login = replace(login, secret_expires_at=old.secret_expires_at)
    return login


def _is_plain(login: Login, tenant: str) -> bool:
    """Tell whether a login is one that files may replace: no other facade's, and no other organization's."""
    return login.kind == "mqtt_client" and login.tenant == tenant


def _names(logins: Iterable[Login]) -> list[str]:
    return names(f"{login.login_type}:{login.login}" for login in logins)
