"""HOCON: what is read, what is refused, and that what is written is read as the same."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.mgmt_api.emqx.settings.hocon import MAX_DEPTH, MAX_VALUES, HoconError, merged, read_hocon, write_hocon


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        ("# nothing\n// here", {}),
        ("{}", {}),
        ("a = 1", {"a": 1}),
        ("a: 1", {"a": 1}),
        ("a=1,b=2\nc=3", {"a": 1, "b": 2, "c": 3}),
        ("a { b = 1 }", {"a": {"b": 1}}),
        ("a = { b = 1 }", {"a": {"b": 1}}),
        ("a.b.c = 1", {"a": {"b": {"c": 1}}}),
        ('"a.b" = 1', {"a.b": 1}),
        ("a { b = 1 }\na { c = 2 }", {"a": {"b": 1, "c": 2}}),
        ("a.b = 1\na = 2", {"a": 2}),
        ("a = 1\na.b = 2", {"a": {"b": 2}}),
        ("a = [1, 2\n3]", {"a": [1, 2, 3]}),
        ("a = [{ b = 1 }, []]", {"a": [{"b": 1}, []]}),
        ("a = 15s # soon", {"a": "15s"}),
        ("a = 80%", {"a": "80%"}),
        ("a = 1.5", {"a": 1.5}),
        ("a = -1e3", {"a": -1000.0}),
        ("a = true\nb = false\nc = null", {"a": True, "b": False, "c": None}),
        ("a = two words ", {"a": "two words"}),
        ("a = 127.0.0.1:1883", {"a": "127.0.0.1:1883"}),
        ('a = "x\\n\\u00e9${b}"', {"a": "x\né${b}"}),
        ('a = """one\n"two" """', {"a": 'one\n"two" '}),
        ("include = 1", {"include": 1}),
        ("include { a = 1 }", {"include": {"a": 1}}),
        ('{"a": {"b": [1, "c", null]}}', {"a": {"b": [1, "c", None]}}),
    ],
)
def test_what_is_read(text: str, value: dict[str, Any]) -> None:
    assert read_hocon(text) == value


@pytest.mark.parametrize(
    ("text", "kind", "line"),
    [
        ("a", "parse_error", 1),
        ("a =", "parse_error", 1),
        ("a = 1\nb {", "parse_error", 2),
        ("a = [", "parse_error", 1),
        ("a = ]", "parse_error", 1),
        ("a = 1 }", "parse_error", 1),
        ("{ a = 1 } b = 2", "parse_error", 1),
        ("= 1", "parse_error", 1),
        ("a += 1", "parse_error", 1),
        ("a = 1 = 2", "parse_error", 1),
        ("\n\na = ${HOME}", "parse_error", 3),
        ("a = x ${HOME}", "parse_error", 1),
        ("a = ${?HOME}", "parse_error", 1),
        ('include "/etc/passwd"', "parse_error", 1),
        ('include file("/etc/passwd")', "parse_error", 1),
        ('include url("http://127.0.0.1")', "parse_error", 1),
        ('a { include required(file("x")) }', "parse_error", 1),
        ('a = "open', "scan_error", 1),
        ('a = "\\x"', "scan_error", 1),
        ("$ = 1", "scan_error", 1),
    ],
)
def test_what_is_refused(text: str, kind: str, line: int) -> None:
    with pytest.raises(HoconError) as caught:
        read_hocon(text)
    assert (caught.value.kind, caught.value.line) == (kind, line)


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 10_000, "{a=" * 10_000, ".".join("a" * 10_000) + " = 1", "a = [" + "1," * (MAX_VALUES + 1)]
)
def test_what_is_too_much(text: str) -> None:
    with pytest.raises(HoconError, match="more than"):
        read_hocon(text)


def test_as_deep_as_allowed() -> None:
    assert read_hocon("a = " + "[" * MAX_DEPTH + "]" * MAX_DEPTH)


def test_a_merge_takes_objects_together_and_replaces_the_rest() -> None:
    below = {"a": {"b": 1, "c": [1]}, "d": 1}
    assert merged(below, {"a": {"c": [2]}, "e": 2}) == {"a": {"b": 1, "c": [2]}, "d": 1, "e": 2}
    assert below == {"a": {"b": 1, "c": [1]}, "d": 1}


_SCALARS = st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(max_size=20)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


@given(st.dictionaries(st.text(max_size=8), _VALUES, max_size=5))
def test_what_is_written_is_read_as_the_same(value: dict[str, Any]) -> None:
    assert read_hocon(write_hocon(value)) == value


@given(st.text(alphabet='ab={}[]",.:#/\n $\\+"1', max_size=60))
def test_nothing_else_comes_of_a_wrong_text(text: str) -> None:
    try:
        assert isinstance(read_hocon(text), dict)
    except HoconError as error:
        assert error.line >= 1
