"""TLS of one listener: its certificates, and how they are exchanged for newer ones while it runs.

A reload makes everything anew beside what is in use and swaps it in as a whole, so that a listener never serves half
of a change, and connections that exist keep what they have.
"""

import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .options import CertificateFiles

_VERIFY = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_VERSIONS = {"tlsv1.2": ssl.TLSVersion.TLSv1_2, "tlsv1.3": ssl.TLSVersion.TLSv1_3}
TLS_VERSIONS = tuple(_VERSIONS)
_Fingerprint = tuple[tuple[int, int, int] | None, ...]


class CertificateError(ValueError):
    """Say which file cannot be used and why."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Name the files of a listener; the authorities are those that clients' certificates are checked against."""

    certificate: CertificateFiles
    sni: Mapping[str, CertificateFiles] = field(default_factory=dict[str, CertificateFiles])
    cafile: str | None = None
    capath: str | None = None
    cadata: str | None = None
    verify_client: str = "none"
    protocol: str = "mqtt"
    """The name of what is spoken inside, for application-layer protocol negotiation."""
    key_password: str | None = field(default=None, repr=False)
    """What the key's file is encrypted with."""
    versions: Sequence[str] = ("tlsv1.3", "tlsv1.2")
    ciphers: Sequence[str] = ()
    """OpenSSL's names of the ciphers of TLS 1.2; empty for its choice."""


class Certificates:
    """Hold the TLS context that new connections get; raises CertificateError if there is none to begin with."""

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self._fingerprint = self._take_fingerprint()
        self.context = _make_context(settings)

    @property
    def asks_clients(self) -> bool:
        """Tell whether clients are asked for certificates, whatever becomes of the names in them."""
        return self._settings.verify_client != "none"

    @property
    def changed(self) -> bool:
        """Tell whether a file is another than when it was last looked at; costs one `stat` a file."""
        return self._take_fingerprint() != self._fingerprint

    def reload(self) -> None:
        """Read all files anew; raises CertificateError, with the certificates in use left as they were."""
        # Taken first, so that a file that changes while it is read counts as changed. Kept even if reading fails:
        # a certificate whose key has not been written yet is tried again when the key comes, and not every second.
        self._fingerprint = self._take_fingerprint()
        self.context = _make_context(self._settings)

    def _take_fingerprint(self) -> _Fingerprint:
        settings = self._settings
        paths = [settings.certificate.certfile, settings.certificate.keyfile]
        for files in settings.sni.values():
            paths += [files.certfile, files.keyfile]
        if settings.cafile is not None:
            paths.append(settings.cafile)
        if settings.capath is not None:
            # A file that is replaced in its place leaves the directory as it was, and OpenSSL keeps what it has read.
            paths += [settings.capath, *_entries(settings.capath)]
        return tuple(_state(path) for path in paths)


def _entries(directory: str) -> list[str]:
    try:
        return sorted(os.path.join(directory, name) for name in os.listdir(directory))
    except OSError:
        return []


def _state(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _make_context(settings: TlsSettings) -> ssl.SSLContext:
    context = _with_certificate(settings, settings.certificate)
    if settings.sni:
        by_name = {name: _with_certificate(settings, files) for name, files in settings.sni.items()}

        def choose(connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            chosen = _find(by_name, name.lower()) if name else None
            if chosen is not None:
                connection.context = chosen

        context.sni_callback = choose
    return context


def _find(by_name: Mapping[str, ssl.SSLContext], name: str) -> ssl.SSLContext | None:
    """Find a host name, or the entry with `*` in place of its first label."""
    exact = by_name.get(name)
    return exact if exact is not None else by_name.get(f"*.{name.partition('.')[2]}")


def _with_certificate(settings: TlsSettings, files: CertificateFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    versions = [_VERSIONS[version] for version in settings.versions] or list(_VERSIONS.values())
    context.minimum_version, context.maximum_version = min(versions), max(versions)
    if settings.ciphers:
        try:
            context.set_ciphers(":".join(settings.ciphers))
        except (ssl.SSLError, ValueError) as error:
            raise CertificateError("none of the ciphers can be used") from error
    # In TLS 1.2 a client could otherwise ask for new handshakes in a row, each of which costs us far more than it.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    # One session ticket and not two: a browser opens several connections at a time, but an MQTT client opens one, and
    # each ticket is an eighth of what a handshake costs.
    context.num_tickets = 1
    context.set_alpn_protocols([settings.protocol])
    try:
        context.load_cert_chain(files.certfile, files.keyfile, password=_password(settings))
    except (OSError, ValueError) as error:
        raise CertificateError(f"{files.certfile} and {files.keyfile} cannot be used: {_reason(error)}") from error
    if settings.cafile or settings.capath or settings.cadata:
        try:
            context.load_verify_locations(settings.cafile, settings.capath, settings.cadata)
        except (OSError, ValueError) as error:
            authorities = settings.cafile or settings.capath or "'cadata'"
            raise CertificateError(f"{authorities} cannot be used: {_reason(error)}") from error
    context.verify_mode = _VERIFY[settings.verify_client]
    return context


def _password(settings: TlsSettings) -> Callable[[], str]:
    """Answer OpenSSL, which would otherwise ask at the terminal and wait."""

    def answer() -> str:
        if settings.key_password is None:
            raise ValueError("the key is protected by a password")
        return settings.key_password

    return answer


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return {"KEY_VALUES_MISMATCH": "the key is not the certificate's"}.get(
            error.reason or "", "it is not what it should be in PEM format"
        )
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
