"""JSON documents: items with the lines on which they begin, and one kind of failure."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wardenmq.store.errors import Invalid
from wardenmq.store.importing.documents import array_items, load_object

BROKEN = [
    b"",
    b" \n",
    b"\xff",
    b"[1, 2",
    b"[1, 2}",
    b"[1 2]",
    b"[1, ]",
    b"[, 1]",
    b"[1, 2] 3",
    b"[NaN]",
    b"[Infinity]",
    b"[-Infinity]",
    b"['x']",
    b'["a\nb"]',
    b'["\\x"]',
    b'["',
    b"[1e]",
    b"[tru]",
    b"[" + b"1" * 5_000 + b"]",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    '[{"a":1}]'.encode("utf-16"),
]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize("data", BROKEN, ids=lambda data: repr(data[:12]))
def test_no_json_no_document(data: bytes) -> None:
    with pytest.raises(Invalid) as raised:
        list(array_items(data))
    assert len(raised.value.message) < 200
    with pytest.raises(Invalid):
        load_object(data)
    with pytest.raises(Invalid):
        load_object(b'{"a": ' + data)


@pytest.mark.parametrize("data", [b"[]", b'"text"', b"1", b"null", b"[{}]"])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        load_object(data)


@pytest.mark.parametrize("data", [b"{}", b'"text"', b"1", b"null", b'{"a": []}'])
def test_what_is_no_array_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid, match="array"):
        list(array_items(data))


def test_the_sentence_holds_nothing_of_the_document() -> None:
    for data in (b'[{"password": "secret"}, secret]', b'[{"password": "secret}]', b'["secret" "secret"]'):
        with pytest.raises(Invalid) as raised:
            list(array_items(data))
        assert "secret" not in raised.value.message
        with pytest.raises(Invalid) as raised:
            load_object(b'{"password": ' + data)
        assert "secret" not in raised.value.message


@given(st.lists(values), st.sampled_from([None, 1, "\t"]), st.sampled_from(["", "\n", " \r\n"]))
def test_items_are_those_of_the_json_module(items: list[Any], indent: Any, around: str) -> None:
    text = around + json.dumps(items, indent=indent, ensure_ascii=False) + around
    assert [item for _, item in array_items(text.encode("utf-8", "surrogatepass"))] == items


def test_items_have_the_lines_on_which_they_begin() -> None:
    data = b'\n[ 1,\n{"a":\n2\n}\n,\r\n"x", "y"\n\n, []]\n'
    assert list(array_items(data)) == [(2, 1), (3, {"a": 2}), (7, "x"), (7, "y"), (9, [])]
    assert list(array_items(b"\xef\xbb\xbf[\n]")) == []


def test_keys_are_in_lower_case_and_the_first_of_each_counts() -> None:
    data = b'{"Clients": [{"userName": "a", "username": "b"}], "CLIENTS": 1, "x": {"Y": 1, "y": 2}}'
    assert load_object(data) == {"clients": [{"username": "a"}], "x": {"y": 1}}
