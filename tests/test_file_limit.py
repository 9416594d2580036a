"""What the number of files leaves for clients."""

import pytest
from wardenmq.file_limit import bound_api_connections, bound_connections


@pytest.mark.parametrize(
    ("max_connections", "files", "expected"),
    [
        (50_000, 1_048_576, 50_000),
        (50_000, None, 50_000),
        (0, None, 0),
        (50_000, 1_024, 640),
        (0, 1_024, 640),
        (100, 1_024, 100),
        (50_000, 100, 50),
        (50_000, 1, 1),
    ],
)
def test_connections_that_there_are_files_for(max_connections: int, files: int | None, expected: int) -> None:
    assert bound_connections(max_connections, files) == expected


@pytest.mark.parametrize(
    ("max_connections", "files", "expected"),
    [(256, 1_048_576, 256), (9_999, None, 9_999), (9_999, 1_024, 256), (10, 1_024, 10), (256, 300, 100), (256, 1, 1)],
)
def test_connections_to_the_api(max_connections: int, files: int | None, expected: int) -> None:
    assert bound_api_connections(max_connections, files) == expected
    if files is not None and files > 10:
        assert bound_connections(0, files) + expected < files
