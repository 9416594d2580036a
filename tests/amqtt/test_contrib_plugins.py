"""amqtt's contributed plugins for HTTP and certificates, unchanged, on stock amqtt and on ours."""

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import amqtt.broker
import pytest
import pytest_asyncio
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from ..engine.wire import CONNACK, Client, connect
from .contrib import load
from .parties import BOTH, NAMES, OPEN, running

http = load("http")
cert = load("cert")

Kind = type[amqtt.broker.Broker]
KINDS = pytest.mark.parametrize("kind", BOTH, ids=[NAMES[kind] for kind in BOTH])


class _Judge:
    """An HTTP service that knows one user and one topic."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.port = 0

    async def user(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.asked.append(asked)
        return web.json_response({"ok": asked["username"] == "alice" and asked["password"] == "secret"})

    async def topic(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.asked.append(asked)
        return web.json_response({"ok": asked["username"] == "alice" and asked["topic"] == "own"})


@pytest_asyncio.fixture
async def judge() -> AsyncIterator[_Judge]:
    judge = _Judge()
    app = web.Application()
    app.router.add_post("/user", judge.user)
    app.router.add_post("/acl", judge.topic)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    judge.port = runner.addresses[0][1]
    yield judge
    await runner.cleanup()


def _asking(judge: _Judge) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": judge.port, "request_method": http.RequestMethod.POST}


@KINDS
async def test_http_authentication(kind: Kind, judge: _Judge) -> None:
    async with running(kind, {"amqtt_contrib_http.UserAuthHttpPlugin": _asking(judge)}) as party:
        await party.connected("good", username="alice", password=b"secret")
        bad = await party.open()
        bad.send(connect("bad", username="alice", password=b"wrong"))
        assert (await bad.expect(CONNACK)).body[1] in (4, 5)
    assert judge.asked == [
        {"username": "alice", "password": "secret", "client_id": "good"},
        {"username": "alice", "password": "wrong", "client_id": "bad"},
    ]


@KINDS
async def test_http_authorisation(kind: Kind, judge: _Judge) -> None:
    """Each subscription, message and receiver is asked about, in this order."""
    async with running(kind, {**OPEN, "amqtt_contrib_http.TopicAuthHttpPlugin": _asking(judge)}) as party:
        alice = await party.connected("a", username="alice")
        assert await alice.subscribe(("own", 1), ("other", 1)) == [1, 0x80]
        await alice.publish("own", b"x", 1)
        assert (await alice.message()).payload == b"x"
        await alice.publish("other", b"y", 1)
        await alice.nothing_came()
    shown = [(asked["topic"], asked["acc"]) for asked in judge.asked]
    assert shown == [("own", 4), ("other", 4), ("own", 2), ("own", 1), ("other", 2)]


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an authority, a server's certificate and those of two devices, one of another domain."""
    folder = tmp_path_factory.mktemp("certificates")
    ca_key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
    now = datetime.datetime.now(datetime.UTC)
    ca = (
        x509.CertificateBuilder(name, name, ca_key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    (folder / "ca.crt").write_bytes(ca.public_bytes(cert.serialization.Encoding.PEM))
    key, request = cert.generate_server_csr("DE", "test", "localhost")
    cert.write_key_and_crt(key, cert.sign_csr(request, ca_key, ca), "server", folder)
    for domain, prefix in (("test.example", "device"), ("other.example", "stranger")):
        uri = f"spiffe://{domain}/device/device1"
        key, request = cert.generate_device_csr("DE", "test", "device1", uri, "device1.local")
        cert.write_key_and_crt(key, cert.sign_csr(request, ca_key, ca), prefix, folder)
    return folder


async def _return_code(address: tuple[str, int], folder: Path, prefix: str | None, client_id: str) -> int:
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    if prefix is not None:
        context.load_cert_chain(folder / f"{prefix}.crt", folder / f"{prefix}.key")
    client = Client(*await asyncio.open_connection(*address, ssl=context, server_hostname="localhost"))
    try:
        client.send(connect(client_id))
        return (await client.expect(CONNACK)).body[1]
    finally:
        client.abort()


@KINDS
async def test_certificate_authentication(kind: Kind, credentials: Path) -> None:
    listener = {
        "type": "tcp",
        "bind": "127.0.0.1:0",
        "ssl": True,
        "cafile": str(credentials / "ca.crt"),
        "certfile": str(credentials / "server.crt"),
        "keyfile": str(credentials / "server.key"),
    }
    plugins = {"amqtt_contrib_cert.UserAuthCertPlugin": {"uri_domain": "test.example"}}
    async with running(kind, plugins, listeners={"default": listener}) as party:
        assert await _return_code(party.address, credentials, "device", "device1") == 0
        assert await _return_code(party.address, credentials, "device", "device2") in (4, 5)
        assert await _return_code(party.address, credentials, "stranger", "device1") in (4, 5)
        assert await _return_code(party.address, credentials, None, "device1") in (4, 5)
