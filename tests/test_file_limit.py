"""What the number of files leaves for clients."""

import pytest
from wardenmq.file_limit import bound_connections


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
