"""What was said, remembered without a model."""

import time
from dataclasses import dataclass

from dagster import AssetExecutionContext, ResourceParam, asset

from assets.each import Outcomes, each, give_back
from assets.links import session_links
from assets.stores import GROUP, OWNERS, Stores
from ibex.extraction.episodes import EXTRACTOR, NO_MODEL, episodes
from ibex.extraction.reading import turn_text
from ibex.memory.model import Provenance
from ibex.memory.writing import MemoryWriter, WriteResult
from ibex.stores.injections import InjectionReader
from ibex.stores.jobs import ClaimedSession

_AT_ONCE = 2  # requests use the same PostgreSQL, and nobody waits for a batch of sessions


@dataclass(frozen=True)
class RecordedSession:
    job: ClaimedSession
    written: WriteResult


@asset(group_name=GROUP, owners=OWNERS, kinds={"postgres", "pgvector"})
def session_episodes(
    context: AssetExecutionContext,
    stores: ResourceParam[Stores],
    completed_sessions: list[ClaimedSession],
) -> list[RecordedSession]:
    """An episodic memory of each message of the new turns that says something.

    They need no model, so they are there before one has read the session, and when none can. Doing
    it again finds the same words stored.
    """
    started = time.monotonic()
    outcomes = stores.wait(_record_all(stores, completed_sessions, context.run.run_id))
    written = [one.written for one in outcomes.done]
    context.add_output_metadata(
        {
            "sessions": len(written),
            "failed": len(outcomes.failed),
            "episodes": sum(len(one.created) for one in written),
            "duplicates": sum(one.duplicates for one in written),
            "quarantined": sum(one.quarantined for one in written),
            "links": session_links(stores.settings, (one.job.session_id for one in outcomes.done)),
            "failed_links": session_links(
                stores.settings, (job.session_id for job, _ in outcomes.failed)
            ),
            "seconds": round(time.monotonic() - started, 3),
        }
    )
    return outcomes.done


async def _record_all(
    stores: Stores, jobs: list[ClaimedSession], run_id: str
) -> Outcomes[ClaimedSession, RecordedSession]:
    writer = MemoryWriter(stores.database, stores.embedder, stores.settings)
    outcomes = await each(jobs, lambda job: _record(stores, writer, job, run_id), at_once=_AT_ONCE)
    for job, error in outcomes.failed:
        await give_back(stores, job, error)
    return outcomes


async def _record(
    stores: Stores, writer: MemoryWriter, job: ClaimedSession, run_id: str
) -> RecordedSession:
    place = job.org_id, job.session_id, job.last_extracted_turn
    turns = await stores.turns.turns(*place)
    given = await InjectionReader(stores.database).given(*place)
    written = await writer.write(
        job.org_id,
        job.agent_id,
        job.user_id,
        episodes([turn_text(turn) for turn in turns], imported=job.imported, given=given),
        Provenance(
            session_id=job.session_id,
            extractor=EXTRACTOR,
            prompt_version=NO_MODEL,
            model=NO_MODEL,
            run_id=run_id,
        ),
        {turn.number: turn.created_at for turn in turns},
    )
    return RecordedSession(job, written)
