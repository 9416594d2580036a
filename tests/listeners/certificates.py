"""Certificates for listeners and clients, as files, and TLS contexts for the clients' side."""

import hashlib
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import trustme
from cryptography import x509


@dataclass(frozen=True, slots=True)
class Files:
    """A certificate chain and its key."""

    certfile: Path
    keyfile: Path

    @property
    def keys(self) -> dict[str, str]:
        """The two as a listener's configuration has them."""
        return {"certfile": str(self.certfile), "keyfile": str(self.keyfile)}

    def replace_by(self, other: "Files") -> None:
        """Become the other certificate, as an operator or a renewal tool has it: by renaming."""
        for own, new in ((self.keyfile, other.keyfile), (self.certfile, other.certfile)):
            beside = own.with_suffix(".new")
            beside.write_bytes(new.read_bytes())
            beside.replace(own)


@dataclass
class Authority:
    """A certificate authority with a directory of its own."""

    directory: Path
    _ca: trustme.CA = field(default_factory=trustme.CA)
    _issued: int = 0

    @property
    def cafile(self) -> str:
        file = self.directory / "authority.pem"
        if not file.exists():
            self._ca.cert_pem.write_to_path(file)
        return str(file)

    @property
    def capath(self) -> str:
        """A directory laid out as OpenSSL wants it: the file is called after a hash of the authority's name."""
        directory = self.directory / "authorities"
        directory.mkdir(exist_ok=True)
        certificate = x509.load_pem_x509_certificate(self._ca.cert_pem.bytes())
        (directory / f"{_subject_hash(certificate.subject)}.0").write_bytes(self._ca.cert_pem.bytes())
        return str(directory)

    def issue(self, *names: str, common_name: str | None = None) -> Files:
        """Issue a certificate for host names, addresses or email addresses."""
        self._issued += 1
        stem = self.directory / f"{self._issued}"
        files = Files(stem.with_suffix(".chain"), stem.with_suffix(".key"))
        issued = self._ca.issue_cert(*names, common_name=common_name)
        issued.private_key_pem.write_to_path(files.keyfile)
        files.certfile.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        return files

    def client(self, files: Files | None = None, *, highest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """Make a client's context that trusts this authority, with a certificate if one is given."""
        context = ssl.create_default_context(cafile=self.cafile)
        if files is not None:
            context.load_cert_chain(files.certfile, files.keyfile)
        if highest is not None:
            context.minimum_version = min(ssl.TLSVersion.TLSv1_2, highest)
            context.maximum_version = highest
        return context


def names_of(certificate: bytes) -> list[str]:
    """Read the host names in a DER certificate."""
    alternatives = x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    return [str(name) for name in alternatives.value.get_values_for_type(x509.DNSName)]


_OIDS = {x509.NameOID.ORGANIZATION_NAME: b"\x55\x04\x0a", x509.NameOID.ORGANIZATIONAL_UNIT_NAME: b"\x55\x04\x0b"}


def _subject_hash(name: x509.Name) -> str:
    """Hash a name as OpenSSL does: SHA-1 over its parts in lower case, the first four bytes in reverse."""
    canonical = b"".join(
        _der(0x31, _der(0x30, _der(0x06, _OIDS[part.oid]) + _der(0x0C, str(part.value).lower().encode())))
        for part in name
    )
    return hashlib.sha1(canonical).digest()[3::-1].hex()


def _der(tag: int, body: bytes) -> bytes:
    assert len(body) < 128
    return bytes((tag, len(body))) + body
