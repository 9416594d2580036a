"""The user name in a client's certificate, as Python's `ssl` presents one that it has verified."""

from collections.abc import Iterable, Mapping
from typing import cast

_SUBJECT_ALTERNATIVE_NAMES = ("DNS", "email", "URI")
_MAX_BYTES = 65_535
"""What an MQTT user name can hold [MQTT-1.5.4-1]."""

Name = tuple[str, str]


def certificate_username(certificate: Mapping[str, object], source: str) -> str | None:
    """Take the user name out of a verified certificate: `cn` or `san`; None where there is none that can be used.

    A certificate with several common names has none: which of them counts would be anybody's guess.
    """
    if source == "cn":
        subject = cast("Iterable[Iterable[Name]]", certificate.get("subject", ()))
        names = [value for part in subject for key, value in part if key == "commonName"]
        name = names[0] if len(names) == 1 else None
    else:
        alternatives = cast("Iterable[Name]", certificate.get("subjectAltName", ()))
        name = next((value for key, value in alternatives if key in _SUBJECT_ALTERNATIVE_NAMES), None)
    return name if name and _is_user_name(name) else None


def _is_user_name(name: str) -> bool:
    # A NUL or another control character in a certificate is somebody's attempt to be taken for somebody else.
    return name.isprintable() and len(name.encode("utf-8", "surrogateescape")) <= _MAX_BYTES
