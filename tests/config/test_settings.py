"""The settings: defaults, the order of the sources, and a sentence for whatever is wrong."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from amqtt.contexts import BrokerConfig, ListenerConfig
from wardenmq.broker.settings import MqttSettings
from wardenmq.config.errors import ConfigError
from wardenmq.config.sections import ApiSection, ListenerSection, MqttSection
from wardenmq.config.settings import CREDENTIAL_PLUGIN, TOPIC_ACL_PLUGIN, Settings, default_yaml
from wardenmq.mgmt_api.settings import ApiSettings


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
    for section in ("mqtt", "api", "log"):
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
    assert section.model_dump(exclude={"bind"}) == dataclasses.asdict(settings)


def test_a_listener_has_amqtts_keys() -> None:
    assert list(ListenerSection.model_fields) == [field.name for field in dataclasses.fields(ListenerConfig)]


def test_amqtt_takes_the_listeners_and_plugins() -> None:
    settings = Settings.load()
    listeners = {name: listener.for_amqtt() for name, listener in settings.listeners.items()}
    config = BrokerConfig.from_dict({"listeners": listeners, "plugins": dict(settings.plugins)})
    assert (config.listeners["ws"].type, config.listeners["ws"].bind) == ("ws", "127.0.0.1:8083")


# -- the sources


def test_environment_over_file_and_overrides_over_both(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARDENMQ_MQTT__MAX_INFLIGHT", "11")
    monkeypatch.setenv("WARDENMQ_MQTT__MAX_RETAINED", "12")
    text = "mqtt: {max_inflight: 1, max_retained: 2, max_subscriptions: 3}"
    mqtt = load(file, text, {"mqtt": {"max_inflight": 21}}).mqtt
    assert (mqtt.max_inflight, mqtt.max_retained, mqtt.max_subscriptions) == (21, 12, 3)


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


@pytest.mark.parametrize("text", ["", "# nothing\n", "mqtt:\nplugins:\n"])
def test_what_is_empty_is_the_default(file: Path, text: str) -> None:
    assert load(file, text) == Settings.load()


def test_amqtts_list_of_plugins(file: Path) -> None:
    assert load(file, "plugins:\n  - a.B\n  - c.D: {e: 1}\n  - f.G:\n").plugins == {
        "a.B": {},
        "c.D": {"e": 1},
        "f.G": {},
    }


# -- what is wrong


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("listners: {}", ["'listners'", "did you mean 'listeners'?"]),
        ("zzz: 1", ["'zzz'", "known here are api, data_dir, listeners"]),
        ("mqtt: {max_inflght: 3}", ["'mqtt.max_inflght'", "did you mean 'max_inflight'?"]),
        ("listeners: {default: {bnd: '127.0.0.1:0'}}", ["'listeners.default.bnd'", "did you mean 'bind'?"]),
        ("mqtt: 3", ["'mqtt'", "must be a mapping"]),
        ("mqtt: {max_inflight: 0}", ["'mqtt.max_inflight'", "greater than or equal to 1"]),
        ("mqtt: {max_inflight: many}", ["'mqtt.max_inflight'", "integer"]),
        ("mqtt: {connect_timeout: .inf}", ["'mqtt.connect_timeout'", "finite"]),
        ("api: {bind: nowhere}", ["'api.bind'", "HOST:PORT"]),
        ("api: {bind: 'a:65536'}", ["'api.bind'", "65535"]),
        ("listeners: {other: {bind: '127.0.0.1:0'}}", ["'listeners'", "'default'"]),
        ("listeners: {default: {}}", ["'listeners.default'", "bind"]),
        ("listeners: {default: {bind: 'a:1', ssl: true}}", ["'listeners.default'", "certfile"]),
        ("listeners: {default: {bind: 'a:1', certfile: x}}", ["'listeners.default'", "keyfile"]),
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
