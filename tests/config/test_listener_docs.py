"""docs/listeners.md: its examples are valid, and no key is left out."""

import re
from pathlib import Path

import pytest
import yaml
from wardenmq.config.sections import ListenerSection
from wardenmq.config.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "listeners.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_can_be_used(example: str, tmp_path: Path) -> None:
    file = tmp_path / "wardenmq.yaml"
    file.write_text(example)
    settings = Settings.load(file)
    assert set(settings.listeners) == set(yaml.safe_load(example)["listeners"])


def test_every_key_is_explained_and_has_an_example() -> None:
    assert [key for key in ListenerSection.model_fields if f"`{key}`" not in PAGE] == []
    shown = "".join(EXAMPLES)
    without = {"reader", "writer"}
    assert [key for key in ListenerSection.model_fields if f"{key}:" not in shown and key not in without] == []
