"""The chain of authenticators as one value of the configuration."""

from ....store.authenticators.settings import from_fields, to_fields
from ....store.errors import StoreError
from ...configuration import Governed, Root
from ...errors import bad_request
from .models_authentication import NewAuthenticator


def _present(governed: Governed) -> list[NewAuthenticator]:
    chain = governed.directory.authenticators.all()
    return [NewAuthenticator.model_validate(to_fields(settings, masked=False)) for settings in chain]


async def _apply(governed: Governed, value: list[NewAuthenticator]) -> None:
    """Put a whole chain in force and store it; a secret that is hidden stays what it is."""
    authenticators = governed.directory.authenticators
    known = {settings.id: settings for settings in authenticators.all()}
    try:
        chain = [
            from_fields(fields, known.get("jwt") if fields["mechanism"] == "jwt" else None)
            for fields in (entry.fields() for entry in value)
        ]
        await authenticators.replace(chain, **governed.origin)
    except StoreError as error:
        raise bad_request(error.message) from None


def _mask(value: list[NewAuthenticator]) -> list[NewAuthenticator]:
    return [NewAuthenticator.model_validate(to_fields(from_fields(entry.fields()))) for entry in value]


AUTHENTICATION = Root[list[NewAuthenticator]](
    name="authentication",
    model=list[NewAuthenticator],
    default=_present,
    apply=_apply,
    delegates=True,
    mask=_mask,
)
