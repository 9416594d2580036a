"""The settings: defaults, the order of the sources, and a sentence for whatever is wrong."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from amqtt.contexts import ListenerConfig
from wardenmq.broker.listeners.addresses import read_address
from wardenmq.broker.listeners.configuration import read_config
from wardenmq.broker.listeners.options import CertificateFiles, ListenerOptions
from wardenmq.broker.settings import MqttSettings
from wardenmq.config.errors import ConfigError
from wardenmq.config.sections import AccessSection, ApiSection, ListenerSection, MqttSection
from wardenmq.config.settings import CREDENTIAL_PLUGIN, TOPIC_ACL_PLUGIN, Settings, default_yaml
from wardenmq.mgmt_api.settings import ApiSettings
from wardenmq.store.directory import DirectoryOptions


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take out what the machine that runs the tests may have set."""
    import os

    for name in [name for name in os.environ if name.upper().startswith("WARDENMQ_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "wardenmq.yaml"


def load(file: Path, text: str, overrides: dict[str, Any] | None = None) -> Settings:
    file.write_text(text)
    return Settings.load(file, overrides)


def refusal(file: Path, text: str, overrides: dict[str, Any] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(file, text, overrides)
    sentence = str(caught.value)
    assert sentence.endswith((".", "?"))
    assert "\n" not in sentence
    return sentence


# -- the defaults


def test_the_commented_yaml_is_the_defaults(file: Path) -> None:
    assert load(file, default_yaml()) == Settings.load()


def test_the_commented_yaml_names_every_setting(file: Path) -> None:
    load(file, default_yaml())
    import yaml

    written = yaml.safe_load(default_yaml())
    assert set(written) == set(Settings.model_fields)
    for section in ("mqtt", "access", "api", "log"):
        model = Settings.model_fields[section].annotation
        assert model is not None
        assert list(written[section]) == list(model.model_fields)


def test_the_defaults_are_safe() -> None:
    settings = Settings.load()
    assert all((listener.bind or "").startswith("127.0.0.1:") for listener in settings.listeners.values())
    assert settings.api.bind.startswith("127.0.0.1:")
    assert settings.plugins == {CREDENTIAL_PLUGIN: {"allow_anonymous": False}, TOPIC_ACL_PLUGIN: {}}


@pytest.mark.parametrize(
    ("section", "settings"), [(MqttSection(), MqttSettings()), (ApiSection(), ApiSettings())], ids=["mqtt", "api"]
)
def test_a_section_has_the_fields_of_what_it_configures(section: Any, settings: Any) -> None:
    assert section.model_dump() == dataclasses.asdict(settings)


def test_the_access_section_has_the_directorys_options() -> None:
    options = dataclasses.asdict(DirectoryOptions())
    elsewhere = {key: options.pop(key) for key in ("password_wait_limit", "scram_iterations")}
    assert AccessSection().model_dump() == options
    assert elsewhere == {key: getattr(MqttSection(), key) for key in elsewhere}


def test_a_listener_has_amqtts_keys_and_ours() -> None:
    keys = [field.name for kind in (ListenerConfig, ListenerOptions) for field in dataclasses.fields(kind)]
    assert list(ListenerSection.model_fields) == keys


def test_the_commented_yaml_mentions_every_key_of_a_listener() -> None:
    comments = default_yaml().partition("plugins:")[0]
    unused = {"reader", "writer"}  # amqtt has them and makes nothing of them
    assert [key for key in ListenerSection.model_fields if key not in comments and key not in unused] == []


def test_amqtt_takes_the_listeners_and_plugins() -> None:
    settings = Settings.load()
    listeners = {name: listener.for_amqtt() for name, listener in settings.listeners.items()}
    config, options = read_config({"listeners": listeners, "plugins": dict(settings.plugins)})
    assert (config.listeners["ws"].type, config.listeners["ws"].bind) == ("ws", "127.0.0.1:8083")
    assert options == {"default": ListenerOptions(), "ws": ListenerOptions()}


LISTENERS = """
listeners:
  default:
    bind: "[::1]:8883"
    ssl: true
    certfile: {pem}
    keyfile: {pem}
    cafile: {pem}
    verify_client: required
    certificate_username: cn
    sni: {{a.example: {{certfile: {pem}, keyfile: {pem}}}}}
    proxy_protocol: true
  wss: {{type: ws, bind: ":8084", origins: ["https://app.example"], proxy_protocol: false, verify_client: optional}}
  local: {{bind: unix:/run/mqtt.sock, ssl: false, socket_mode: "0600"}}
"""


def test_listeners_inherit_from_default_and_reach_the_broker(file: Path, tmp_path: Path) -> None:
    pem = tmp_path / "a.pem"
    pem.touch()
    settings = load(file, LISTENERS.format(pem=pem))
    listeners = {name: listener.for_amqtt() for name, listener in settings.listeners.items()}
    config, options = read_config({"listeners": listeners})
    wss, local = config.listeners["wss"], config.listeners["local"]
    assert (wss.type, wss.bind, wss.ssl, wss.certfile, wss.cafile) == ("ws", ":8084", True, pem, pem)
    assert (local.type, local.bind, local.ssl) == ("tcp", "unix:/run/mqtt.sock", False)
    sni = {"a.example": CertificateFiles(str(pem), str(pem))}
    assert options == {
        "default": ListenerOptions("required", "cn", sni, None, True),
        "wss": ListenerOptions("optional", "cn", sni, ("https://app.example",)),
        "local": ListenerOptions(proxy_protocol=True, socket_mode=0o600),
    }


def test_a_listener_needs_an_address_of_its_own(file: Path) -> None:
    assert "'listeners.second'" in refusal(file, "listeners: {default: {bind: 'a:1'}, second: {}}")


# -- the sources


def test_environment_over_file_and_overrides_over_both(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARDENMQ_MQTT__MAX_INFLIGHT", "11")
    monkeypatch.setenv("WARDENMQ_MQTT__MAX_RETAINED", "12")
    text = "mqtt: {max_inflight: 1, max_retained: 2, max_subscriptions: 3}"
    mqtt = load(file, text, {"mqtt": {"max_inflight": 21}}).mqtt
    assert (mqtt.max_inflight, mqtt.max_retained, mqtt.max_subscriptions) == (21, 12, 3)


def test_the_bootstrap_file_has_a_short_name_in_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "api: {bootstrap_file: in-the-file, max_rules: 7}"
    monkeypatch.setenv("WARDENMQ_BOOTSTRAP_FILE", "short")
    api = load(file, text).api
    assert (api.bootstrap_file, api.max_rules) == ("short", 7)
    monkeypatch.setenv("WARDENMQ_API__BOOTSTRAP_FILE", "long")
    assert load(file, text).api.bootstrap_file == "long"


def test_a_flag_changes_one_default_listener_and_keeps_the_other() -> None:
    listeners = Settings.load(None, {"listeners": {"default": {"bind": "127.0.0.1:0"}}}).listeners
    assert {name: listener.bind for name, listener in listeners.items()} == {
        "default": "127.0.0.1:0",
        "ws": "127.0.0.1:8083",
    }


@pytest.mark.parametrize("section", ["listeners: {default: {bind: '127.0.0.1:1'}}", "plugins: {a.B: {c: 1}}"])
def test_the_files_listeners_and_plugins_replace_the_default_ones(file: Path, section: str) -> None:
    settings = load(file, section)
    name = section.partition(":")[0]
    assert len(getattr(settings, name)) == 1
    other = "plugins" if name == "listeners" else "listeners"
    assert getattr(settings, other) == getattr(Settings.load(), other)


def test_an_environment_variable_reaches_a_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARDENMQ_LISTENERS__DEFAULT__BIND", "0.0.0.0:1")
    assert Settings.load().listeners["default"].bind == "0.0.0.0:1"


def test_what_kubernetes_sets_for_a_service_of_our_name_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARDENMQ_PORT", "tcp://10.0.0.1:1883")
    monkeypatch.setenv("WARDENMQ_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("WARDENMQ_API_PORT_18083_TCP_ADDR", "10.0.0.1")
    assert Settings.load().api == ApiSection()


def test_what_is_acknowledged_survives_the_end_of_the_process_unless_told_otherwise(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Settings.load().durability == "process"
    assert load(file, "durability: power").durability == "power"
    assert load(file, "durability: none").durability == "none"
    assert load(file, "durability:").durability == "process"
    monkeypatch.setenv("WARDENMQ_DURABILITY", "none")
    assert load(file, "durability: power").durability == "none"
    assert load(file, "durability: power", {"durability": "process"}).durability == "process"
    monkeypatch.setenv("WARDENMQ_DURABILITY", "disk")
    sentence = refusal(file, "durability: power")
    assert "'durability' in the environment" in sentence
    assert "'disk'" not in sentence


def test_the_journals_bounds(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smallest = "mqtt: {shutdown_timeout: 0, max_unwritten_bytes: 1048576, max_queued_memory: 0}"
    mqtt = load(file, smallest).mqtt
    assert (mqtt.shutdown_timeout, mqtt.max_unwritten_bytes, mqtt.max_queued_memory) == (0.0, 1_048_576, 0)
    monkeypatch.setenv("WARDENMQ_MQTT__MAX_UNWRITTEN_BYTES", "2000000")
    mqtt = load(file, smallest).mqtt
    assert (mqtt.shutdown_timeout, mqtt.max_unwritten_bytes, mqtt.max_queued_memory) == (0.0, 2_000_000, 0)


@pytest.mark.parametrize("text", ["", "# nothing\n", "mqtt:\nplugins:\n"])
def test_what_is_empty_is_the_default(file: Path, text: str) -> None:
    assert load(file, text) == Settings.load()


def test_amqtts_list_of_plugins(file: Path) -> None:
    assert load(file, "plugins:\n  - a.B\n  - c.D: {e: 1}\n  - f.G:\n").plugins == {
        "a.B": {},
        "c.D": {"e": 1},
        "f.G": {},
    }


@pytest.mark.parametrize(
    "bind",
    ["1883", "'1883'", "':1883'", "localhost", "0.0.0.0", "'[::1]'", "'[::1]:1883'", "''", "0.0.0.0:1883", "unix:/a"],
)
def test_an_address_is_what_the_broker_reads(file: Path, bind: str) -> None:
    listener = load(file, f"listeners: {{default: {{bind: {bind}, max_connections: -1}}}}").listeners["default"]
    config, _ = read_config({"listeners": {"default": listener.for_amqtt()}})
    assert (config.listeners["default"].bind, config.listeners["default"].max_connections) == (bind.strip("'"), -1)
    assert str(read_address(bind.strip("'"), 1883, 0))


# -- what is wrong

TLS = "bind: 'a:1', ssl: true, certfile: x, keyfile: x"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("listners: {}", ["'listners'", "did you mean 'listeners'?"]),
        ("zzz: 1", ["'zzz'", "known here are access, api, data_dir, durability, listeners"]),
        ("mqtt: {max_inflght: 3}", ["'mqtt.max_inflght'", "did you mean 'max_inflight'?"]),
        ("listeners: {default: {bnd: '127.0.0.1:0'}}", ["'listeners.default.bnd'", "did you mean 'bind'?"]),
        ("mqtt: 3", ["'mqtt'", "must be a mapping"]),
        ("mqtt: {max_inflight: 0}", ["'mqtt.max_inflight'", "greater than or equal to 1"]),
        ("mqtt: {max_inflight: many}", ["'mqtt.max_inflight'", "integer"]),
        ("durabilty: power", ["'durabilty'", "did you mean 'durability'?"]),
        ("durability: disk", ["'durability'", "'process'", "'power'", "'none'"]),
        ("durability: {level: power}", ["'durability'", "'process'"]),
        ("mqtt: {durability: power}", ["'mqtt.durability'"]),
        ("mqtt: {shutdown_timout: 1}", ["'mqtt.shutdown_timout'", "did you mean 'shutdown_timeout'?"]),
        ("mqtt: {shutdown_timeout: -0.1}", ["'mqtt.shutdown_timeout'", "greater than or equal to 0"]),
        ("mqtt: {shutdown_timeout: .inf}", ["'mqtt.shutdown_timeout'", "finite"]),
        ("mqtt: {max_unwriten_bytes: 1}", ["'mqtt.max_unwriten_bytes'", "did you mean 'max_unwritten_bytes'?"]),
        ("mqtt: {max_unwritten_bytes: 1048575}", ["'mqtt.max_unwritten_bytes'", "1048576"]),
        ("mqtt: {max_queue_memory: 1}", ["'mqtt.max_queue_memory'", "did you mean 'max_queued_memory'?"]),
        ("mqtt: {max_queued_memory: -1}", ["'mqtt.max_queued_memory'", "greater than or equal to 0"]),
        ("mqtt: {connect_timeout: .inf}", ["'mqtt.connect_timeout'", "finite"]),
        ("api: {bind: nowhere}", ["'api.bind'", "HOST:PORT"]),
        ("api: {bind: 'a:65536'}", ["'api.bind'", "65535"]),
        ("listeners: {other: {bind: '127.0.0.1:0'}}", ["'listeners'", "'default'"]),
        ("listeners: {default: {}}", ["'listeners.default'", "bind"]),
        ("listeners: {default: {bind: 'a:1', ssl: true}}", ["'listeners.default'", "certfile"]),
        ("listeners: {default: {bind: 'a:1', certfile: x}}", ["'listeners.default'", "keyfile"]),
        ("listeners: {default: {bind: 'unix:mqtt.sock'}}", ["'listeners.default.bind'", "absolute path"]),
        ("listeners: {default: {bind: '18a83:b'}}", ["'listeners.default.bind'", "no port"]),
        ("listeners: {default: {bind: 65536}}", ["'listeners.default.bind'", "no port"]),
        ("listeners: {default: {bind: true}}", ["'listeners.default.bind'", "string"]),
        ("listeners: {default: {bind: 'a:1', max_connections: -2}}", ["'listeners.default.max_connections'"]),
        ("listeners: {default: {bind: 'a:1', verify_client: required}}", ["'listeners.default'", "'ssl: true'"]),
        ("listeners: {default: {bind: 'a:1', certificate_username: cn}}", ["'listeners.default'", "'ssl: true'"]),
        (f"listeners: {{default: {{{TLS}, verify_client: required}}}}", ["'listeners.default'", "'cafile'"]),
        (f"listeners: {{default: {{{TLS}, certificate_username: san}}}}", ["'listeners.default'", "'cafile'"]),
        (
            f"listeners: {{default: {{{TLS}}}, b: {{bind: 'a:2', verify_client: maybe}}}}",
            ["'listeners.b.verify_client'"],
        ),
        (f"listeners: {{default: {{{TLS}, sni: {{a: {{}}}}}}}}", ["'listeners.default.sni.a.certfile'"]),
        (
            f"listeners: {{default: {{{TLS}, sni: {{a: {{cert: x}}}}}}}}",
            ["'listeners.default.sni.a.cert'", "did you mean 'certfile'?"],
        ),
        ("listeners: {default: {bind: 'a:1', socket_mode: 660}}", ["'listeners.default.socket_mode'", "in quotes"]),
        ("listeners: {default: {bind: 'a:1', socket_mode: '999'}}", ["'listeners.default.socket_mode'"]),
        ("listeners: {default: {bind: 'a:1', origins: [app.example]}}", ["'listeners.default.origins'", "SCHEME://"]),
        ("listeners: {default: {bind: 'a:1', origins: ['https://a/b']}}", ["'listeners.default.origins'", "SCHEME"]),
        ("plugins: {a.B: 3}", ["'plugins.a.B'", "must be a mapping"]),
        ("log: {level: loud}", ["'log.level'", "'debug'"]),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_key_and_the_file(file: Path, text: str, parts: list[str]) -> None:
    sentence = refusal(file, text)
    assert [part for part in [*parts, f"in the configuration file {file}"] if part not in sentence] == [], sentence


def test_a_mistake_names_the_topmost_source_that_made_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARDENMQ_MQTT__MAX_INFLIGHT", "0")
    assert "in the environment" in refusal(file, "mqtt: {max_inflight: 5}")
    assert "on the command line" in refusal(file, "", {"mqtt": {"max_inflight": -1}})


@pytest.mark.parametrize(
    ("variable", "value", "parts"),
    [
        ("WARDENMQ_MQTT__MAXINFLIGHT", "3", ["'mqtt.maxinflight'", "did you mean 'max_inflight'?"]),
        ("WARDENMQ_MQT__MAX_INFLIGHT", "3", ["WARDENMQ_MQT__MAX_INFLIGHT", "did you mean 'mqtt'?"]),
        ("WARDENMQ_PLUGINS", "{", ["plugins", "JSON"]),
    ],
)
def test_a_mistake_in_the_environment(
    file: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, parts: list[str]
) -> None:
    monkeypatch.setenv(variable, value)
    sentence = refusal(file, "")
    assert [part for part in parts if part not in sentence] == [], sentence


def test_a_value_is_not_repeated(file: Path) -> None:
    assert "hunter2" not in refusal(file, "mqtt: {max_inflight: hunter2}")
