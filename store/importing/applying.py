"""From the bytes of a file to the directory, whichever program wrote it."""

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Unpack, get_args

from ..credentials.password_formats import EmqxAlgorithm
from ..directory import Directory
from ..errors import Invalid
from ..records import LoginType
from ..writer import Origin
from .access_import import import_dynsec
from .acl_file import parse_mosquitto_acl
from .acl_import import import_acl
from .emqx_users import Form, Kind, parse_emqx_users
from .password_files import parse_amqtt_passwords, parse_mosquitto_passwords
from .reports import ImportReport
from .user_import import import_users

Source = Literal["mosquitto-passwords", "mosquitto-acl", "dynamic-security", "emqx-csv", "emqx-json", "amqtt-passwords"]

_EMQX_FORMS: dict[Source, Form] = {"emqx-csv": "csv", "emqx-json": "json"}


@dataclass(frozen=True, slots=True)
class EmqxOptions:
    """Say of EMQX's users what their file does not: they are settings of the authenticator that they come from."""

    kind: Kind = "hash"
    algorithm: EmqxAlgorithm = field(default_factory=EmqxAlgorithm)
    login_type: LoginType = "username"


async def import_file(
    directory: Directory,
    data: bytes,
    source: Source,
    *,
    emqx: EmqxOptions | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    **origin: Unpack[Origin],
) -> ImportReport:
    """Read a file and write what it holds; what exists is left alone or, with `overwrite`, replaced.

    A dry run writes nothing and reports the same. A file is read in a thread. Dynamic security replaces everything,
    whatever `overwrite` says. Raises Invalid for a file that cannot be imported as a whole, and what a write raises.
    """
    if source not in get_args(Source):
        raise Invalid(f"There is no kind of file '{source[:50]}': it is one of {', '.join(get_args(Source))}.")
    if source == "dynamic-security":
        return await import_dynsec(directory, data, dry_run=dry_run, **origin)
    if source == "mosquitto-acl":
        acl = await asyncio.to_thread(parse_mosquitto_acl, data)
        return await import_acl(directory, acl, overwrite=overwrite, dry_run=dry_run, **origin)
    if source == "mosquitto-passwords":
        parse = parse_mosquitto_passwords
    elif source == "amqtt-passwords":
        parse = parse_amqtt_passwords
    else:
        options = emqx or EmqxOptions()
        parse = partial(
            parse_emqx_users,
            form=_EMQX_FORMS[source],
            kind=options.kind,
            algorithm=options.algorithm,
            login_type=options.login_type,
        )
    users = await asyncio.to_thread(parse, data)
    return await import_users(directory, users, overwrite=overwrite, dry_run=dry_run, **origin)
