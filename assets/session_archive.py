"""The archive of every session."""

import time
from dataclasses import dataclass, field

from dagster import AssetExecutionContext, Failure, ResourceParam, asset

from assets.completed_sessions import completed_sessions
from assets.each import Outcomes, each, error_code, log_unplanned
from assets.links import session_links
from assets.stores import GROUP, OWNERS, Stores
from ibex.errors import ConflictError, ObjectStoreUnavailableError
from ibex.stores.archive import ArchivedSession
from ibex.stores.sessions import SessionKey

_AT_ONCE = 6
_PATIENCE = 8.0  # seconds: the memories of these sessions are made after this


@asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"s3"},
    deps=[completed_sessions],
    # Before the model reads them, which may take minutes: this takes milliseconds a session.
    op_tags={"dagster/priority": "1"},
)
def session_archive(context: AssetExecutionContext, stores: ResourceParam[Stores]) -> None:
    """Completed sessions as NDJSON in S3, one line a checkpoint, with a row in the manifest.

    Whatever is due is archived, also what an earlier run could not. The same turns give the same
    bytes, so doing it twice changes nothing. While the store is away or slow, sessions are left for
    the next run, so that their memories need not wait.
    """
    started = time.monotonic()
    due = stores.wait(stores.archive.due(stores.settings.sessions_per_run))
    outcomes = stores.wait(_archive_all(stores, due))
    done = [one for one in outcomes.done if one is not None]
    for key, error in outcomes.failed:
        log_unplanned(f"archive of session {key.session_id}", error)
    if outcomes.failed:
        codes = sorted({error_code(error) for _, error in outcomes.failed})
        raise Failure(
            f"{len(due) - len(done)} of {len(due)} sessions are not archived ({', '.join(codes)}). "
            "They stay due; nothing of them is dropped."
        )
    context.add_output_metadata(
        {
            "sessions": len(done),
            "left": len(due) - len(done),
            "turns": sum(one.turns for one in done),
            "bytes": sum(one.size for one in done),
            "links": session_links(stores.settings, (key.session_id for key in due)),
            "seconds": round(time.monotonic() - started, 3),
        }
    )


@dataclass
class _Patience:
    """Ends after a while, and with the first sign that the store is away."""

    until: float = field(default_factory=lambda: time.monotonic() + _PATIENCE)

    @property
    def left(self) -> float:
        return self.until - time.monotonic()


async def _archive_all(
    stores: Stores, due: list[SessionKey]
) -> Outcomes[SessionKey, ArchivedSession | None]:
    patience = _Patience()

    async def archive(key: SessionKey) -> ArchivedSession | None:
        """None: it is left, or another run is at it."""
        if patience.left <= 0:
            return None
        try:
            return await stores.archive.archive(key.org_id, key.session_id, patience=patience.left)
        except ConflictError:
            return None
        except ObjectStoreUnavailableError:
            patience.until = 0.0
            raise

    return await each(due, archive, at_once=_AT_ONCE)
