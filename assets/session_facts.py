"""What the model found in the claimed sessions."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from dagster import AssetExecutionContext, ResourceParam, asset

from assets.each import Outcomes, each, give_back
from assets.links import session_links
from assets.session_episodes import RecordedSession
from assets.stores import GROUP, OWNERS, Stores
from ibex.extraction.completion import Meter
from ibex.extraction.extract import Extraction, extract_facts
from ibex.extraction.prompts import Prompt, prompt_named
from ibex.extraction.reading import turn_text
from ibex.extraction.room import parts_after
from ibex.extraction.spending import spent, totals
from ibex.stores.jobs import ClaimedSession
from ibex.stores.usage import Purpose, Usage

if TYPE_CHECKING:
    from ibex.extraction.llm import ModelClient


@dataclass(frozen=True)
class SessionFacts:
    job: ClaimedSession
    extraction: Extraction
    said_at: Mapping[int, datetime]  # turn → when it was said
    through_turn: int


@asset(group_name=GROUP, owners=OWNERS, kinds={"openai"})
def session_facts(
    context: AssetExecutionContext,
    stores: ResourceParam[Stores],
    session_episodes: list[RecordedSession],
) -> list[SessionFacts]:
    """Facts that a model found in each claimed session's new turns, by a JSON schema, once what
    was said is remembered.

    A session that fails goes back to wait, or becomes a dead letter; the others go on. Of this only
    what it cost is stored, also of what failed: the next asset keeps what is kept.
    """
    started = time.monotonic()
    outcomes, books = stores.wait(
        _extract_all(stores, [one.job for one in session_episodes], context.run.run_id)
    )
    facts = outcomes.done
    context.add_output_metadata(
        {
            "sessions": len(facts),
            "failed": len(outcomes.failed),
            "facts": sum(len(one.extraction.facts) for one in facts),
            "dropped": sum(one.extraction.dropped for one in facts),
            "prompt": stores.settings.extraction_prompt,
            "links": session_links(stores.settings, (one.job.session_id for one in facts)),
            "failed_links": session_links(
                stores.settings, (job.session_id for job, _ in outcomes.failed)
            ),
            **totals(books),
            "seconds": round(time.monotonic() - started, 3),
        }
    )
    return facts


async def _extract_all(
    stores: Stores, jobs: list[ClaimedSession], run_id: str
) -> tuple[Outcomes[ClaimedSession, SessionFacts], list[Usage]]:
    books: list[Usage] = []
    if not jobs:
        return Outcomes([], []), books
    # Half a second to import, which a run without such work does not need.
    from ibex.extraction.llm import ModelClient  # noqa: PLC0415

    settings = stores.settings
    prompt = prompt_named(settings)
    llm = ModelClient.of(settings, stores.model_slots)

    async def extract(job: ClaimedSession) -> SessionFacts:
        meter, succeeded = Meter(), False
        try:
            facts = await _extract(stores, llm, prompt, job, meter)
            succeeded = True
        finally:
            entry = spent(
                meter,
                settings,
                Purpose.FACTS,
                prompt.version,
                model=llm.model,
                run_id=run_id,
                org_id=job.org_id,
                agent_id=job.agent_id,
                session_id=job.session_id,
                succeeded=succeeded,
            )
            if entry is not None:
                books.append(entry)
                await stores.usage.add(entry)
        return facts

    try:
        outcomes = await each(jobs, extract, at_once=settings.extraction_concurrency)
    finally:
        await llm.close()
    for job, error in outcomes.failed:
        await give_back(stores, job, error)
    return outcomes, books


async def _extract(
    stores: Stores, llm: "ModelClient", prompt: Prompt, job: ClaimedSession, meter: Meter
) -> SessionFacts:
    turns = await stores.turns.turns(job.org_id, job.session_id, job.last_extracted_turn)
    return SessionFacts(
        job=job,
        extraction=await extract_facts(
            [turn_text(turn) for turn in turns],
            llm,
            prompt,
            imported=job.imported,
            meter=meter,
            parts=parts_after(job.last_error, job.attempt - 1 + job.deferrals),
        ),
        said_at={turn.number: turn.created_at for turn in turns},
        through_turn=turns[-1].number if turns else job.last_extracted_turn,
    )
