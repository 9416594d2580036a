"""SASLprep: what it folds, what it refuses, and that another implementation says the same."""

import stringprep
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from passlib.utils import saslprep
from wardenmq.store.credentials.saslprep import MAX_CHARACTERS, Unprepared, prepare
from wardenmq.store.credentials.scram import prepare_password


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("\u0627\u0031\u0628", "\u0627\u0031\u0628"),
        ("", ""),
    ],
)
def test_what_is_prepared(text: str, prepared: str) -> None:
    assert prepare(text, "query") == prepare(text, "stored") == prepared


@pytest.mark.parametrize(
    "text", ["\u0007", "a\x7f", "\ue000", "\ufdd0", "\ud800", "\ufff9", "\u2ff0", "\u200e", "\U000e0001"]
)
def test_what_is_prohibited(text: str) -> None:
    for kind in ("query", "stored"):
        with pytest.raises(Unprepared):
            prepare(text, kind)


def test_a_code_point_that_came_later_is_for_queries_only() -> None:
    assert prepare("\U0001f600", "query") == "\U0001f600"
    with pytest.raises(Unprepared):
        prepare("\U0001f600", "stored")
    assert prepare_password("p\U0001f600".encode()) is None
    assert prepare_password(b"\xff") is None
    assert prepare_password(b"\xc2\xad") is None


@given(text=st.text(max_size=12))
def test_preparation_agrees_with_another_implementation(text: str) -> None:
    try:
        expected = saslprep(text)
    except ValueError:
        with pytest.raises(Unprepared):
            prepare(text, "stored")
    else:
        assert prepare(text, "stored") == prepare(text, "query") == expected
        assert not any(stringprep.in_table_a1(character) for character in expected)


@pytest.mark.parametrize(
    "text",
    [
        "a" + "\u0345" * 8_000 + "\u0301" * 8_000 + "\u0323" * 8_000 + "\u0334" * 8_000,  # quadratic to put in order
        "\ufdfa" * 21_800,  # eighteen characters each
        "\u00ad" * 32_000,  # nothing
        "\ufdfa" * MAX_CHARACTERS,
        "\x07" * 65_535,
        "\u00e9" * (MAX_CHARACTERS + 1),
    ],
)
def test_what_is_too_long_costs_nothing(text: str) -> None:
    """Names come from strangers, and this is done on the event loop."""
    started = time.process_time()
    with pytest.raises(Unprepared):
        prepare(text, "query")
    assert time.process_time() - started < 0.1


def test_what_is_as_long_as_can_be() -> None:
    for text in ("\u00e9" * MAX_CHARACTERS, "a" * 65_535):
        assert prepare(text, "query") == prepare(text, "stored") == text
