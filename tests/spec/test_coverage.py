"""`make spec`: the lists are whole, ids are counted for the version that they are written for, and none is missing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .coverage import LISTS, V3, V5, find_ids, main, measure, mentions_in_test, read_list

HEADS = {
    "three": "id\tbinds\tsummary\texcuse\n",
    "five": "id\tbinds\tin_3_1_1\tsummary\texcuse\n",
}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Make a repository with two short lists."""
    (tmp_path / "three.tsv").write_text(
        HEADS["three"]
        + "MQTT-1.0.0-1\tserver\tthe same in both\t\n"
        + "MQTT-1.0.0-2\tboth\tsomething else in 5.0\t\n"
        + "MQTT-1.0.0-3\tclient\tno business of ours\t\n"
        + "MQTT-1.0.0-4\tserver\tnot to be shown\tfor this reason\n"
    )
    (tmp_path / "five.tsv").write_text(
        HEADS["five"]
        + "MQTT-1.0.0-1\tserver\tsame\tthe same in both\t\n"
        + "MQTT-1.0.0-2\tserver\tother\tsomething else than in 3.1.1\t\n"
        + "MQTT-1.0.0-5\tserver\t\tnew\t\n"
    )
    return tmp_path


def lists(house: Path) -> dict[str, Path]:
    return {V3: house / "three.tsv", V5: house / "five.tsv"}


def put(house: Path, name: str, text: str) -> None:
    file = house / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def named(house: Path, where: str) -> dict[str, set[str]]:
    """Give the last digits of what is named, by version."""
    coverage, unknown = measure(house, lists(house))
    assert unknown == []
    return {version: {found[-1] for found in getattr(covered, where)} for version, covered in coverage.items()}


def test_the_lists_are_those_of_the_standards() -> None:
    """141 and 251 is what their appendices B hold."""
    three, five = (read_list(LISTS[version]) for version in (V3, V5))
    assert (len(three), len(five)) == (141, 251)
    shared = {found for found, statement in five.items() if statement.in_3_1_1}
    assert shared == three.keys() & five.keys()
    assert {statement.in_3_1_1 for statement in five.values()} == {"", "same", "other"}


def _numbers(version: str) -> Iterator[tuple[str, list[int]]]:
    chapters: dict[str, list[int]] = {}
    for found in read_list(LISTS[version]):
        chapter, _, number = found.rpartition("-")
        chapters.setdefault(chapter, []).append(int(number))
    yield from chapters.items()


@pytest.mark.parametrize("version", [V3, V5])
def test_the_statements_of_a_chapter_are_numbered_without_a_gap(version: str) -> None:
    for chapter, numbers in _numbers(version):
        first = 2 if (version, chapter) == (V5, "MQTT-2.2.1") else 1
        assert numbers == list(range(first, first + len(numbers))), chapter


def test_nothing_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    """What `make spec` asks."""
    status = main([])
    assert status == 0, capsys.readouterr().out


def test_ids_in_text_and_in_names() -> None:
    text = "# [MQTT-3.1.2-24], [MQTT5-3.1.2-22]; def test_mqtt_3_3_1_2_dup, test_mqtt5_4_9_0_1, MQTT-3.1.1, [MQTT-4.2]"
    assert list(find_ids(text)) == [
        ("MQTT-3.1.2-24", False),
        ("MQTT-3.1.2-22", True),
        ("MQTT-3.3.1-2", False),
        ("MQTT-4.9.0-1", True),
    ]


