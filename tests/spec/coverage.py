"""Print which normative statements of MQTT 3.1.1 and 5.0 the code and the tests name; exit status 1 if one is missing.

The two lists beside this file hold every numbered statement of the standards: its id, whom it binds, what it asks for
in our words, and for one that no test can show the reason why. docs/conformance.md says how an id is written, and which
version it belongs to where both have it. Nothing but the standard library is needed.
"""

import argparse
import ast
import csv
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
V3, V5 = "3.1.1", "5.0"
LISTS = {V3: HERE / "mqtt_3_1_1.tsv", V5: HERE / "mqtt_5_0.tsv"}
NOT_PRODUCTION = {"tests", "bench", "build", "deploy", "dist", "docs", "examples", "data"}

# An id in a comment, docstring or string; the name of a test may hold it too, in lower case with underscores.
WRITTEN = re.compile(r"MQTT(5?)-(\d+\.\d+\.\d+-\d+)(?!\d)")
IN_A_NAME = re.compile(r"mqtt(5?)_(\d+)_(\d+)_(\d+)_(\d+)(?!\d)")
# A test file that is about MQTT 5 says so in its path: a folder v5, or a name such as test_wills5.py, packets_v5.py.
ABOUT_V5 = re.compile(r"(?:^|[/_])v5(?:[/_.]|$)|5\.py$")
# Modules of cases that tests are parametrised with count as tests; what other modules beside the tests say does not.
TABLES = re.compile(r"^tests/protocol/packets[^/]*\.py$|/cases[^/]*\.py$")


@dataclass(frozen=True, slots=True)
class Statement:
    """One row of a list."""

    id: str
    binds: str
    summary: str
    excuse: str
    in_3_1_1: str = ""
    """Of a 5.0 statement: "same" or "other" where 3.1.1 uses its id too, for the same rule or for another."""

    @property
    def binds_server(self) -> bool:
        return self.binds in ("server", "both")


@dataclass(frozen=True, slots=True)
class Mention:
    """One place that names an id."""

    id: str
    says_5: bool
    file: str
    line: int
    test: str = ""


@dataclass(slots=True)
class Coverage:
    """What is known about the statements of one version."""

    statements: dict[str, Statement]
    code: dict[str, list[Mention]] = field(default_factory=lambda: defaultdict(list))
    tests: dict[str, list[Mention]] = field(default_factory=lambda: defaultdict(list))

    @property
    def binding(self) -> list[Statement]:
        return [statement for statement in self.statements.values() if statement.binds_server]

    @property
    def missing(self) -> list[Statement]:
        return [s for s in self.binding if s.id not in self.tests and not s.excuse]

    @property
    def needlessly_excused(self) -> list[Statement]:
        return [s for s in self.binding if s.id in self.tests and s.excuse]

    @property
    def not_in_code(self) -> list[Statement]:
        return [s for s in self.binding if s.id not in self.code and not s.excuse]


def read_list(file: Path) -> dict[str, Statement]:
    """Read one list; ValueError if a row is not of its form."""
    with file.open(encoding="utf-8", newline="") as rows:
        statements: dict[str, Statement] = {}
        for row in csv.DictReader(rows, delimiter="\t", quoting=csv.QUOTE_NONE):
            statement = Statement(**row)
            if not re.fullmatch(WRITTEN, statement.id) or statement.id in statements:
                raise ValueError(f"{file.name}: {statement.id} is no id, or stands twice")
            if statement.binds not in ("server", "client", "both") or not statement.summary:
                raise ValueError(f"{file.name}: {statement.id} binds nobody, or says nothing")
            statements[statement.id] = statement
    return statements


def find_ids(text: str) -> Iterator[tuple[str, bool]]:
    """Give each id in a text, and whether it is written as one of 5.0."""
    for five, number in WRITTEN.findall(text):
        yield f"MQTT-{number}", bool(five)
    for five, *parts in IN_A_NAME.findall(text):
        yield f"MQTT-{'.'.join(parts[:3])}-{parts[3]}", bool(five)


def mentions_in(source: str, file: str, tests: dict[range, str] | None = None) -> Iterator[Mention]:
    """Give what a file names, line by line; `tests` maps lines to the test that they belong to."""
    for number, line in enumerate(source.splitlines(), 1):
        for found, says_5 in find_ids(line):
            test = next((name for lines, name in (tests or {}).items() if number in lines), "")
            yield Mention(found, says_5, file, number, test)


def test_lines(tree: ast.Module) -> dict[range, str]:
    """Give the lines of each test function, decorators included."""
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {
        range(min([f.lineno, *(d.lineno for d in f.decorator_list)]), (f.end_lineno or f.lineno) + 1): f.name
        for f in functions
        if f.name.startswith("test_")
    }


def mentions_in_test(source: str, file: str) -> Iterator[Mention]:
    """Give what a test module or a table of cases names; its module docstring is not a test."""
    tree = ast.parse(source)
    first = tree.body[0] if tree.body else None
    prose = range(0)
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        prose = range(first.lineno, (first.end_lineno or first.lineno) + 1)
    yield from (m for m in mentions_in(source, file, test_lines(tree)) if m.line not in prose)


