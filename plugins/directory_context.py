"""How a plugin finds the credential store."""

from amqtt.contexts import BaseContext

from ..store.directory import Directory


def directory_of(context: BaseContext, plugin: object) -> Directory:
    """Return the directory that the broker was given; raise ValueError where it has none."""
    directory = getattr(context, "directory", None)
    if not isinstance(directory, Directory):
        raise ValueError(f"{type(plugin).__name__} needs a credential store: Broker(config, directory=...)")
    return directory