def test_ids_in_code(house: Path) -> None:
    """A number that both versions have counts for both only where it is the same rule."""
    put(house, "broker/a.py", "x = 1  # [MQTT-1.0.0-1]\n")
    assert named(house, "code") == {V3: {"1"}, V5: {"1"}}
    put(house, "broker/a.py", "x = 1  # [MQTT-1.0.0-2]\n")
    assert named(house, "code") == {V3: {"2"}, V5: set()}
    put(house, "broker/a.py", "x = 1  # [MQTT5-1.0.0-2], [MQTT-1.0.0-5]\n")
    assert named(house, "code") == {V3: set(), V5: {"2", "5"}}


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("tests/spec/v3/test_a.py", {V3: {"1", "2"}, V5: set()}),
        ("tests/spec/v5/test_a.py", {V3: set(), V5: {"1", "2"}}),
        ("tests/engine/test_a.py", {V3: {"1", "2"}, V5: set()}),
        ("tests/engine/test_a5.py", {V3: set(), V5: {"1", "2"}}),
        ("tests/engine/test_v5_a.py", {V3: set(), V5: {"1", "2"}}),
        ("tests/protocol/packets.py", {V3: {"1", "2"}, V5: set()}),
        ("tests/protocol/packets5.py", {V3: set(), V5: {"1", "2"}}),
        ("tests/engine/wire.py", {V3: set(), V5: set()}),
        ("bench/test_a.py", {V3: set(), V5: set()}),
    ],
)
def test_ids_in_tests(house: Path, file: str, expected: dict[str, set[str]]) -> None:
    put(house, file, '"""About things."""\n\n\ndef test_x():\n    """[MQTT-1.0.0-1] [MQTT-1.0.0-2]."""\n')
    assert named(house, "tests") == expected


def test_an_id_with_the_5_is_of_5_0_everywhere(house: Path) -> None:
    put(house, "tests/spec/v3/test_a.py", 'def test_x():\n    """[MQTT5-1.0.0-2]."""\n')
    assert named(house, "tests") == {V3: set(), V5: {"2"}}


def test_the_docstring_of_a_module_is_no_test() -> None:
    source = (
        '"""[MQTT-1.0.0-1]."""\n\nCASES = ["[MQTT-1.0.0-2]"]\n\n\n@case("[MQTT-1.0.0-5]")\ndef test_x():\n    pass\n'
    )
    assert [(m.id, m.test) for m in mentions_in_test(source, "a")] == [("MQTT-1.0.0-2", ""), ("MQTT-1.0.0-5", "test_x")]


@pytest.mark.parametrize(
    ("file", "written"),
    [
        ("broker/a.py", "MQTT-9.9.9-9"),
        ("broker/a.py", "MQTT5-1.0.0-3"),
        ("tests/engine/test_a.py", "MQTT-9.9.9-9"),
        ("tests/spec/v3/test_a.py", "MQTT-1.0.0-5"),
        ("tests/spec/v5/test_a.py", "MQTT-1.0.0-3"),
    ],
)
def test_an_id_that_does_not_exist_is_reported(house: Path, file: str, written: str) -> None:
    put(house, file, f"def test_x():\n    x = 1  # [{written}]\n")
    _, unknown = measure(house, lists(house))
    assert len(unknown) == 1
    assert unknown[0].startswith(f"{file}:2: ")


def test_what_is_missing_and_what_is_excused(house: Path) -> None:
    """Statements for clients are not asked for; an excuse beside a test is a mistake."""
    put(house, "tests/spec/v3/test_a.py", 'def test_x():\n    """[MQTT-1.0.0-1]."""\n')
    coverage, _ = measure(house, lists(house))
    assert [statement.id for statement in coverage[V3].missing] == ["MQTT-1.0.0-2"]
    assert [statement.id for statement in coverage[V5].missing] == ["MQTT-1.0.0-1", "MQTT-1.0.0-2", "MQTT-1.0.0-5"]
    assert coverage[V3].needlessly_excused == []
    put(house, "tests/spec/v3/test_b.py", 'def test_x():\n    """[MQTT-1.0.0-4]."""\n')
    coverage, _ = measure(house, lists(house))
    assert [statement.id for statement in coverage[V3].needlessly_excused] == ["MQTT-1.0.0-4"]


@pytest.mark.parametrize("row", ["MQTT-1.0.0\tserver\tx\t", "MQTT-1.0.0-1\tnobody\tx\t", "MQTT-1.0.0-1\tserver\t\t"])
def test_a_row_that_is_not_of_the_form_is_an_error(house: Path, row: str) -> None:
    put(house, "three.tsv", HEADS["three"] + row + "\n")
    with pytest.raises(ValueError, match=r"three\.tsv"):
        read_list(house / "three.tsv")