def production_files(root: Path) -> Iterator[Path]:
    for file in sorted(root.rglob("*.py")):
        parts = file.relative_to(root).parts
        if parts[0] not in NOT_PRODUCTION and not any(part.startswith(".") for part in parts):
            yield file


def test_files(root: Path) -> Iterator[Path]:
    for file in sorted((root / "tests").rglob("*.py")):
        name = file.relative_to(root).as_posix()
        if (file.name.startswith("test_") or TABLES.search(name)) and file.name != "test_coverage.py":
            yield file


class Unknown(ValueError):
    """An id that is in neither list."""


def versions_of(mention: Mention, lists: dict[str, dict[str, Statement]], *, is_test: bool) -> list[str]:
    """Give the versions that a mention counts for, by the rules of docs/conformance.md."""
    in_v3, in_v5 = mention.id in lists[V3], mention.id in lists[V5]
    about_v5 = mention.says_5 or (is_test and ABOUT_V5.search(mention.file) is not None)
    if about_v5 and in_v5:
        return [V5]
    if mention.says_5 or not (in_v3 or in_v5) or (mention.file.startswith("tests/spec/") and (about_v5 or not in_v3)):
        raise Unknown(f"{mention.file}:{mention.line}: {mention.id} is no statement of the version it is written for")
    if not in_v3:
        return [V5]
    if not is_test and in_v5 and lists[V5][mention.id].in_3_1_1 == "same":
        return [V3, V5]
    return [V3]


def measure(root: Path = ROOT, lists: dict[str, Path] = LISTS) -> tuple[dict[str, Coverage], list[str]]:
    """Read the lists, the production code and the tests; give the coverage by version, and ids that are in no list."""
    coverage = {version: Coverage(read_list(file)) for version, file in lists.items()}
    statements = {version: covered.statements for version, covered in coverage.items()}
    unknown: list[str] = []

    def enter(mentions: Iterable[Mention], *, is_test: bool) -> None:
        for mention in mentions:
            try:
                versions = versions_of(mention, statements, is_test=is_test)
            except Unknown as error:
                unknown.append(str(error))
                continue
            for version in versions:
                named = coverage[version].tests if is_test else coverage[version].code
                named[mention.id].append(mention)

    for file in production_files(root):
        enter(mentions_in(file.read_text(encoding="utf-8"), file.relative_to(root).as_posix()), is_test=False)
    for file in test_files(root):
        enter(mentions_in_test(file.read_text(encoding="utf-8"), file.relative_to(root).as_posix()), is_test=True)
    return coverage, unknown


def table(coverage: dict[str, Coverage]) -> Iterator[str]:
    """Give the lines of the summary."""
    figures = {
        "normative statements": lambda c: len(c.statements),
        "binding a server": lambda c: len(c.binding),
        "  named by code": lambda c: sum(s.id in c.code for s in c.binding),
        "  named by a test": lambda c: sum(s.id in c.tests for s in c.binding),
        "  excused with a reason": lambda c: sum(bool(s.excuse) for s in c.binding),
        "  missing": lambda c: len(c.missing),
    }
    yield f"{'MQTT':<24}" + "".join(f"{version:>8}" for version in coverage)
    for title, figure in figures.items():
        yield f"{title:<24}" + "".join(f"{figure(c):>8}" for c in coverage.values())


def details(covered: Coverage) -> Iterator[str]:
    """Give each statement that binds a server, with what names it."""
    for statement in covered.binding:
        yield f"{statement.id}  {statement.summary}"
        for mention in covered.code.get(statement.id, []):
            yield f"    code  {mention.file}:{mention.line}"
        places = Counter((m.file, m.test or f"line {m.line}") for m in covered.tests.get(statement.id, []))
        yield from (f"    test  {file} {place}" for file, place in places)
        if statement.excuse:
            yield f"    none  {statement.excuse}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--list", action="store_true", help="also print each statement with the places that name it")
    parser.add_argument("--code", action="store_true", help="also print the statements that no line of code names")
    options = parser.parse_args(arguments)
    coverage, unknown = measure()
    print(*table(coverage), sep="\n")
    for version, covered in coverage.items():
        chapters = {
            f"{version}: no test names": covered.missing,
            f"{version}: excused though a test names it": covered.needlessly_excused,
            f"{version}: no line of code names": covered.not_in_code if options.code else [],
        }
        for title, statements in chapters.items():
            if statements:
                print(f"\n{title}", *(f"  {s.id:<16} {s.summary}" for s in statements), sep="\n")
        if options.list:
            print(f"\n{version}", *details(covered), sep="\n")
    if unknown:
        print("\nIn no list", *(f"  {line}" for line in unknown), sep="\n")
    return int(bool(unknown or any(c.missing or c.needlessly_excused for c in coverage.values())))


if __name__ == "__main__":
    sys.exit(main())
