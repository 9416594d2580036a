"""Lines: numbers as an editor shows them, whatever the file's encoding, line ends and size."""

from pathlib import Path

import pytest
from wardenmq.store.errors import Invalid
from wardenmq.store.importing import lines
from wardenmq.store.importing.findings import MAX_SKIPPED, Findings
from wardenmq.store.importing.lines import MAX_FILE_BYTES, MAX_LINE_BYTES, MAX_LINES, numbered_lines


def read(data: bytes) -> tuple[list[tuple[int, str | None]], list[tuple[int, str]]]:
    findings = Findings()
    found = list(numbered_lines(data, findings))
    return found, [(skipped.line, skipped.reason) for skipped in findings.skipped]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_blank_lines_count_but_do_not_come(end: bytes, mark: bytes) -> None:
    data = mark + end.join((b"one", b"", b" \t", "zwölf".encode(), b" five ", b""))
    assert read(data) == ([(1, "one"), (4, "zwölf"), (5, " five ")], [])
    assert read(data + b"six") == ([(1, "one"), (4, "zwölf"), (5, " five "), (6, "six")], [])


def test_nothing_has_no_lines() -> None:
    for data in (b"", b"\n", b"\r\n\r\n", b"\xef\xbb\xbf"):
        assert read(data) == ([], [])


def test_what_cannot_be_read_is_named_and_the_rest_goes_on() -> None:
    data = b"a\n\xff\xfe\nb\0c\n" + b"x" * (MAX_LINE_BYTES + 1) + b"\n" + b"y" * MAX_LINE_BYTES + b"\nend"
    found, skipped = read(data)
    assert found == [(1, "a"), (2, None), (3, None), (4, None), (5, "y" * MAX_LINE_BYTES), (6, "end")]
    assert skipped == [
        (2, "The line is not UTF-8."),
        (3, "The line contains U+0000."),
        (4, f"The line is longer than {MAX_LINE_BYTES} bytes."),
    ]


def test_a_lone_carriage_return_ends_no_line() -> None:
    assert read(b"a\rb\r\nc") == ([(1, "a\rb"), (2, "c")], [])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_refused_as_a_whole(encoding: str) -> None:
    mark = "" if encoding == "utf-16" else "\N{ZERO WIDTH NO-BREAK SPACE}"
    with pytest.raises(Invalid, match="UTF-16"):
        read((mark + "alice:x\n").encode(encoding))


def test_a_file_has_a_size_and_a_number_of_lines() -> None:
    with pytest.raises(Invalid, match="larger"):
        read(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(Invalid, match="lines"):
        read(b"\n" * MAX_LINES + b"x")
    assert read(b"\n" * (MAX_LINES - 1) + b"x") == ([(MAX_LINES, "x")], [])


def test_a_file_of_another_kind_is_given_up() -> None:
    with pytest.raises(Invalid, match="another kind"):
        read(b"\xff\n" * (MAX_SKIPPED + 1))
    _, skipped = read(b"\xff\n" * MAX_SKIPPED)
    assert len(skipped) == MAX_SKIPPED


def test_this_very_file_can_be_read() -> None:
    for file in (Path(__file__), Path(lines.__file__)):
        text = file.read_text(encoding="utf-8")
        found, skipped = read(file.read_bytes())
        assert found == [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        assert skipped == []


def test_findings_come_in_the_order_of_the_lines_and_are_fit_for_a_terminal() -> None:
    findings = Findings()
    findings.skip(7, "late", "x")
    findings.skip(2, "a\x1b[31m\ud800\n" + "b" * 200, "y", may_deny=True)
    for _ in range(2):
        findings.note("Once.")
    first, second = findings.skipped
    assert (first.line, first.reason, first.may_deny) == (2, "y", True)
    assert first.what.startswith("a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}bb")
    assert first.what.isprintable()
    assert len(first.what) == 103
    assert (second.line, second.what, second.may_deny) == (7, "late", False)
    assert findings.notes == ("Once.",)
