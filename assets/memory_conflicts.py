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
from ibex.extraction.completion import Meter
from ibex.extraction.judging import PROMPT_VERSION, ask
from ibex.extraction.spending import spent, totals
from ibex.stores.memories_write import Owner
from ibex.stores.undecided import UndecidedStore
from ibex.stores.usage import Purpose, Usage


@dataclass
class _Judged:
    verdicts: Counter[str] = field(default_factory=Counter)
    spent: Usage | None = None


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
            **totals(one.spent for one in judged if one.spent),
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

    llm, meter, succeeded = ModelClient.of(stores.settings, stores.model_slots), Meter(), False
    try:
        for pair in pairs:
            try:
                verdict = await ask(pair.older.statement, pair.newer.statement, llm, meter)
            except ExtractionError:
                judged.verdicts["malformed"] += 1
                continue
            if await store.settle(owner, pair, verdict, run_id):
                judged.verdicts[verdict.resolution.value] += 1
        succeeded = True
    finally:
        await llm.close()
        judged.spent = spent(
            meter,
            stores.settings,
            Purpose.CONFLICTS,
            PROMPT_VERSION,
            model=llm.model,
            run_id=run_id,
            org_id=owner.org_id,
            agent_id=owner.agent_id,
            session_id=None,
            succeeded=succeeded,
        )
        if judged.spent is not None:
            await stores.usage.add(judged.spent)
        if judged.verdicts:
            await stores.hot.refresh(owner.org_id, owner.agent_id, owner.user_id)
    return judged
