"""Certificates that came as text in a request: files of ours, named by what is in them, readable by nobody else."""

import os
from hashlib import sha256
from pathlib import Path
from re import compile as compile_pattern

from ...errors import bad_request
from .models_listeners import SslOptions

_FOLDER = ("certs", "listeners")
_PARTS = {"certfile": "cert", "keyfile": "key", "cacertfile": "ca"}
KEPT_FIELDS = tuple(_PARTS)
_BEGINS = "-----BEGIN "
_PLAIN = compile_pattern(r"[A-Za-z0-9_-]{1,250}")


def keep_certificates(options: SslOptions, listener_id: str, data_dir: Path | None) -> SslOptions:
    """Write what is PEM text to files and name these in its place; raises `ApiError` 400, OSError."""
    changes: dict[str, str] = {}
    for field, stem in _PARTS.items():
        text: str | None = getattr(options, field)
        if text is None or _BEGINS not in text:
            if text is not None and ("\n" in text or "\0" in text):
                raise bad_request(f"ssl_options: {field}: is neither PEM text nor a path")
            continue
        if data_dir is None:
            raise bad_request(f"ssl_options: {field}: must be a path, for there is no data directory to keep it in")
        changes[field] = str(_write(_folder(data_dir, listener_id), stem, text))
    return options.model_copy(update=changes)


def forget_certificates(options: SslOptions | None, listener_id: str, data_dir: Path | None) -> None:
    """Remove the files of a listener that it does not name any more."""
    if data_dir is None:
        return
    folder = _folder(data_dir, listener_id)
    if not folder.is_dir():
        return
    used = set[str]()
    if options is not None:
        used = {Path(name).name for part in _PARTS if (name := getattr(options, part)) is not None}
    for file in folder.iterdir():
        if file.name not in used:
            file.unlink(missing_ok=True)
    if not used:
        folder.rmdir()


def folder_of_certificates(data_dir: Path) -> Path:
    """Name the folder that all of them are in."""
    return data_dir.absolute().joinpath(*_FOLDER)


def _folder(data_dir: Path, listener_id: str) -> Path:
    """Name a listener's folder; ids come from requests and must lead to none but ours."""
    name = listener_id.replace(":", "_")
    if not _PLAIN.fullmatch(name):
        name = sha256(listener_id.encode(errors="replace")).hexdigest()
    return folder_of_certificates(data_dir) / name


def _write(folder: Path, stem: str, text: str) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    data = text.strip().encode() + b"\n"
    file = folder / f"{stem}-{sha256(data).hexdigest()[:16]}.pem"
    draft = file.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
    draft.replace(file)
    return file
