"""Callers that are turned away can be seen by the operator, and fill no disk."""

import logging

import pytest
from wardenmq.mgmt_api.refusals import RefusalLog

from .callers import V5, Api, basic

LOGGER = "wardenmq.mgmt_api.refusals"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == LOGGER]


@pytest.mark.parametrize(
    ("headers", "role", "code"),
    [
        (basic("some-key", "some-secret"), None, "BAD_API_KEY_OR_SECRET"),
        ({"Authorization": "Bearer some-secret"}, None, "BAD_TOKEN"),
        ({"Authorization": "Digest some-secret"}, None, "AUTHORIZATION_HEADER_ERROR"),
        ({}, "viewer", "UNAUTHORIZED_ROLE"),
    ],
)
async def test_who_is_refused_is_logged_and_counted(
    api: Api, caplog: pytest.LogCaptureFixture, headers: dict[str, str], role: str | None, code: str
) -> None:
    caplog.set_level(logging.DEBUG)
    await api.call("DELETE", f"{V5}/clients/one?asked=something", headers=headers, role=role)
    (line,) = lines(caplog)
    assert line == f"API caller 127.0.0.1 refused: '{V5}/clients/one': {code} (0 more since the last such line)"
    assert api.state.refused_callers == 1
    sent = headers.get("Authorization") or api.keys["viewer"]["Authorization"]
    for secret in ("some-key", "some-secret", sent.split()[1]):
        assert secret not in caplog.text


async def test_who_is_let_in_is_neither(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    assert (await api.get("/nodes")).status == 200
    assert (await api.call("GET", f"{V5}/nothing", role=None)).status == 404
    assert (lines(caplog), api.state.refused_callers) == ([], 0)


def test_one_line_a_second_says_how_many_were_left_out(caplog: pytest.LogCaptureFixture) -> None:
    log = RefusalLog()
    for now in (10.0, 10.1, 10.9, 11.0, 11.5, 20.0, 30.0):
        log.note(now, "192.0.2.1", "/a", f"AT_{now}")
    assert log.count == 7
    assert [line.partition("/a': ")[2] for line in lines(caplog)] == [
        "AT_10.0 (0 more since the last such line)",
        "AT_11.0 (2 more since the last such line)",
        "AT_20.0 (1 more since the last such line)",
        "AT_30.0 (0 more since the last such line)",
    ]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_a_path_stays_on_its_line_and_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    RefusalLog().note(0.0, None, "/a\nb" + "x" * 10_000, "CODE")
    (line,) = lines(caplog)
    assert "\n" not in line
    assert len(line) < 400
