"""TLS at a listener: clients' certificates and the names in them, SNI, versions, and certificates that are renewed."""

import os
import shutil
import ssl
import warnings
from pathlib import Path

import pytest
from amqtt.errors import BrokerError
from wardenmq.broker.listeners.certificate_names import certificate_username
from wardenmq.broker.listeners.options import CertificateFiles
from wardenmq.broker.listeners.tls import CertificateError, Certificates, TlsSettings
from wardenmq.broker.settings import MqttSettings

from ..engine.conditions import until
from ..engine.wire import Client
from .certificates import Authority, Files, names_of
from .ways_in import WayIn, connect_in_frames, listening, open_websocket


async def served_names(way: WayIn, authority: Authority, server_hostname: str) -> list[str]:
    """Give the host names in the certificate that a client is shown who asks for one of them."""
    context = authority.client()
    context.check_hostname = False
    stream = await way.stream(context, server_hostname)
    tls: ssl.SSLObject = stream.writer.get_extra_info("ssl_object")
    shown = tls.getpeercert(binary_form=True)
    assert shown is not None
    return names_of(shown)


# Clients' certificates


async def test_without_authorities_no_certificate_is_asked_for(authority: Authority) -> None:
    async with listening(ssl=True, **authority.issue("127.0.0.1").keys) as way:
        tls = authority.client(authority.issue("device", common_name="device"))
        assert (await way.connected(tls=tls)).certificate_name is None
        (connection,) = way.listener.connections
        assert connection._transport is not None
        assert not connection._transport.get_extra_info("ssl_object").getpeercert()


@pytest.mark.parametrize("keys", [{}, {"verify_client": "optional"}], ids=["by default", "said"])
async def test_optional_takes_clients_with_and_without(authority: Authority, keys: dict[str, str]) -> None:
    """With authorities, amqtt asks for a certificate and does not insist."""
    own = authority.issue("127.0.0.1").keys
    async with listening(ssl=True, cafile=authority.cafile, certificate_username="cn", **own, **keys) as way:
        assert (await way.connected(tls=authority.client())).certificate_name is None
        named = authority.client(authority.issue("device", common_name="sensor-1"))
        assert (await way.connected(tls=named, client_id="d")).certificate_name == "sensor-1"


