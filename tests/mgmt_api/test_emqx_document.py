"""Compared with EMQX's own document: operations, parameters, statuses, answers; and the list of what is different.

The list is `docs/emqx-compatibility.md`. It has to name all there is to name, and nothing that is no longer so.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from wardenmq.mgmt_api.emqx.table import EMQX

from . import emqx_document
from .callers import Api
from .test_answers import every_answer

DOC = Path(__file__).parents[2] / "docs" / "emqx-compatibility.md"
_ROW = re.compile(r"^\| (GET|POST|PUT|DELETE) (/\S*) \| (.*) \|$")
ROUTES = {(route.method, route.path): route for route in EMQX.routes}
HERE = {"done", "stub", "no"}


class Difference(NamedTuple):
    """Say at which place an answer is not what EMQX's document says; `*` is any place in a list."""

    method: str
    path: str
    status: int
    place: str


def rows(title: str) -> list[tuple[tuple[str, str], list[str]]]:
    """Read the tables of a section of the list: operation, and the other columns."""
    section = DOC.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    found = [match for line in section.splitlines() if (match := _ROW.match(line))]
    assert found, title
    return [((match[1], match[2]), [cell.strip() for cell in match[3].split("|")]) for match in found]


def listed() -> Mapping[tuple[str, str], list[str]]:
    """Give the operations of the list."""
    return dict(rows("Operations"))


def differences() -> dict[Difference, str]:
    """Give the differences of answers with their reasons."""
    found: dict[Difference, str] = {}
    for (method, path), (status, place, why) in rows("Answers that EMQX's document describes otherwise"):
        found[Difference(method, path, int(status), place.strip("`"))] = why
    return found


def test_the_list_has_every_operation_that_there_is_here() -> None:
    beyond = {operation for operation, _ in rows("Operations that EMQX's document does not show")}
    here = {operation for operation, cells in listed().items() if cells[0] in ("done", "stub")}
    assert here | beyond == set(ROUTES)
    assert not beyond & set(listed())


def test_the_list_says_of_every_operation_what_there_is_and_why_not() -> None:
    found = rows("Operations")
    assert len(found) == len(dict(found)) == 290
    for operation, (here, remark) in found:
        assert here in HERE, operation
        assert remark or here == "done", operation


def test_the_list_has_every_operation_of_the_document() -> None:
    assert set(listed()) == set(emqx_document.operations())


@pytest.mark.parametrize("operation", sorted(ROUTES), ids=" ".join)
def test_operations_have_emqx_parameters_and_success_status(operation: tuple[str, str]) -> None:
    beyond = dict(rows("Operations that EMQX's document does not show"))
    if operation in beyond:
        assert operation not in emqx_document.operations()
        return
    route = ROUTES[operation]
    statuses = emqx_document.success_statuses(*operation)
    assert route.status in statuses or Difference(*operation, route.status, "status") in differences()
    theirs = set(emqx_document.query_parameters(*operation))
    ours = set() if route.query_model is None else set(route.query_model.model_fields)
    others = dict(rows("Parameters that EMQX's document describes otherwise")).get(operation, ["", "", ""])
    more, fewer = ({name.strip("` ") for name in cell.split(",") if name.strip("` ")} for cell in others[:2])
    assert (ours - theirs, theirs - ours) == (more, fewer)


def test_bodies_have_emqx_content_types() -> None:
    for operation in sorted(set(ROUTES) & set(emqx_document.operations())):
        theirs = emqx_document.operations()[operation].get("requestBody", {}).get("content", {})
        if "multipart/form-data" in theirs:
            assert ROUTES[operation].body is not None, operation


async def test_answers_are_what_emqx_document_describes_but_for_the_differences_listed(api: Api) -> None:
    emqx_document.document()
    known, found = differences(), set[Difference]()
    for route, reply in await every_answer(api):
        operation = (route.method, route.path)
        if operation not in emqx_document.operations():
            continue
        schema = emqx_document.answer_schema(*operation, reply.status)
        if schema is None:
            if reply.status < 400 and reply.status not in emqx_document.success_statuses(*operation):
                found.add(Difference(*operation, reply.status, "status"))
        elif reply.headers.get("Content-Type", "").startswith("application/json"):
            found |= {
                Difference(*operation, reply.status, place) for place in emqx_document.problems(schema, reply.json)
            }
    assert found - set(known) == set()
    assert set(known) - found == set()


def test_a_schema_is_held_against_a_value() -> None:
    schema: dict[str, Any] = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
    emqx_document.document()
    assert [*emqx_document.problems(schema, {"a": "1"})] == ["a: type"]
    assert [*emqx_document.problems(schema, {})] == [": required"]
    assert [*emqx_document.problems({**schema, "nullable": True}, None)] == []
