"""`wardenmq user`: who may connect."""

from typing import Annotated, Any, Literal

import typer

from .api import Api
from .failures import Unusable
from .importing import import_users
from .moments import HELP, end_of
from .options import (
    NO_PRIORITY,
    Disconnect,
    Like,
    LoginType,
    Priority,
    RoleName,
    Username,
    given,
    split_priorities,
    with_priorities,
)
from .output import Unprintable
from .passwords import FromFile, FromStdin, Generate, read_password
from .table import Column, column
from .verbs import noun, verb

app = noun("user", "Who may connect: logins, their passwords and roles.")

Switch = Literal["yes", "no"]
_ClientId = Annotated[str | None, typer.Option("--client-id", metavar="ID", help="See --client-id-mode.")]
_Mode = Annotated[
    Literal["any", "reserved", "required", "per_connection"] | None,
    typer.Option(
        "--client-id-mode",
        help="reserved: nobody else may use the client id; required: the user may use no other.",
    ),
]
_Expires = Annotated[str | None, typer.Option("--expires", metavar="TIME", help=f"When the login ends. {HELP}")]
_Label = Annotated[str | None, typer.Option(metavar="TEXT", help="A name for people.")]
_Description = Annotated[str | None, typer.Option(metavar="TEXT", help="A description for people.")]

_COLUMNS: list[Column] = [
    column("name", "login"),
    ("enabled", lambda row: not row["disabled"]),
    column("superuser"),
    ("roles", lambda row: _names(row["roles"])),
    ("groups", lambda row: _names(row["groups"])),
    column("expires", "expires_at"),
]
_FIELDS: list[Column] = [
    column("name", "login"),
    column("login type", "login_type"),
    column("kind"),
    column("tenant"),
    ("enabled", lambda row: not row["disabled"]),
    column("disabled by operator", "disabled_at"),
    column("paused by owner", "paused_at"),
    column("superuser"),
    column("client id", "clientid"),
    column("client id mode", "clientid_mode"),
    column("confined"),
    column("may publish", "can_publish"),
    column("may subscribe", "can_subscribe"),
    column("label"),
    column("description"),
    ("roles", lambda row: with_priorities(row["roles"])),
    ("groups", lambda row: with_priorities(row["groups"])),
    column("created", "created_at"),
    column("expires", "expires_at"),
    column("password expires", "secret_expires_at"),
]


@verb(app, "list")
def list_users(
    api: Api,
    like: Like = None,
    role: Annotated[str | None, typer.Option(metavar="ROLE", help="Only those who have it themselves.")] = None,
    group: Annotated[str | None, typer.Option(metavar="GROUP", help="Only those who are in it.")] = None,
    login_type: LoginType = "username",
) -> None:
    """List users."""
    page = api.collect("users", query={"like": like, "role": role, "group": group, "login_type": login_type})
    api.print_rows(page, _COLUMNS, "There are no such users.")


@verb(app, "show")
def show_user(api: Api, name: Username, login_type: LoginType = "username") -> None:
    """Show a user."""
    api.print_record(api.call("GET", "users", name, query={"login_type": login_type}), _FIELDS)


@verb(app, "add")
def add_user(
    api: Api,
    name: Username,
    password_stdin: FromStdin = False,
    password_file: FromFile = None,
    generate: Generate = False,
    no_password: Annotated[bool, typer.Option("--no-password", help="None: for certificates only.")] = False,
    superuser: Annotated[bool, typer.Option("--superuser", help="Exempt from all rules.")] = False,
    role: Annotated[list[str] | None, typer.Option(metavar="ROLE[=PRIORITY]", help="May be repeated.")] = None,
    group: Annotated[list[str] | None, typer.Option(metavar="GROUP[=PRIORITY]", help="May be repeated.")] = None,
    client_id: _ClientId = None,
    client_id_mode: _Mode = None,
    confined: Annotated[bool, typer.Option("--confined", help="Deny what no rule of its own allows.")] = False,
    label: _Label = None,
    description: _Description = None,
    expires: _Expires = None,
    login_type: LoginType = "username",
) -> None:
    """Create a user; the password is asked for unless an option says where it comes from."""
    body = given(clientid=client_id, clientid_mode=client_id_mode, label=label, description=description)
    body |= {"login": name, "login_type": login_type, "superuser": superuser, "confined": confined}
    body |= {"roles": split_priorities(role), "groups": split_priorities(group), "expires_at": end_of(expires)}
    password = None
    if not no_password or password_stdin or password_file or generate:
        password = read_password(from_stdin=password_stdin, file=password_file, generate=generate)
        body["password"] = password.text
    created = api.call("POST", "users", body=body)
    if password is not None and password.generated:
        _show_generated(api, created, password.text)
    else:
        api.print_record(created, _FIELDS)