@pytest.mark.parametrize("highest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_required_turns_the_others_away(authority: Authority, highest: ssl.TLSVersion) -> None:
    stranger = Authority(authority.directory / "stranger")
    stranger.directory.mkdir(exist_ok=True)
    own = authority.issue("127.0.0.1").keys
    async with listening(ssl=True, cafile=authority.cafile, verify_client="required", **own) as way:
        for presented in (None, stranger.issue("device", common_name="sensor-1")):
            try:
                stream = await way.stream(authority.client(presented, highest=highest))
            except (ssl.SSLError, ConnectionError):
                continue
            assert highest is ssl.TLSVersion.TLSv1_3  # whose clients hear of it after their handshake
            assert await stream.rest() == b""
        await until(lambda: way.listener.limits.open == 0)
        accepted = authority.client(authority.issue("device"), highest=highest)
        assert (await way.connected(tls=accepted)).certificate_name is None


@pytest.mark.parametrize("how", ["capath", "cadata"])
async def test_authorities_may_come_in_other_ways(authority: Authority, how: str) -> None:
    given = {"capath": authority.capath, "cadata": Path(authority.cafile).read_text()}[how]
    own = authority.issue("127.0.0.1").keys
    async with listening(ssl=True, verify_client="required", certificate_username="cn", **{how: given}, **own) as way:
        tls = authority.client(authority.issue("device", common_name="sensor-2"))
        assert (await way.connected(tls=tls)).certificate_name == "sensor-2"


@pytest.mark.parametrize(("source", "expected"), [("cn", "by-common-name"), ("san", "first.example"), ("none", None)])
async def test_a_name_in_the_certificate_is_the_user_name(
    authority: Authority, source: str, expected: str | None
) -> None:
    files = authority.issue("first.example", "second.example", common_name="by-common-name")
    own = authority.issue("127.0.0.1").keys
    async with listening(ssl=True, cafile=authority.cafile, certificate_username=source, **own) as way:
        request = await way.connected(tls=authority.client(files))
        assert request.certificate_name == expected


async def test_an_email_address_is_a_name_too(authority: Authority) -> None:
    own = authority.issue("127.0.0.1").keys
    async with listening(ssl=True, cafile=authority.cafile, certificate_username="san", **own) as way:
        request = await way.connected(tls=authority.client(authority.issue("device@example.org")))
        assert request.certificate_name == "device@example.org"


async def test_a_certificates_name_through_a_websocket(authority: Authority) -> None:
    keys = {**authority.issue("127.0.0.1").keys, "cafile": authority.cafile}
    async with listening(type="ws", ssl=True, verify_client="required", certificate_username="cn", **keys) as way:
        stream = await way.stream(authority.client(authority.issue("device", common_name="sensor-1")))
        assert (await open_websocket(stream)).startswith("HTTP/1.1 101 ")
        await connect_in_frames(stream)
        assert way.requests[0].certificate_name == "sensor-1"


SUBJECT = ((("countryName", "DE"),), (("commonName", "one"),))


@pytest.mark.parametrize(
    ("certificate", "source", "expected"),
    [
        ({"subject": SUBJECT}, "cn", "one"),
        ({"subject": SUBJECT}, "san", None),
        ({"subject": ()}, "cn", None),
        ({"subject": (*SUBJECT, (("commonName", "two"),))}, "cn", None),
        ({"subject": ((("commonName", "a\0b"),),)}, "cn", None),
        ({"subject": ((("commonName", "a\nb"),),)}, "cn", None),
        ({"subject": ((("commonName", ""),),)}, "cn", None),
        ({"subject": ((("commonName", "x" * 65_536),),)}, "cn", None),
        ({"subject": ((("commonName", "Müller #1"),),)}, "cn", "Müller #1"),
        ({"subjectAltName": (("IP Address", "10.0.0.1"), ("URI", "urn:a"), ("DNS", "b"))}, "san", "urn:a"),
        ({"subjectAltName": (("DirName", ((("commonName", "x"),),)), ("email", "a@b"))}, "san", "a@b"),
        ({}, "san", None),
    ],
)
def test_which_name(certificate: dict[str, object], source: str, expected: str | None) -> None:
    assert certificate_username(certificate, source) == expected


# SNI


async def test_the_certificate_is_the_one_for_the_host_that_is_asked_for(authority: Authority) -> None:
    sni = {
        "one.example": authority.issue("one.example").keys,
        "*.Two.example": authority.issue("*.two.example").keys,
    }
    async with listening(ssl=True, sni=sni, **authority.issue("default.example").keys) as way:
        for asked, served in {
            "one.example": "one.example",
            "ONE.example": "one.example",
            "a.two.example": "*.two.example",
            "a.b.two.example": "default.example",
            "two.example": "default.example",
            "other.example": "default.example",
            "127.0.0.1": "default.example",  # an address is not sent as a name
        }.items():
            assert await served_names(way, authority, asked) == [served], asked


async def test_clients_are_verified_whatever_host_they_ask_for(authority: Authority) -> None:
    sni = {"one.example": authority.issue("one.example").keys}
    keys = {"cafile": authority.cafile, "verify_client": "required", "certificate_username": "cn"}
    async with listening(ssl=True, sni=sni, **keys, **authority.issue("default.example").keys) as way:
        stream = await way.stream(authority.client(), "one.example")
        assert await stream.rest() == b""
        tls = authority.client(authority.issue("device", common_name="sensor-1"))
        stream = await way.stream(tls, "one.example")
        await Client(stream.reader, stream.writer).connect("c")
        assert way.requests[-1].certificate_name == "sensor-1"


# Versions


async def test_nothing_older_than_tls_1_2(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with listening(ssl=True, **authority.issue("127.0.0.1").keys) as way:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old = authority.client(highest=ssl.TLSVersion.TLSv1_1)
        old.set_ciphers("DEFAULT:@SECLEVEL=0")  # which OpenSSL needs to speak it at all
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await way.stream(old)
        await until(lambda: "unsupported protocol" in caplog.text)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            stream = await way.stream(authority.client(highest=version))
            assert stream.writer.get_extra_info("ssl_object").version() == version.name.replace("_", ".")


async def test_alpn_names_mqtt(authority: Authority) -> None:
    async with listening(ssl=True, **authority.issue("127.0.0.1").keys) as way:
        for offered, chosen in ((["mqtt"], "mqtt"), (["h2", "mqtt"], "mqtt"), (["h2"], None)):
            tls = authority.client()
            tls.set_alpn_protocols(offered)
            stream = await way.stream(tls)
            assert stream.writer.get_extra_info("ssl_object").selected_alpn_protocol() == chosen


async def test_who_speaks_no_tls_is_closed(authority: Authority) -> None:
    async with listening(ssl=True, **authority.issue("127.0.0.1").keys) as way:
        stream = await way.stream()
        stream.writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await stream.rest()
        await until(lambda: way.listener.limits.open == 0)
        await way.connected(tls=authority.client())


# Renewal


@pytest.fixture
def renewable(authority: Authority, tmp_path: Path) -> Files:
    """A certificate for old.example in files of its own, which may be replaced."""
    files = Files(tmp_path / "server.chain", tmp_path / "server.key")
    files.replace_by(authority.issue("old.example"))
    return files


async def test_a_reload_serves_the_new_certificate_and_keeps_connections(
    authority: Authority, renewable: Files
) -> None:
    async with listening(ssl=True, **renewable.keys) as way:
        context = authority.client()
        context.check_hostname = False
        client = await way.client(tls=context)
        await client.connect("c")
        assert await served_names(way, authority, "x.example") == ["old.example"]
        renewable.replace_by(authority.issue("new.example"))
        assert way.broker.reload_certificates() == []
        assert await served_names(way, authority, "x.example") == ["new.example"]
        await client.ping()


async def test_changed_files_are_noticed(
    authority: Authority, renewable: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wardenmq.broker.listeners.listeners._CERTIFICATE_CHECK", 0.0)
    monkeypatch.setattr("wardenmq.broker.broker._HOUSEKEEPING_INTERVAL", 0.01)
    async with listening(ssl=True, sni={"one.example": renewable.keys}, **authority.issue("a.example").keys) as way:
        assert way.listener.certificates is not None
        before = way.listener.certificates.context
        renewable.replace_by(authority.issue("new.example"))
        certificates = way.listener.certificates
        await until(lambda: certificates.context is not before and not certificates.changed)
        assert await served_names(way, authority, "one.example") == ["new.example"]


async def test_a_failing_reload_keeps_the_old_certificate(
    authority: Authority, renewable: Files, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(ssl=True, **renewable.keys) as way:
        house = way.broker._listeners
        house.keep_house(1_000.0)
        for broken in (b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", None):
            if broken is None:
                renewable.certfile.unlink()
            else:
                renewable.certfile.write_bytes(broken)
            (sentence,) = way.broker.reload_certificates()
            assert sentence.startswith(f"Listener ssl:default keeps its certificates: {renewable.certfile} and ")
            assert await served_names(way, authority, "x.example") == ["old.example"]
        caplog.clear()
        house.keep_house(1_001.0)  # too soon to look again
        house.keep_house(2_000.0)  # looked at, and unchanged since the reload that failed
        assert caplog.text == ""
        renewable.replace_by(authority.issue("new.example"))
        house.keep_house(3_000.0)
        assert await served_names(way, authority, "x.example") == ["new.example"]


async def test_a_certificate_whose_key_comes_later(
    authority: Authority, renewable: Files, caplog: pytest.LogCaptureFixture
) -> None:
    new = authority.issue("new.example")
    async with listening(ssl=True, **renewable.keys) as way:
        house = way.broker._listeners
        shutil.copy(new.certfile, renewable.certfile)
        house.keep_house(1_000.0)
        assert "the key is not the certificate's" in caplog.text
        assert await served_names(way, authority, "x.example") == ["old.example"]
        shutil.copy(new.keyfile, renewable.keyfile)
        house.keep_house(2_000.0)
        assert await served_names(way, authority, "x.example") == ["new.example"]


async def test_authorities_are_reloaded_too(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger")
    stranger.directory.mkdir()
    authorities = tmp_path / "authorities.pem"
    shutil.copy(authority.cafile, authorities)
    keys = {"cafile": str(authorities), "verify_client": "required", "certificate_username": "cn"}
    presented = stranger.issue("device", common_name="sensor-1")
    async with listening(ssl=True, **keys, **authority.issue("127.0.0.1").keys) as way:
        stream = await way.stream(authority.client(presented))
        assert await stream.rest() == b""
        shutil.copy(stranger.cafile, authorities)
        way.broker._listeners.keep_house(1_000_000.0)
        assert (await way.connected(tls=authority.client(presented))).certificate_name == "sensor-1"


def test_a_directory_of_authorities_is_watched_file_by_file(authority: Authority, tmp_path: Path) -> None:
    """A file that is written anew in its place changes nothing of the directory itself."""
    files = authority.issue("127.0.0.1")
    entry = tmp_path / "authorities" / "0123abcd.0"
    entry.parent.mkdir()
    certificates = Certificates(
        TlsSettings(
            CertificateFiles(str(files.certfile), str(files.keyfile)),
            capath=str(entry.parent),
            verify_client="required",
        )
    )
    for change in (
        lambda: entry.write_text("one"),
        lambda: entry.write_text("another"),
        lambda: entry.with_suffix(".1").symlink_to(entry),
        entry.unlink,
        lambda: shutil.rmtree(entry.parent),
    ):
        assert not certificates.changed
        change()
        assert certificates.changed
        certificates.reload()


# What cannot be used is said at the start


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ({"verify_client": "required"}, "needs 'cafile', 'capath' or 'cadata'"),
        ({"certificate_username": "cn"}, "needs 'verify_client'"),
        ({"ssl": False, "verify_client": "required"}, "only with 'ssl: true'"),
        ({"ssl": False, "certificate_username": "san"}, "only with 'ssl: true'"),
        ({"cadata": "no certificate"}, "'cadata' cannot be used"),
    ],
)
async def test_contradictions_keep_the_broker_from_starting(
    authority: Authority, keys: dict[str, object], part: str
) -> None:
    with pytest.raises(BrokerError, match=part):
        async with listening(**{"ssl": True, **authority.issue("127.0.0.1").keys, **keys}):
            pass


async def test_a_listener_with_tls_needs_a_certificate() -> None:
    with pytest.raises(BrokerError, match="needs 'certfile' and 'keyfile'"):
        async with listening(ssl=True):
            pass


def test_a_key_with_a_password_is_refused_without_asking(authority: Authority, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    files = authority.issue("127.0.0.1")
    key = serialization.load_pem_private_key(files.keyfile.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(CertificateError, match="the key is protected by a password"):
        Certificates(TlsSettings(CertificateFiles(str(files.certfile), str(locked))))


def test_a_look_at_the_files_is_cheap_and_notices_every_kind_of_change(authority: Authority, renewable: Files) -> None:
    certificates = Certificates(
        TlsSettings(CertificateFiles(str(renewable.certfile), str(renewable.keyfile)), cafile=authority.cafile)
    )
    assert not certificates.changed
    os.utime(renewable.certfile, (1, 1))
    assert certificates.changed
    certificates.reload()
    assert not certificates.changed
    renewable.keyfile.unlink()
    assert certificates.changed


async def test_tls_that_does_not_begin_in_time_is_closed(authority: Authority) -> None:
    settings = MqttSettings(connect_timeout=0.1)
    async with listening(ssl=True, settings=settings, **authority.issue("127.0.0.1").keys) as way:
        stream = await way.stream()
        stream.writer.write(b"\x16\x03\x01")
        await stream.rest()
        await until(lambda: way.listener.handshaking == way.listener.limits.open == 0)
