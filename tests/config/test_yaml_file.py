"""The configuration file: safe YAML, one mapping, no key twice."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.config.errors import ConfigError
from wardenmq.config.yaml_file import MAX_CONFIG_BYTES, parse_yaml, read_yaml


def test_a_mapping_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: {b: [1, two, null]}\n")
    assert read_yaml(file) == {"a": {"b": [1, "two", None]}}


@pytest.mark.parametrize("raw", [b"", b"# a comment\n", b"---\n", b"null"])
def test_nothing_is_an_empty_mapping(raw: bytes) -> None:
    assert parse_yaml(raw) == {}


def test_a_merge_is_not_a_key() -> None:
    raw = b"a: &a {x: 1}\nb: &b {y: 2}\nc: {<<: *a, <<: *b, z: 3}"
    assert parse_yaml(raw)["c"] == {"x": 1, "y": 2, "z": 3}


@pytest.mark.parametrize(
    ("raw", "part"),
    [
        (b"a: 1\nb: 2\na: 3", "the key 'a' stands twice in one mapping, the second time in line 3"),
        (b"x:\n  a: 1\n  'a': 2", "the key 'a' stands twice in one mapping, the second time in line 3"),
        (b"- a", "it must be a mapping of sections, not a list"),
        (b"word", "not a str"),
        (b"1: 2", "the key 1 must be a word"),
        (b"a: [", "line 1"),
        (b"a: b: c", "line 1"),
        (b"a: *nobody", "line 1"),
        (b"a: !!python/object/apply:os.system ['true']", "line 1"),
        (b"a: 1\n---\nb: 2", "line 2"),
        (b"\xff\xfe\xfd", "no valid YAML"),
        (b"a: \x00", "no valid YAML"),
        (b"a: 2026-99-99", "no valid YAML"),
        (b"a: " + b"[" * 20_000, "nested too deeply"),
    ],
)
def test_what_is_wrong_is_said(raw: bytes, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(raw)
    assert part in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_mapping_or_refused(raw: bytes) -> None:
    try:
        assert isinstance(parse_yaml(raw), dict)
    except ConfigError as error:
        assert str(error)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"#" * (MAX_CONFIG_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than"):
        read_yaml(file)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{tmp_path / 'none.yaml'} cannot be read: No such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.touch(mode=0o000)
    with pytest.raises(ConfigError, match="Permission denied"):
        read_yaml(file)
