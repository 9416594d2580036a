"""A text file taken apart into lines, as nobody can trust it: any size, encoding and line end may come."""

from collections.abc import Iterator

from ..errors import Invalid
from .findings import Findings

MAX_FILE_BYTES = 32 * 1024 * 1024
MAX_LINES = 500_000
MAX_LINE_BYTES = 70_000
"""Room for the longest name or topic of MQTT, 65,535 bytes, and what stands beside it."""

BLANKS = " \t\n\v\f\r"
"""What C's isspace() takes for one; str.strip() would take more."""

_MARK = b"\xef\xbb\xbf"
_OTHER_MARKS = (b"\xff\xfe", b"\xfe\xff")


def without_mark(data: bytes) -> bytes:
    """Take the byte order mark off; raise Invalid for a file that is too large or in UTF-16."""
    if len(data) > MAX_FILE_BYTES:
        raise Invalid(f"The file must not be larger than {MAX_FILE_BYTES} bytes.")
    if data.startswith(_OTHER_MARKS):
        raise Invalid("The file is in UTF-16; it must be in UTF-8.")
    return data.removeprefix(_MARK)


def numbered_lines(data: bytes, findings: Findings, *, may_deny: bool = False) -> Iterator[tuple[int, str | None]]:
    """Give the lines that are not blank with their numbers; None stands for one that cannot be read.

    Such a line is among the findings already, with `may_deny` as one that may deny something. Raises Invalid.
    """
    content = without_mark(data)
    number, start = 0, 0
    while start < len(content):
        end = content.find(b"\n", start)
        end = len(content) if end < 0 else end
        number += 1
        if number > MAX_LINES:
            raise Invalid(f"The file must not have more than {MAX_LINES} lines.")
        line = content[start:end].removesuffix(b"\r")
        start = end + 1
        if not line or line.isspace():
            continue
        text = None
        if len(line) > MAX_LINE_BYTES:
            findings.skip(number, "", f"The line is longer than {MAX_LINE_BYTES} bytes.", may_deny=may_deny)
        elif b"\0" in line:
            findings.skip(number, "", "The line contains U+0000.", may_deny=may_deny)
        else:
            try:
                text = line.decode()
            except UnicodeDecodeError:
                findings.skip(number, "", "The line is not UTF-8.", may_deny=may_deny)
        yield number, text
