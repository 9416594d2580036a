"""Authorization as one part of the configuration; the store keeps it."""

from typing import Final

from ....store.source_order import FileSource
from ...configuration import Governed, Root
from .authorization_sources import read_cache, read_source
from .models_sources import AnySource, AuthorizationConfig, Cache, NewBuiltIn, NewFile


def _present(governed: Governed) -> AuthorizationConfig:
    sources = governed.directory.sources
    cache = sources.cache
    shown: list[AnySource] = []
    for source in sources.all:
        if isinstance(source, FileSource):
            shown.append(NewFile(type="file", enable=source.enabled, rules=source.rules))
        else:
            shown.append(NewBuiltIn(type="built_in_database", enable=source.enabled, max_rules=source.max_rules))
    return AuthorizationConfig(
        no_match=sources.no_match,
        deny_action=sources.deny_action,
        cache=Cache(enable=cache.enabled, max_size=cache.max_size, ttl=cache.ttl_text, excludes=list(cache.excludes)),
        sources=shown,
    )


async def _apply(governed: Governed, value: AuthorizationConfig) -> None:
    await governed.directory.sources.configure(
        value.no_match,
        value.deny_action,
        read_cache(value.cache),
        [read_source(source) for source in value.sources],
        **governed.origin,
    )


AUTHORIZATION: Final = Root("authorization", AuthorizationConfig, _present, _apply, delegates=True)
