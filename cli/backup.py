"""`wardenmq backup` and `wardenmq restore`: all that a server has, as one file."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .data_directory import AsJson, Config, DataDir, find_data_dir, owned
from .failures import Refused, told_in_a_sentence
from .output import show
from .table import visible

if TYPE_CHECKING:
    from ..store.backup_archive import Manifest


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(backup)
    app.command()(restore)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup to be written.")],
    force: Annotated[bool, typer.Option("--force", help="Write over FILE where it exists.")] = False,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Write databases and keys to one file, consistently, while the server runs or is stopped."""
    with told_in_a_sentence():
        from importlib import metadata

        from ..store.backup import back_up
        from ..store.errors import AlreadyExists

        directory = find_data_dir(data_dir, config)
        try:
            made = back_up(directory, file, release=metadata.version("wardenmq"), now=time.time(), overwrite=force)
        except AlreadyExists as error:
            raise Refused(f"{error.message} Use --force to write over it.") from None
        if as_json:
            _show_json(made.manifest, file=str(made.path), size=made.size)
            return
        show(f"{visible(str(made.path))} holds {_names(made.manifest)} ({made.size:,} bytes).")
        show("Among that are secrets and messages: whoever can read the file can become the server. Its mode is 0600.")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")],
    data_dir: DataDir = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup in place of what is in the data directory, which is kept; the server has to be stopped."""
    with told_in_a_sentence():
        from ..store.backup_archive import BackupUnacceptable
        from ..store.restoring import restore as put_back

        directory = find_data_dir(data_dir, config)
        try:
            restored = put_back(file, directory, now=time.time(), own=owned(directory))
        except BackupUnacceptable as error:
            raise Refused(f"{error.message} Nothing was changed.") from None
        kept = None if restored.kept is None else str(restored.kept)
        if as_json:
            _show_json(restored.manifest, data_dir=str(directory), kept=kept)
            return
        manifest = restored.manifest
        show(f"{visible(str(directory))} holds {_names(manifest)} as of {visible(manifest.created_at)}.")
        if kept is not None:
            show(f"What was there before is in {visible(kept)}.")


def _names(manifest: "Manifest") -> str:
    return ", ".join(entry.name for entry in manifest.files)


def _show_json(manifest: "Manifest", **more: Any) -> None:
    show(json.dumps({**more, **asdict(manifest)}, indent=2))
