"""Durations, sizes and percentages: read as EMQX reads them, kept as they were sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from wardenmq.mgmt_api import quantities
from wardenmq.mgmt_api.quantities import (
    ByteSize,
    ByteSizeOrDisabled,
    Duration,
    DurationOrDisabled,
    Percent,
    PositiveDuration,
    fraction,
    interval,
    seconds,
    size,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("15s", 15),
        ("500ms", 0.5),
        ("1m", 60),
        ("1m30s", 90),
        ("2h", 7_200),
        ("1d", 86_400),
        ("1w", 604_800),
        ("1.5h", 5_400),
        ("1H30M", 5_400),
        ("0s", 0),
    ],
)
def test_durations(text: str, expected: float) -> None:
    assert seconds(text) == expected
    assert TypeAdapter(Duration).validate_python(text) == text


@pytest.mark.parametrize(
    "text", ["", "s", "15", "-1s", "1x", "1 s", "1s1", "9" * 14 + "w", "1s" * 40, "٣s", "infinity"]
)
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="duration|too long"):
        seconds(text)
    with pytest.raises(ValidationError):
        TypeAdapter(Duration).validate_python(text)


def test_a_number_is_milliseconds() -> None:
    assert TypeAdapter(Duration).validate_python(1_500) == "1500ms"
    assert seconds("1500ms") == 1.5
    for wrong in (True, -1, 1.5, None, [], 10**20):
        with pytest.raises(ValidationError):
            TypeAdapter(Duration).validate_python(wrong)


def test_a_duration_that_may_not_be_nothing() -> None:
    for wrong in ("0s", 0, "disabled"):
        with pytest.raises(ValidationError):
            TypeAdapter(PositiveDuration).validate_python(wrong)
    assert TypeAdapter(DurationOrDisabled).validate_python("disabled") == "disabled"
    assert (interval("disabled"), interval("1m")) == (None, 60)
    with pytest.raises(ValidationError):
        TypeAdapter(DurationOrDisabled).validate_python("enabled")


@pytest.mark.parametrize(
    ("text", "expected"), [("100B", 100), ("64KB", 65_536), ("1MB", 1 << 20), ("2gb", 2 << 30), ("7", 7)]
)
def test_sizes(text: str, expected: int) -> None:
    assert size(text) == expected
    assert TypeAdapter(ByteSize).validate_python(text) == text


def test_no_sizes() -> None:
    assert TypeAdapter(ByteSize).validate_python(10) == "10B"
    assert TypeAdapter(ByteSizeOrDisabled).validate_python("disabled") == "disabled"
    for wrong in ("disabled", "1.5MB", "-1B", "1TB", True, None):
        with pytest.raises(ValidationError):
            TypeAdapter(ByteSize).validate_python(wrong)


@pytest.mark.parametrize(
    ("given_", "kept", "expected"), [("80%", "80%", 0.8), ("0%", "0%", 0), (0.5, "50%", 0.5), (1, "100%", 1)]
)
def test_percentages(given_: object, kept: str, expected: float) -> None:
    assert TypeAdapter(Percent).validate_python(given_) == kept
    assert fraction(kept) == pytest.approx(expected)


@pytest.mark.parametrize("wrong", ["101%", "80", "-1%", "%", 2, True, None])
def test_no_percentages(wrong: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Percent).validate_python(wrong)


@given(st.text(max_size=100))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (seconds, size, fraction, quantities.interval):
        try:
            value = read(text)
        except ValueError as error:
            assert str(error)
        else:
            assert value is None or value >= 0
