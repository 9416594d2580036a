"""How a verb becomes a command: the options that all verbs have, and the way to the API that each is handed."""

import sys
from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from .api import Api
from .failures import Unusable, told_in_a_sentence
from .output import is_closed

Verb = Callable[..., None]

_COMMON = {
    "as_json": (bool, typer.Option("--json", help="Print the API's JSON instead of a table."), False),
    "data_dir": (Path | None, typer.Option(metavar="DIR", help="The server's data directory. [data]"), None),
    "config": (Path | None, typer.Option(metavar="FILE", help="The server's configuration."), None),
}


def noun(name: str, about: str) -> typer.Typer:
    """Make the group of commands that a noun stands for."""
    return typer.Typer(
        name=name,
        help=about,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def verb(group: typer.Typer, name: str) -> Callable[[Verb], Verb]:
    """Register a function as a command of a noun; its first parameter is the API, the others are the command's."""

    def register(function: Verb) -> Verb:
        own = list(signature(function, eval_str=True).parameters.values())[1:]
        common = [
            Parameter(key, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])
            for key, (kind, option, default) in _COMMON.items()
        ]

        @wraps(function)
        def run(*, as_json: bool, data_dir: Path | None, config: Path | None, **arguments: Any) -> None:
            with told_in_a_sentence(), Api(data_dir, config, as_json=as_json) as api:
                if is_closed(sys.stdout):
                    raise Unusable("Standard output is closed; nothing was changed.")
                function(api, **arguments)

        # Typer reads a command's options from its signature.
        run.__signature__ = Signature([*own, *common])  # pyright: ignore[reportAttributeAccessIssue]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *common)}
        group.command(name)(run)
        return function

    return register
