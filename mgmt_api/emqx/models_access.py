"""What users and rules look like."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from typing_extensions import TypedDict

from ..paging import Meta, PageQuery

QosLevel = Annotated[int, Field(ge=0, le=2)]


def _split_qos(value: object) -> object:
    """Accept what EMQX does: a list, one number, or numbers separated by commas."""
    if isinstance(value, str):
        return value.split(",")
    return [value] if isinstance(value, int) else value


def _spell_out(value: object) -> object:
    """Accept the short forms of actions."""
    return {"pub": "publish", "sub": "subscribe"}.get(value, value) if isinstance(value, str) else value


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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


class NewUser(_Body):
    """A user to be created."""

    user_id: str = Field(min_length=1)
    password: str = Field(min_length=1, repr=False)
    is_superuser: bool = False


class ChangedUser(_Body):
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


class NewRule(_Body):
    """A rule to be set."""

    topic: str = Field(description="A filter; `${clientid}` and `${username}` are filled in; `eq ...` is literal")
    permission: Literal["allow", "deny"]
    action: Annotated[Literal["publish", "subscribe", "all"], BeforeValidator(_spell_out)]
    qos: Annotated[list[QosLevel], BeforeValidator(_split_qos)] = [0, 1, 2]
    retain: bool | Literal["all"] = Field(default="all", description="The retain flag a publish must have")


class NewRules(_Body):
    """The rules for all clients."""

    rules: list[NewRule]


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
