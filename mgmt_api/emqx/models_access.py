"""What users and rules look like."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, FailFast, Field
from typing_extensions import TypedDict

from ...store.rules import MAX_RULES
from ..limits import Body
from ..paging import Meta, PageQuery

_MAX_QOS_LEVELS = 16
"""Levels of one rule; each may be named more than once."""


def _refuse_bool(value: object) -> object:
    """Keep `true` from counting as 1."""
    if isinstance(value, bool):
        raise ValueError("must be 0, 1 or 2")  # not TypeError: pydantic would let it through
    return value


def _split_qos(value: object) -> object:
    """Accept what EMQX does: a list, one number, or numbers separated by commas."""
    if isinstance(value, str):
        return value.split(",", _MAX_QOS_LEVELS)
    return [value] if isinstance(value, int) and not isinstance(value, bool) else value


def _read_retain(value: object) -> object:
    """Accept what EMQX does, and not all that pydantic takes for a boolean."""
    given = {"true": True, "false": False, "all": "all"}.get(value, value) if isinstance(value, str) else value
    if isinstance(given, bool) or given == "all":
        return given
    raise ValueError("must be true, false or 'all'")


def _spell_out(value: object) -> object:
    """Accept the short forms of actions."""
    return {"pub": "publish", "sub": "subscribe"}.get(value, value) if isinstance(value, str) else value


QosLevel = Annotated[int, Field(ge=0, le=2), BeforeValidator(_refuse_bool)]
_QosLevels = Annotated[list[QosLevel], FailFast(), Field(max_length=_MAX_QOS_LEVELS), BeforeValidator(_split_qos)]


class User(TypedDict):
    """Show a login of the built-in database, never its password in any form."""

    user_id: str
    is_superuser: bool


class UserPage(TypedDict):
    """One page of users."""

    data: list[User]
    meta: Meta


class UserQuery(PageQuery):
    """Ask for users."""

    like_user_id: str | None = Field(default=None, description="Part of the user id")
    is_superuser: bool | None = None


class NewUser(Body):
    """A user to be created."""

    user_id: str = Field(min_length=1)
    password: str = Field(min_length=1, repr=False)
    is_superuser: bool = False


class ChangedUser(Body):
    """A user's new password; what is not given stays."""

    password: str = Field(min_length=1, repr=False)
    is_superuser: bool | None = None


class RuleRow(TypedDict):
    """Show a rule, all its keys filled in."""

    topic: str
    permission: Literal["allow", "deny"]
    action: Literal["publish", "subscribe", "all"]
    qos: list[int]
    retain: bool | Literal["all"]


class NewRule(Body):
    """A rule to be set."""

    topic: str = Field(description="A filter; `${clientid}` and `${username}` are filled in; `eq ...` is literal")
    permission: Literal["allow", "deny"]
    action: Annotated[Literal["publish", "subscribe", "all"], BeforeValidator(_spell_out)]
    qos: _QosLevels = Field(default=[0, 1, 2])
    retain: Annotated[bool | Literal["all"], BeforeValidator(_read_retain)] = Field(
        default="all", description="The retain flag a publish must have"
    )


class NewRules(Body):
    """The rules for all clients."""

    rules: Annotated[list[NewRule], FailFast(), Field(max_length=MAX_RULES)]


class NewUserRules(NewRules):
    """The rules of a user name."""

    username: str = Field(min_length=1)


class NewClientRules(NewRules):
    """The rules of a client id."""

    clientid: str = Field(min_length=1)


class AllRules(TypedDict):
    """Show the rules for all clients."""

    rules: list[RuleRow]


class UserRules(AllRules):
    """Show the rules of a user name."""

    username: str


class ClientRules(AllRules):
    """Show the rules of a client id."""

    clientid: str


class UserRulesPage(TypedDict):
    """One page of user names with their rules."""

    data: list[UserRules]
    meta: Meta


class ClientRulesPage(TypedDict):
    """One page of client ids with their rules."""

    data: list[ClientRules]
    meta: Meta


class UserRulesQuery(PageQuery):
    """Ask for the rules of user names."""

    like_username: str | None = Field(default=None, description="Part of the user name")


class ClientRulesQuery(PageQuery):
    """Ask for the rules of client ids."""

    like_clientid: str | None = Field(default=None, description="Part of the client id")
