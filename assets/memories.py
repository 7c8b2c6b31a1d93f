"""What is remembered."""

import time
from collections import Counter
from dataclasses import dataclass
from functools import partial

from dagster import AssetExecutionContext, ResourceParam, asset

from assets.each import Outcomes, each, give_back
from assets.links import session_links
from assets.session_facts import SessionFacts
from assets.stores import GROUP, OWNERS, Stores
from ibex.memory.model import Provenance
from ibex.memory.writing import MemoryWriter, WriteResult
from ibex.stores.jobs import ClaimedSession

_AT_ONCE = 2  # requests use the same PostgreSQL, and nobody waits for a batch of sessions


@dataclass(frozen=True)
class LearnedSession:
    job: ClaimedSession
    written: WriteResult


@asset(group_name=GROUP, owners=OWNERS, kinds={"postgres", "pgvector"})
def memories(
    context: AssetExecutionContext,
    stores: ResourceParam[Stores],
    session_facts: list[SessionFacts],
) -> list[LearnedSession]:
    """Facts, redacted, embedded, told from what is known: the memories of an agent and its users.

    A session's memories and its watermark are one transaction that only the holder of its lease
    can commit. So a session counts once, whatever is killed, retried or late.
    """
    started = time.monotonic()
    outcomes = stores.wait(_write_all(stores, session_facts, context.run.run_id))
    written = [one.written for one in outcomes.done]
    redactions: Counter[str] = sum((Counter(one.redactions) for one in written), Counter())
    context.add_output_metadata(
        {
            "sessions": len(written),
            "failed": len(outcomes.failed),
            "memories": sum(len(one.created) for one in written),
            "duplicates": sum(one.duplicates for one in written),
            "quarantined": sum(one.quarantined for one in written),
            "superseded": sum(len(one.superseded) for one in written),
            "merged": sum(len(one.merged) for one in written),
            "contradictions": sum(one.contradictions for one in written),
            "undecided": sum(one.undecided for one in written),
            "rejected": sum(one.rejected for one in written),
            "redactions": dict(redactions),
            "links": session_links(stores.settings, (one.job.session_id for one in outcomes.done)),
            "failed_links": session_links(
                stores.settings, (one.job.session_id for one, _ in outcomes.failed)
            ),
            "seconds": round(time.monotonic() - started, 3),
        }
    )
    return outcomes.done


async def _write_all(
    stores: Stores, sessions: list[SessionFacts], run_id: str
) -> Outcomes[SessionFacts, LearnedSession]:
    writer = MemoryWriter(stores.database, stores.embedder, stores.settings)
    outcomes = await each(
        sessions, lambda session: _write(stores, writer, session, run_id), at_once=_AT_ONCE
    )
    for session, error in outcomes.failed:
        await give_back(stores, session.job, error)
    return outcomes


async def _write(
    stores: Stores, writer: MemoryWriter, session: SessionFacts, run_id: str
) -> LearnedSession:
    job, extraction = session.job, session.extraction
    written = await writer.write(
        job.org_id,
        job.agent_id,
        job.user_id,
        extraction.facts,
        Provenance(
            session_id=job.session_id,
            extractor=extraction.extractor,
            prompt_version=extraction.prompt_version,
            model=extraction.model,
            run_id=run_id,
        ),
        session.said_at,
        settle=partial(stores.jobs.settle, job=job, through_turn=session.through_turn),
    )
    return LearnedSession(job, written)
