"""What the management can tell a listener: addresses, paths, rates, TLS versions and a key's password."""

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from wardenmq.broker.listeners.limits import BrokerLimits, ListenerLimits
from wardenmq.broker.listeners.options import CertificateFiles
from wardenmq.broker.listeners.policy import ListenerPolicy, read_access_rules
from wardenmq.broker.listeners.tls import CertificateError, Certificates, TlsSettings
from wardenmq.broker.protocol.reason_codes import ReasonCode
from wardenmq.broker.settings import MqttSettings

from .certificates import Authority


@pytest.mark.parametrize(
    ("rules", "host", "admitted"),
    [
        ([], "192.0.2.1", True),
        (["allow all"], "192.0.2.1", True),
        (["deny all"], "192.0.2.1", False),
        (["deny 192.0.2.0/24"], "192.0.2.1", False),
        (["deny 192.0.2.0/24"], "198.51.100.1", True),
        (["allow 192.0.2.7", "deny all"], "192.0.2.7", True),
        (["allow 192.0.2.7", "deny all"], "192.0.2.8", False),
        (["deny 192.0.2.7/24"], "192.0.2.1", False),
        (["deny 192.0.2.0/24"], "::ffff:192.0.2.1", False),
        (["deny fe80::/10"], "fe80::1%eth0", False),
        (["deny 2001:db8::/32"], "192.0.2.1", True),
        (["deny all"], "/run/socket", True),
    ],
)
def test_the_first_rule_that_covers_an_address_decides(rules: list[str], host: str, admitted: bool) -> None:
    assert ListenerPolicy(access=read_access_rules(rules)).admits(host) is admitted


@pytest.mark.parametrize("rule", ["", "allow", "permit all", "deny here", "allow 192.0.2.0/33", "all allow"])
def test_what_is_no_rule(rule: str) -> None:
    with pytest.raises(ValueError, match=r"is not of the form|names neither"):
        read_access_rules([rule])


def test_who_may_not_come_takes_nothing_from_the_rate() -> None:
    limits = ListenerLimits(
        0, BrokerLimits(MqttSettings()), ListenerPolicy(access=read_access_rules(["deny 192.0.2.1"]))
    )
    assert limits.check("192.0.2.1", 0.0) is ReasonCode.NOT_AUTHORIZED
    assert limits.check("192.0.2.2", 0.0) is None
    assert limits.turned_away == {ReasonCode.NOT_AUTHORIZED: 1}


def test_a_listeners_own_rate_and_how_it_changes() -> None:
    limits = ListenerLimits(0, BrokerLimits(MqttSettings()), ListenerPolicy(max_connect_rate=0.5))
    assert [limits.check("192.0.2.1", 0.0) for _ in range(2)] == [None, ReasonCode.CONNECTION_RATE_EXCEEDED]
    limits.change(1, ListenerPolicy(max_connect_rate=0.0))
    assert limits.check("192.0.2.1", 0.0) is None
    limits.enter()
    assert limits.check("192.0.2.1", 0.0) is ReasonCode.QUOTA_EXCEEDED


def test_the_brokers_bounds_change_for_all() -> None:
    broker = BrokerLimits(MqttSettings())
    limits = ListenerLimits(0, broker)
    limits.enter()
    broker.change(MqttSettings(max_connections=1))
    assert limits.check("192.0.2.1", 0.0) is ReasonCode.QUOTA_EXCEEDED


@pytest.mark.parametrize(
    ("versions", "lowest", "highest"),
    [
        (("tlsv1.3", "tlsv1.2"), ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3),
        (("tlsv1.3",), ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3),
        (("tlsv1.2",), ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2),
    ],
)
def test_tls_versions(
    authority: Authority, versions: tuple[str, ...], lowest: ssl.TLSVersion, highest: ssl.TLSVersion
) -> None:
    files = authority.issue("localhost")
    settings = TlsSettings(CertificateFiles(str(files.certfile), str(files.keyfile)), versions=versions)
    context = Certificates(settings).context
    assert (context.minimum_version, context.maximum_version) == (lowest, highest)


def test_ciphers_that_there_are_not(authority: Authority) -> None:
    files = CertificateFiles(**authority.issue("localhost").keys)
    ciphers = {
        entry["name"] for entry in Certificates(TlsSettings(files, ciphers=("AES256-SHA",))).context.get_ciphers()
    }
    assert "AES256-SHA" in ciphers
    with pytest.raises(CertificateError, match="ciphers"):
        Certificates(TlsSettings(files, ciphers=("none",)))


def test_a_key_with_a_password(authority: Authority, tmp_path: Path) -> None:
    files = authority.issue("localhost")
    key = load_pem_private_key(files.keyfile.read_bytes(), None)
    locked = tmp_path / "locked.pem"
    encryption = BestAvailableEncryption(b"secret")
    locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    named = CertificateFiles(str(files.certfile), str(locked))
    Certificates(TlsSettings(named, key_password="secret"))
    for wrong in (None, "wrong"):
        with pytest.raises(CertificateError) as caught:
            Certificates(TlsSettings(named, key_password=wrong))
        assert "secret" not in str(caught.value)
    assert "secret" not in repr(TlsSettings(named, key_password="secret"))
    assert "secret" not in repr(ListenerPolicy(key_password="secret"))
