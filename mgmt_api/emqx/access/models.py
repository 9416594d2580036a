"""What users and rules look like."""

from typing import Annotated

from pydantic import FailFast, Field
from typing_extensions import TypedDict

from ....store.rules import MAX_RULES
from ...limits import Body
from ...paging import Meta, PageQuery
from .models_rules import EmqxRule, EmqxRuleRow


class NewRules(Body):
    """The rules for all clients."""

    rules: Annotated[list[EmqxRule], FailFast(), Field(max_length=MAX_RULES)]


class NewUserRules(NewRules):
    """The rules of a user name."""

    username: str = Field(min_length=1)


class NewClientRules(NewRules):
    """The rules of a client id."""

    clientid: str = Field(min_length=1)


class AllRules(TypedDict):
    """Show the rules for all clients."""

    rules: list[EmqxRuleRow]


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