@verb(app, "set")
def set_user(
    api: Api,
    name: Username,
    superuser: Annotated[Switch | None, typer.Option(help="Exempt from all rules.")] = None,
    client_id: Annotated[str | None, typer.Option("--client-id", metavar="ID", help="Empty for none.")] = None,
    client_id_mode: _Mode = None,
    label: _Label = None,
    description: _Description = None,
    expires: Annotated[str | None, typer.Option(metavar="TIME", help=f"Or never. {HELP}")] = None,
    login_type: LoginType = "username",
) -> None:
    """Change a user; what is not given stays."""
    body = given(clientid_mode=client_id_mode, label=label, description=description)
    if superuser is not None:
        body["superuser"] = superuser == "yes"
    if client_id is not None:
        body["clientid"] = client_id or None
    if expires is not None:
        body["expires_at"] = end_of(expires)
    if not body:
        raise typer.BadParameter("There is nothing to change: see --help for what can be.")
    api.print_record(_change(api, name, login_type, body), _FIELDS)


@verb(app, "password")
def set_password(
    api: Api,
    name: Username,
    password_stdin: FromStdin = False,
    password_file: FromFile = None,
    generate: Generate = False,
    login_type: LoginType = "username",
) -> None:
    """Give a user a new password; it is asked for unless an option says where it comes from."""
    password = read_password(from_stdin=password_stdin, file=password_file, generate=generate)
    changed = _change(api, name, login_type, {"password": password.text})
    if password.generated:
        _show_generated(api, changed, password.text)
    elif api.as_json:
        api.print_json(changed)
    else:
        api.print_done("The password is changed.")


@verb(app, "enable")
def enable_user(api: Api, name: Username, login_type: LoginType = "username") -> None:
    """Let a user in again."""
    api.print_record(_change(api, name, login_type, {"disabled": False}), _FIELDS)


@verb(app, "disable")
def disable_user(api: Api, name: Username, login_type: LoginType = "username") -> None:
    """Keep a user out, and close the sessions."""
    api.print_record(_change(api, name, login_type, {"disabled": True}), _FIELDS)


@verb(app, "delete")
def delete_user(api: Api, name: Username, login_type: LoginType = "username") -> None:
    """Delete a user, and end the sessions."""
    api.call("DELETE", "users", name, query={"login_type": login_type})
    api.print_done("The user is deleted.")


@verb(app, "grant")
def grant_role(
    api: Api,
    name: Username,
    role: RoleName,
    priority: Priority = NO_PRIORITY,
    disconnect: Disconnect = False,
    login_type: LoginType = "username",
) -> None:
    """Give a user a role, or the one they have another priority."""
    query = {"login_type": login_type, "disconnect": disconnect}
    api.call("PUT", "users", name, "roles", role, query=query, body={"priority": priority})
    api.print_done("The user has the role.")


@verb(app, "revoke")
def revoke_role(
    api: Api, name: Username, role: RoleName, disconnect: Disconnect = False, login_type: LoginType = "username"
) -> None:
    """Take a role from a user."""
    api.call("DELETE", "users", name, "roles", role, query={"login_type": login_type, "disconnect": disconnect})
    api.print_done("The user does not have the role any more.")


verb(app, "import")(import_users)


def _change(api: Api, name: str, login_type: str, body: dict[str, object]) -> dict[str, Any]:
    return api.call("PATCH", "users", name, query={"login_type": login_type}, body=body)


def _show_generated(api: Api, user: dict[str, Any], password: str) -> None:
    """Show a password that nobody has yet; it cannot be had again."""
    try:
        api.print_record({**user, "password": password}, [*_FIELDS, column("password (shown only now)", "password")])
    except Unprintable as error:
        raise Unusable(
            f"The user {user['login']!r} has a new password, which standard output does not take "
            f"({error.reason}): nobody has it, so set a new one with `wardenmq user password`."
        ) from None


def _names(memberships: list[dict[str, Any]]) -> list[str]:
    return [membership["name"] for membership in memberships]
