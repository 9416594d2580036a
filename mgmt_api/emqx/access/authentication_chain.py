"""The chain of authenticators as resources."""

from typing import cast

from ....store.authenticators.chain import AuthenticatorReport
from ....store.authenticators.settings import DatabaseSettings, Settings, from_fields, to_fields
from ....store.importing.authenticator_users import load_bootstrap_file
from ...routes import Call
from .authentication import unknown_authenticator
from .models_authentication import (
    AuthenticatorMetrics,
    AuthenticatorRow,
    AuthenticatorStatus,
    NewAuthenticator,
    OrderEntry,
)


async def list_authenticators(call: Call[None, None]) -> list[AuthenticatorRow]:
    """List all authenticators in the order in which they are asked."""
    return [show(settings) for settings in call.state.directory.authenticators.all()]


async def create_authenticator(call: Call[None, NewAuthenticator]) -> AuthenticatorRow:
    """Add an authenticator at the end of the chain."""
    directory, settings = call.state.directory, from_fields(call.body.fields())
    if isinstance(settings, DatabaseSettings) and directory.authenticators.get(settings.id) is None:
        await load_bootstrap_file(directory, settings, **call.origin)
    return show(await directory.authenticators.create(settings, **call.origin))


async def get_authenticator(call: Call[None, None]) -> AuthenticatorRow:
    """Show one authenticator."""
    return show(_existing(call.state.directory.authenticators.get(call.path["id"]), call.path["id"]))


async def update_authenticator(call: Call[None, NewAuthenticator]) -> None:
    """Set an authenticator up anew; it keeps its place."""
    authenticators, name = call.state.directory.authenticators, call.path["id"]
    old = _existing(authenticators.get(name), name)
    settings = from_fields(call.body.fields(), old)
    if isinstance(settings, DatabaseSettings) and settings.id == name and _brings_users(settings, old):
        await load_bootstrap_file(call.state.directory, settings, **call.origin)
    await authenticators.update(name, settings, **call.origin)


async def delete_authenticator(call: Call[None, None]) -> None:
    """Take an authenticator out of the chain, the built-in database with its users; none is no error."""
    await call.state.directory.authenticators.delete(call.path["id"], **call.origin)


async def get_status(call: Call[None, None]) -> AuthenticatorStatus:
    """Say how an authenticator is doing and what it has answered."""
    report = call.state.directory.authenticators.report_of(call.path["id"])
    if report is None:
        raise unknown_authenticator(call.path["id"])
    return _status(report, call.state.node)


async def move_authenticator(call: Call[None, None]) -> None:
    """Move an authenticator within the chain."""
    await call.state.directory.authenticators.move(call.path["id"], call.path["position"], **call.origin)


async def reorder_authenticators(call: Call[None, list[OrderEntry]]) -> None:
    """Put all authenticators into the order in which they are to be asked."""
    await call.state.directory.authenticators.reorder([entry.id for entry in call.body], **call.origin)


def show(settings: Settings) -> AuthenticatorRow:
    """Show an authenticator without its secrets."""
    return cast("AuthenticatorRow", {"id": settings.id, **to_fields(settings)})


def _existing(settings: Settings | None, name: str) -> Settings:
    if settings is None:
        raise unknown_authenticator(name)
    return settings


def _brings_users(settings: DatabaseSettings, old: Settings) -> bool:
    """Tell whether the bootstrap file is another one than it was, so that it is to be read now."""
    before = (old.bootstrap_file, old.bootstrap_type) if isinstance(old, DatabaseSettings) else None
    return (settings.bootstrap_file, settings.bootstrap_type) != before


def _status(report: AuthenticatorReport, node: str) -> AuthenticatorStatus:
    metrics = cast("AuthenticatorMetrics", report.counts._asdict())
    return {
        "metrics": metrics,
        "node_metrics": [{"node": node, "metrics": metrics}],
        "resource_metrics": {},
        "node_resource_metrics": [],
        "status": report.status,
        "node_status": [{"node": node, "status": report.status}],
        "node_error": [{"node": node, "error": report.problem}] if report.problem else [],
    }
