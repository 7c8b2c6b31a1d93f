"""What a model says about memories that the rules left undecided."""

import time
from collections import Counter
from dataclasses import dataclass, field

from dagster import AssetExecutionContext, ResourceParam, asset

from assets.each import each, error_code, log_unplanned
from assets.hot_memories import hot_memories
from assets.memories import LearnedSession
from assets.stores import GROUP, OWNERS, Stores
from ibex.errors import ExtractionError
from ibex.extraction.judging import ask
from ibex.stores.memories_write import Owner
from ibex.stores.undecided import UndecidedStore


@dataclass
class _Judged:
    verdicts: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0


@asset(group_name=GROUP, owners=OWNERS, kinds={"openai", "postgres"}, deps=[hot_memories])
def memory_conflicts(
    context: AssetExecutionContext,
    stores: ResourceParam[Stores],
    memories: list[LearnedSession],
) -> None:
    """Verdicts of the model on pairs that no rule could judge, of the agents and users that a
    session was learned for.

    Comes last: what was learned is there already, and both of a pair stay where no answer comes.
    They are asked about again when the same agent and user say something new.
    """
    started = time.monotonic()
    owners = {Owner(one.job.org_id, one.job.agent_id, one.job.user_id) for one in memories}
    judged, failed = stores.wait(_judge_all(stores, owners, context.run.run_id))
    context.add_output_metadata(
        {
            "pairs": sum(sum(one.verdicts.values()) for one in judged),
            "verdicts": dict(sum((one.verdicts for one in judged), Counter())),
            "failed": sorted({error_code(error) for error in failed}),
            "prompt_tokens": sum(one.prompt_tokens for one in judged),
            "completion_tokens": sum(one.completion_tokens for one in judged),
            "seconds": round(time.monotonic() - started, 3),
        }
    )


async def _judge_all(
    stores: Stores, owners: set[Owner], run_id: str
) -> tuple[list[_Judged], list[Exception]]:
    settings = stores.settings
    if not owners or not settings.conflict_questions:
        return [], []
    outcomes = await each(
        owners,
        lambda owner: _judge(stores, owner, run_id),
        at_once=settings.extraction_concurrency,
    )
    failed = [error for _, error in outcomes.failed]
    for error in failed:
        log_unplanned("undecided memories", error)
    return outcomes.done, failed


async def _judge(stores: Stores, owner: Owner, run_id: str) -> _Judged:
    """One pair after the other: a verdict may end what the next pair is about."""
    judged, store = _Judged(), UndecidedStore(stores.database)
    pairs = await store.open(owner, stores.settings.conflict_questions)
    if not pairs:
        return judged
    # Half a second to import, which a run without such work does not need.
    from ibex.extraction.llm import ModelClient  # noqa: PLC0415

    settings = stores.settings
    llm = ModelClient(
        settings.provider_url,
        settings.provider_key,
        settings.extraction_model,
        settings.extraction_timeout,
    )
    try:
        for pair in pairs:
            try:
                answer = await ask(pair.older.statement, pair.newer.statement, llm)
            except ExtractionError:
                judged.verdicts["malformed"] += 1
                continue
            judged.prompt_tokens += answer.prompt_tokens
            judged.completion_tokens += answer.completion_tokens
            if await store.settle(owner, pair, answer.verdict, run_id):
                judged.verdicts[answer.verdict.resolution.value] += 1
    finally:
        await llm.close()
        if judged.verdicts:
            await stores.hot.refresh(owner.org_id, owner.agent_id, owner.user_id)
    return judged
