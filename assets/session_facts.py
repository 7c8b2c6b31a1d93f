"""What the model found in the claimed sessions."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from dagster import AssetExecutionContext, ResourceParam, asset

from assets.each import Outcomes, each, give_back
from assets.session_episodes import RecordedSession
from assets.stores import GROUP, OWNERS, Stores
from ibex.stores.jobs import ClaimedSession

if TYPE_CHECKING:
    from ibex.extraction.extract import Extraction
    from ibex.extraction.llm import ModelClient
    from ibex.extraction.prompts import Prompt


@dataclass(frozen=True)
class SessionFacts:
    job: ClaimedSession
    extraction: "Extraction"
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

    A session that fails goes back to wait, or becomes a dead letter; the others go on. Nothing of
    this is stored: the next asset keeps what is kept.
    """
    started = time.monotonic()
    outcomes = stores.wait(_extract_all(stores, [one.job for one in session_episodes]))
    facts = outcomes.done
    context.add_output_metadata(
        {
            "sessions": len(facts),
            "failed": len(outcomes.failed),
            "facts": sum(len(one.extraction.facts) for one in facts),
            "dropped": sum(one.extraction.dropped for one in facts),
            "prompt_tokens": sum(one.extraction.prompt_tokens for one in facts),
            "completion_tokens": sum(one.extraction.completion_tokens for one in facts),
            "models": sorted({one.extraction.model for one in facts}),
            "seconds": round(time.monotonic() - started, 3),
        }
    )
    return facts


async def _extract_all(
    stores: Stores, jobs: list[ClaimedSession]
) -> Outcomes[ClaimedSession, SessionFacts]:
    if not jobs:
        return Outcomes([], [])
    # Half a second to import, which a run without such work does not need.
    from ibex.extraction.llm import ModelClient  # noqa: PLC0415
    from ibex.extraction.prompts import prompt_named  # noqa: PLC0415

    settings = stores.settings
    prompt = prompt_named(settings)
    llm = ModelClient(
        settings.provider_url,
        settings.provider_key,
        settings.extraction_model,
        settings.extraction_timeout,
    )
    try:
        outcomes = await each(
            jobs,
            lambda job: _extract(stores, llm, prompt, job),
            at_once=settings.extraction_concurrency,
        )
    finally:
        await llm.close()
    for job, error in outcomes.failed:
        await give_back(stores, job, error)
    return outcomes


async def _extract(
    stores: Stores, llm: "ModelClient", prompt: "Prompt", job: ClaimedSession
) -> SessionFacts:
    from ibex.extraction.extract import extract_facts  # noqa: PLC0415
    from ibex.extraction.reading import turn_text  # noqa: PLC0415

    turns = await stores.turns.turns(job.org_id, job.session_id, job.last_extracted_turn)
    return SessionFacts(
        job=job,
        extraction=await extract_facts(
            [turn_text(turn) for turn in turns], llm, prompt, imported=job.imported
        ),
        said_at={turn.number: turn.created_at for turn in turns},
        through_turn=turns[-1].number if turns else job.last_extracted_turn,
    )
