"""The root `api_key`: from which file API keys are put in force."""

from typing import Annotated

from pydantic import Field

from ....store.bootstrap_keys import load_bootstrap_file
from ...configuration import Configuration, Governed, Root
from ...limits import Body


class ApiKeySettings(Body):
    """Configure where API keys come from."""

    bootstrap_file: Annotated[str, Field(max_length=4_096)] = ""
    """Lines `KEY:SECRET` or `KEY:SECRET:ROLE`, loaded at each start and when this is changed; empty for none."""


async def _apply(governed: Governed, value: ApiKeySettings) -> None:
    await load_bootstrap_file(governed.directory, value.bootstrap_file, actor="bootstrap file", facade="server")


API_KEY = Root(
    "api_key",
    ApiKeySettings,
    default=lambda governed: ApiKeySettings(bootstrap_file=governed.settings.bootstrap_file),
    apply=_apply,
)


async def load_configured_keys(configuration: Configuration) -> None:
    """Load the file that the server was started with; one that was set over the API is loaded with that setting."""
    governed = configuration.governed
    if governed.directory.configurations.get(API_KEY.name) is None:
        await _apply(governed, configuration.get(API_KEY))
