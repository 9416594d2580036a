"""Users and rules from the files of other brokers."""

from typing import cast

from ...store.background_work import collection_paused
from ...store.credentials.password_formats import EmqxAlgorithm
from ...store.importing.applying import EmqxOptions, Source, import_file
from ..routes import Call
from .models_imports import ImportQuery, ImportReport


async def import_source(call: Call[ImportQuery, bytes]) -> ImportReport:
    """Read a file and write what it holds."""
    query = call.query
    algorithm = EmqxAlgorithm(
        query.algorithm,
        query.salt_position,
        mac_fun=query.mac_fun,
        iterations=query.iterations,
        dk_length=query.dk_length,
    )
    with collection_paused():
        report = await import_file(
            call.state.directory,
            call.body,
            cast("Source", call.path["source"]),  # which refuses what it does not know
            emqx=EmqxOptions(query.password, algorithm, query.login_type),
            overwrite=query.overwrite,
            dry_run=query.dry_run,
            **call.origin,
        )
    return {
        "source": call.path["source"],
        "dry_run": query.dry_run,
        "counts": dict(report.counts),
        "skipped": [
            {"line": entry.line, "what": entry.what, "reason": entry.reason, "may_deny": entry.may_deny}
            for entry in report.skipped
        ],
        "notes": list(report.notes),
        "refusal": report.refusal or None,
    }
