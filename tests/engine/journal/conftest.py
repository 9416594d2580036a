import pytest
from wardenmq.broker.journal import contents, journal


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have batches written, and tried again, after next to no time: nothing that is shown here depends on it."""
    monkeypatch.setattr(journal, "_PATIENCE", 0.0002)
    monkeypatch.setattr(journal, "_LEISURE", 0.0005)
    monkeypatch.setattr(journal, "_RETRY", 0.005)
    monkeypatch.setattr(contents, "_RETRY", 0.005)
