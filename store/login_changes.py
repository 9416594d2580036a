"""What a login may be, what a change makes of it, and what that means for its sessions."""

from dataclasses import replace
from typing import TypeVar, cast, get_args

from .credentials.stored_secrets import SHA256_TOKEN
from .errors import Invalid
from .login_values import LoginChange
from .names import check_identifier, check_text, is_one_level, shown
from .records import LAST_SECOND, Change, ClientIdMode, Login, Unset

MAX_LABEL = 1_000
MAX_DESCRIPTION = 10_000

FIELDS = (
    "superuser",
    "disabled_at",
    "paused_at",
    "expires_at",
    "clientid",
    "clientid_mode",
    "can_publish",
    "can_subscribe",
    "parent",
    "label",
    "description",
)
"""What the audit log names of a change."""

_GIVEN = ("kind", "confined", *FIELDS)
_ORDINARY = Login("", "username", "")

T = TypeVar("T")


def check_login(login: Login) -> None:
    """Raise Invalid for values that do not go together."""
    mode = login.clientid_mode
    if mode not in get_args(ClientIdMode):
        raise Invalid("The client id mode must be 'any', 'reserved', 'required' or 'per_connection'.")
    if login.clientid is not None:
        check_identifier(login.clientid, "client id")
    elif mode in ("reserved", "required"):
        raise Invalid(f"The client id mode '{mode}' needs a client id.")
    if login.superuser and login.confined:
        raise Invalid("A superuser is exempt from rules and cannot be confined to its own.")
    if login.kind == "mqtt_client" and not (login.can_publish and login.can_subscribe):
        raise Invalid("What a plain login may publish and subscribe to is said by rules and roles, not by a switch.")
    check_text(login.label, "label", MAX_LABEL)
    check_text(login.description, "description", MAX_DESCRIPTION)
    check_identifier(login.id, "id")
    for end in (login.expires_at, login.secret_expires_at):
        if end is not None and not 0 <= end <= LAST_SECOND:
            raise Invalid("The end of a login must be between the years 1970 and 9999.")
    if login.kind == "haltian_key" and not is_one_level(login.id):
        raise Invalid("The id of an API key is a level of its topics and must not hold / + #.")
    if login.kind.startswith("portal_") and not is_one_level(login.login):
        raise Invalid("The login of a publisher or subscriber is a level of its topics and must not hold / + #.")


def detail_of(login: Login) -> dict[str, object]:
    """Say for the audit log what a new login is, where it is anything but ordinary."""
    given = {field: getattr(login, field) for field in _GIVEN if getattr(login, field) != getattr(_ORDINARY, field)}
    shortened = {field: shown(value) if isinstance(value, str) else value for field, value in given.items()}
    return {"kind": login.kind, "superuser": login.superuser, **shortened}


def changed_login(old: Login, change: LoginChange, at: int) -> Login:
    """Return the login as a change makes it."""
    now = at / 1_000_000
    disabled_at, paused_at = old.disabled_at, old.paused_at
    if change.paused is not None:
        paused_at = (paused_at or now) if change.paused else None
    if change.disabled is not None:
        disabled_at = (disabled_at or now) if change.disabled else None
        # The operator's word is final: enabling lifts the owner's switch too.
        paused_at = paused_at if change.disabled else None
    clientid = old.clientid if isinstance(change.clientid, Unset) else change.clientid
    mode = cast("ClientIdMode", _chosen(change.clientid_mode, old.clientid_mode))
    if old.login_type == "clientid" and (clientid, mode) != (old.clientid, old.clientid_mode):
        raise Invalid("The client id of a login by client id cannot be changed.")
    if change.secret is not None and old.kind == "haltian_key" and change.secret.algo != SHA256_TOKEN:
        raise Invalid("The password of an API key is a signed token; it can be renewed, not set.")
    return replace(
        old,
        superuser=_chosen(change.superuser, old.superuser),
        disabled_at=disabled_at,
        paused_at=paused_at,
        expires_at=old.expires_at if isinstance(change.expires_at, Unset) else change.expires_at,
        clientid=clientid,
        clientid_mode=mode,
        parent=old.parent if isinstance(change.parent, Unset) else change.parent,
        can_publish=_chosen(change.can_publish, old.can_publish),
        can_subscribe=_chosen(change.can_subscribe, old.can_subscribe),
        label=_chosen(change.label, old.label),
        description=_chosen(change.description, old.description),
        secret_expires_at=old.secret_expires_at if change.secret is None else change.secret_expires_at,
    )


def reservations(*logins: Login) -> frozenset[str]:
    """Return the client ids that nobody else may be connected with from now on."""
    return frozenset(
        login.clientid for login in logins if login.clientid_mode == "reserved" and login.clientid is not None
    )


def effect_of_change(old: Login, new: Login, has_new_secret: bool, at: int) -> Change:
    """Say what a change of a login means for its sessions: those are closed that would be refused as they are."""
    one = frozenset({new.id})
    reserved = dict.fromkeys(reservations(new) - reservations(old), new.id)
    ended = new.valid_until is not None and new.valid_until <= at / 1_000_000
    # Of a login that many share each session has topics of its own, which are not those that it had.
    shared = (old.clientid_mode == "per_connection") != (new.clientid_mode == "per_connection")
    must_log_in_anew = has_new_secret or old.superuser != new.superuser or shared
    if must_log_in_anew or ended or (new.disabled and not old.disabled):
        # What it left behind, such as a will that waits, is decided on anew.
        return Change(close_principals=one, principals=one, reserved_client_ids=reserved)
    ties = (new.clientid_mode, new.clientid)
    tied = new.clientid_mode == "required" and ties != (old.clientid_mode, old.clientid)
    rules_differ = (old.can_publish, old.can_subscribe) != (new.can_publish, new.can_subscribe)
    return Change(
        required_client_ids={new.id: str(new.clientid)} if tied else {},
        reserved_client_ids=reserved,
        principals=one if rules_differ else frozenset(),
        valid_until={new.id: new.valid_until} if new.valid_until != old.valid_until else {},
    )


def _chosen(value: T | None, otherwise: T) -> T:
    return otherwise if value is None else value
