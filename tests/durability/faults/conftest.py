"""The layer between SQLite and the disk, in the name of each test."""

import pytest

from .disk import LAYER


@pytest.fixture(params=[LAYER], autouse=True)
def layer(request: pytest.FixtureRequest) -> str:
    """Give the layer by which the disk of the test is ordered about."""
    return request.param
