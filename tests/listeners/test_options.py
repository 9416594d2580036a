"""A listener's keys: ours beside amqtt's, what `default` passes on, and what is wrong with a value."""

from pathlib import Path
from typing import Any

import pytest
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType
from amqtt.errors import BrokerError
from wardenmq.broker.broker import Broker
from wardenmq.broker.listeners.configuration import read_config
from wardenmq.broker.listeners.options import CertificateFiles, ListenerOptions

from ..engine.brokers import ANONYMOUS

PEM = {"certfile": "chain.pem", "keyfile": "key.pem"}


@pytest.fixture(autouse=True)
def files_that_amqtt_looks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (*PEM.values(), "ca.pem", "other.pem"):
        Path(name).touch()


def read(**listeners: dict[str, Any]) -> tuple[dict[str, ListenerConfig], dict[str, ListenerOptions]]:
    config, options = read_config({"listeners": listeners})
    return config.listeners, options


def test_without_our_keys_everything_is_amqtts() -> None:
    given = {"default": {"type": "tcp", "bind": "0.0.0.0:1"}, "ws": {"type": "ws", "bind": "0.0.0.0:2"}}
    listeners, options = read(**given)
    assert listeners == BrokerConfig.from_dict({"listeners": given}).listeners
    assert options == {"default": ListenerOptions(), "ws": ListenerOptions()}


def test_our_keys_are_taken_out() -> None:
    _, options = read(
        default={
            "bind": "0.0.0.0:1",
            "ssl": True,
            "cafile": "ca.pem",
            "verify_client": "required",
            "certificate_username": "san",
            "sni": {"One.example": PEM},
            "origins": ["https://App.example/", "null"],
            "proxy_protocol": True,
            "socket_mode": "0600",
            **PEM,
        }
    )
    assert options == {
        "default": ListenerOptions(
            verify_client="required",
            certificate_username="san",
            sni={"one.example": CertificateFiles("chain.pem", "key.pem")},
            origins=("https://app.example", "null"),
            proxy_protocol=True,
            socket_mode=0o600,
        )
    }


def test_the_mapping_that_is_given_stays_as_it_was() -> None:
    given = {"listeners": {"default": {"bind": ":1", "proxy_protocol": True}}, "auth": None, "topic-check": None}
    before = repr(given)
    read_config(given)
    assert repr(given) == before


# What `default` passes on


def test_what_a_listener_does_not_set_it_has_from_default() -> None:
    listeners, options = read(
        default={"bind": ":1", "max_connections": 5, "ssl": True, "proxy_protocol": True, "cafile": "ca.pem", **PEM},
        second={"bind": ":2"},
        third={"bind": ":3", "type": "ws", "max_connections": 7, "proxy_protocol": False, "cafile": "other.pem"},
    )
    second, third = listeners["second"], listeners["third"]
    assert (second.type, second.bind, second.max_connections, second.ssl) == (ListenerType.TCP, ":2", 5, True)
    assert (str(second.cafile), str(second.certfile)) == ("ca.pem", "chain.pem")
    assert (third.type, third.max_connections, third.ssl) == (ListenerType.WS, 7, True)
    assert (str(third.cafile), str(third.keyfile)) == ("other.pem", "key.pem")
    assert (options["second"].proxy_protocol, options["third"].proxy_protocol) == (True, False)


@pytest.mark.parametrize(
    ("key", "above", "own"),
    [("ssl", True, False), ("max_connections", 5, 0), ("type", "ws", "tcp"), ("cafile", "ca.pem", None)],
)
def test_a_value_that_is_set_wins_even_if_it_is_amqtts_default(key: str, above: object, own: object) -> None:
    """amqtt itself takes such a value for one that is not set."""
    given = {"default": {"bind": ":1", **PEM, key: above}, "second": {"bind": ":2", key: own}}
    assert getattr(read(**given)[0]["second"], key) == own
    assert str(getattr(BrokerConfig.from_dict({"listeners": given}).listeners["second"], key)) == str(above)


def test_without_tls_nothing_of_tls_is_passed_on() -> None:
    above = {"bind": ":1", "ssl": True, "cafile": "ca.pem", "verify_client": "required", **PEM}
    _, options = read(
        default={**above, "certificate_username": "cn", "sni": {"a": PEM}, "proxy_protocol": True},
        plain={"bind": ":2", "ssl": False},
    )
    assert options["plain"] == ListenerOptions(proxy_protocol=True)


# What is wrong


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ({"verify_client": "maybe"}, "'verify_client' must be one of none, optional, required"),
        ({"verify_client": True}, "'verify_client' must be one of"),
        ({"certificate_username": "dn"}, "'certificate_username' must be one of none, cn, san"),
        ({"proxy_protocol": "yes"}, "'proxy_protocol' must be true or false"),
        ({"origins": "https://app.example"}, "'origins' must be a list"),
        ({"origins": [1]}, "'origins' must be a list"),
        ({"origins": ["https://a/b"]}, "'origins' must be a list"),
        ({"proxy_networks": "10.0.0.0/8"}, "'proxy_networks' must be a list"),
        ({"proxy_networks": ["10.0.0.1/8"]}, "'proxy_networks' must be a list"),
        ({"proxy_networks": ["proxy.example"]}, "'proxy_networks' must be a list"),
        ({"socket_mode": 660}, "'socket_mode' must be octal digits in quotes"),
        ({"socket_mode": 0o660}, "'socket_mode' must be octal digits in quotes"),
        ({"socket_mode": "rw"}, "'socket_mode' must be octal digits in quotes"),
        ({"socket_mode": "0888"}, "'socket_mode' must be octal digits in quotes"),
        ({"socket_mode": "7777"}, "'socket_mode' must be octal digits in quotes"),
        ({"sni": ["a.example"]}, "'sni' must have 'certfile' and 'keyfile' for each host name"),
        ({"sni": {"a.example": "chain.pem"}}, "'sni' must have"),
        ({"sni": {"a.example": {"certfile": "chain.pem"}}}, "'sni' must have"),
        ({"sni": {"a.example": {**PEM, "cafile": "x"}}}, "'sni' must have"),
    ],
)
def test_a_wrong_value_is_said(keys: dict[str, Any], part: str) -> None:
    with pytest.raises(BrokerError, match=part) as caught:
        read(default={"bind": ":1"}, other={"bind": ":2", **keys})
    assert "listener 'other'" in str(caught.value)


def test_a_key_that_nobody_knows_is_amqtts_to_refuse() -> None:
    with pytest.raises(Exception, match="bnd") as ours:
        read(default={"bnd": ":1"})
    with pytest.raises(Exception, match="bnd") as amqtts:
        BrokerConfig.from_dict({"listeners": {"default": {"bnd": ":1"}}})
    assert ours.type is amqtts.type


async def test_a_broker_takes_amqtts_own_objects_too() -> None:
    for config in (
        BrokerConfig(listeners={"default": ListenerConfig(bind="127.0.0.1:0")}, plugins=dict(ANONYMOUS)),
        {"listeners": {"default": ListenerConfig(bind="127.0.0.1:0")}, "plugins": dict(ANONYMOUS)},
    ):
        broker = Broker(config)
        await broker.start()
        assert broker.addresses["default"][0] == "127.0.0.1"
        await broker.shutdown()


async def test_plugins_see_amqtts_configuration() -> None:
    broker = Broker({"listeners": {"default": {"bind": ":0", "proxy_protocol": True}}, "plugins": dict(ANONYMOUS)})
    assert broker.config.listeners["default"] == ListenerConfig(bind=":0")
    assert broker.listeners_config is broker.config.listeners
