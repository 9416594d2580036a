"""`wardenmq acl`: rules of user names, of client ids and for all clients, and what they decide."""

from typing import Annotated, Any, Literal, cast

import typer

from .api import Api
from .failures import Unusable
from .files import read_json
from .importing import import_rules
from .options import Like, Yes, confirm, given
from .output import show
from .table import Column, column, format_table
from .verbs import noun, verb

app = noun("acl", "Rules of user names, of client ids and for all clients, and what they decide.")

Decision = Literal["allow", "deny"]
Action = Literal["publish", "subscribe", "all"]

_User = Annotated[str | None, typer.Option("--user", metavar="NAME", help="The rules of a user name.")]
_Client = Annotated[str | None, typer.Option("--client", metavar="ID", help="The rules of a client id.")]
_All = Annotated[bool, typer.Option("--all", help="The rules for all clients.")]
_Condition = Annotated[str | None, typer.Option(metavar="VALUE")]

_SUBJECTS: list[Column] = [
    column("type", "subject_type"),
    column("subject"),
    column("rules", "rule_count"),
]
_RULES: list[Column] = [
    column("#", "number"),
    column("permission"),
    column("action"),
    column("topic"),
    column("qos"),
    column("retain"),
    ("condition", lambda row: _condition(row["condition"])),
]
_DEFAULTS: list[Column] = [column(name) for name in ("publish", "receive", "subscribe", "unsubscribe")]


@verb(app, "list")
def list_subjects(
    api: Api,
    like: Like = None,
    kind: Annotated[
        Literal["username", "clientid", "all"] | None, typer.Option("--type", help="Only subjects of this type.")
    ] = None,
) -> None:
    """List who has rules of their own."""
    page = api.collect("rules", query={"like": like, "subject_type": kind})
    api.print_rows(page, _SUBJECTS, "Nobody has such rules.")


@verb(app, "show")
def show_rules(api: Api, user: _User = None, client: _Client = None, for_all: _All = False) -> None:
    """Show rules in the order in which they are read."""
    _print_rules(api, api.call("GET", "rules", *_subject(user, client, for_all)))


@verb(app, "set")
def set_rules(
    api: Api,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A JSON array of rules; - is standard input.")],
    user: _User = None,
    client: _Client = None,
    for_all: _All = False,
) -> None:
    """Put rules in the place of those that are there; FILE is as `acl show --json` prints it, or the array alone."""
    subject = _subject(user, client, for_all)
    document = read_json(file)
    rules = cast("dict[str, object]", document).get("rules") if isinstance(document, dict) else document
    _print_rules(api, api.call("PUT", "rules", *subject, body={"rules": rules}))


@verb(app, "add")
def add_rule(
    api: Api,
    permission: Annotated[Decision, typer.Argument(metavar="allow|deny")],
    action: Annotated[Action, typer.Argument(metavar="publish|subscribe|all")],
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="A filter; 'eq TOPIC' is compared literally.")],
    user: _User = None,
    client: _Client = None,
    for_all: _All = False,
    first: Annotated[bool, typer.Option("--first", help="Before all others, instead of behind them.")] = False,
    qos: Annotated[str | None, typer.Option(metavar="0,1,2", help="Only these QoS levels.")] = None,
    retain: Annotated[Literal["yes", "no"] | None, typer.Option(help="Only publishes with this retain flag.")] = None,
    address: Annotated[str | None, typer.Option(metavar="NET", help="Only clients of this address or network.")] = None,
    clientid_re: Annotated[str | None, typer.Option(metavar="RE", help="Only client ids in which it is found.")] = None,
    username_re: Annotated[str | None, typer.Option(metavar="RE", help="Only user names in which it is found.")] = None,
    listener: Annotated[str | None, typer.Option(metavar="NAME", help="Only clients of this listener.")] = None,
) -> None:
    """Add a rule."""
    body: dict[str, object] = {"permission": permission, "action": action, "topic": topic, **given(qos=qos)}
    if retain is not None:
        body["retain"] = retain == "yes"
    condition = given(ipaddr=address, clientid_re=clientid_re, username_re=username_re, listener=listener)
    if condition:
        body["condition"] = condition
    subject = _subject(user, client, for_all)
    _print_rules(api, api.call("POST", "rules", *subject, query={"first": first}, body=body))


@verb(app, "clear")
def clear_rules(api: Api, user: _User = None, client: _Client = None, for_all: _All = False, yes: Yes = False) -> None:
    """Delete all rules of a user name, of a client id or for all."""
    subject = _subject(user, client, for_all)
    confirm("Delete these rules?", yes=yes)
    api.call("DELETE", "rules", *subject)
    api.print_done("The rules are deleted.")


@verb(app, "default")
def default(
    api: Api,
    publish: Annotated[Decision | None, typer.Option(help="Publish to a topic.")] = None,
    receive: Annotated[Decision | None, typer.Option(help="Receive what a subscription brings.")] = None,
    subscribe: Annotated[Decision | None, typer.Option(help="Subscribe to a filter.")] = None,
) -> None:
    """Show or change what holds where no rule and no role fits."""
    body = given(publish=publish, receive=receive, subscribe=subscribe)
    answer = api.call("PATCH", "defaults", body=body) if body else api.call("GET", "defaults")
    api.print_record(answer, _DEFAULTS)


verb(app, "import")(import_rules)


@verb(app, "explain")
def explain(
    api: Api,
    client: Annotated[str, typer.Argument(metavar="CLIENT", help="A client id; its session counts, if it has one.")],
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="A topic; for subscribe, a filter.")],
    action: Annotated[
        Literal["publish", "subscribe", "receive"], typer.Option(help="What the client would do.")
    ] = "publish",
    qos: Annotated[int, typer.Option(min=0, max=2, help="With this QoS.")] = 0,
    retain: Annotated[bool, typer.Option("--retain", help="With the retain flag.")] = False,
    username: Annotated[str | None, typer.Option(metavar="NAME", help="Under this name; empty for none.")] = None,
    address: Annotated[str | None, typer.Option(metavar="IP", help="From this address.")] = None,
    listener: Annotated[str | None, typer.Option(metavar="NAME", help="Through this listener.")] = None,
) -> None:
    """Say whether a client may do something, and which rule of which layer decides."""
    answer = api.call(
        "GET",
        "acl",
        "explain",
        query={
            "clientid": client,
            "topic": topic,
            "action": action,
            "qos": qos,
            "retain": retain,
            "username": username,
            "address": address,
            "listener": listener,
        },
    )
    if api.as_json:
        api.print_json(answer)
        return
    from .explained import describe

    show(describe(answer, action, topic))


def _subject(user: str | None, client: str | None, for_all: bool) -> tuple[str, ...]:
    if (user is not None) + (client is not None) + for_all != 1:
        raise Unusable("Say whose rules: --user NAME, --client ID or --all, one of them.")
    if user is not None:
        return ("username", user)
    return ("clientid", client) if client is not None else ("all",)


def _print_rules(api: Api, answer: dict[str, Any]) -> None:
    if api.as_json:
        api.print_json(answer)
    elif not answer["rules"]:
        show("There are no rules.", aside=True)
    else:
        show(format_table([{**rule, "number": n} for n, rule in enumerate(answer["rules"], 1)], _RULES))


def _condition(condition: dict[str, Any] | None) -> str | None:
    if condition is None:
        return None
    return ", ".join(f"{name} {value}" for name, value in condition.items() if value is not None)
