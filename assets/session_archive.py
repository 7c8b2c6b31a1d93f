"""The archive of every session."""

import time

from dagster import AssetExecutionContext, Failure, ResourceParam, asset

from assets.completed_sessions import completed_sessions
from assets.each import each, error_code
from assets.stores import GROUP, OWNERS, Stores

_AT_ONCE = 4


@asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"s3"},
    deps=[completed_sessions],
    op_tags={"dagster/priority": "-1"},  # memories first: somebody waits for them
)
def session_archive(context: AssetExecutionContext, stores: ResourceParam[Stores]) -> None:
    """Completed sessions as NDJSON in S3, one line a checkpoint, with a row in the manifest.

    Whatever is due is archived, also what an earlier run could not. The same turns give the same
    bytes, so doing it twice changes nothing.
    """
    started = time.monotonic()
    due = stores.wait(stores.jobs.sessions_to_archive(stores.settings.sessions_per_run))
    outcomes = stores.wait(
        each(due, lambda key: stores.archive.archive(key.org_id, key.session_id), at_once=_AT_ONCE)
    )
    if outcomes.failed:
        codes = sorted({error_code(error) for _, error in outcomes.failed})
        raise Failure(
            f"{len(outcomes.failed)} of {len(due)} sessions are not archived ({', '.join(codes)}). "
            "They stay due; their turns are in PostgreSQL."
        )
    context.add_output_metadata(
        {
            "sessions": len(outcomes.done),
            "turns": sum(one.turns for one in outcomes.done),
            "bytes": sum(one.size for one in outcomes.done),
            "seconds": round(time.monotonic() - started, 3),
        }
    )
