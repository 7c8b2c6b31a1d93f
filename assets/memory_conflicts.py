"""What a model says about memories that the rules left undecided."""

import time
from collections import Counter
from collections.abc import Sequence

from dagster import AssetExecutionContext, ResourceParam, asset

from assets.each import each, error_code, log_unplanned
from assets.hot_memories import hot_memories
from assets.memories import LearnedSession
from assets.stores import GROUP, OWNERS, Stores
from ibex.errors import ExtractionError
from ibex.extraction.asking import Model
from ibex.extraction.completion import Meter
from ibex.extraction.judging import PROMPT_VERSION, ask
from ibex.extraction.spending import spent, totals
from ibex.memory.settling import OpenPair
from ibex.stores.memories_write import Owner
from ibex.stores.undecided import UndecidedStore
from ibex.stores.usage import Purpose, Usage

_LOOKS = 4  # at once, at the database


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
    verdicts, books, failed = stores.wait(_judge_all(stores, owners, context.run.run_id))
    context.add_output_metadata(
        {
            "pairs": verdicts.total(),
            "verdicts": dict(verdicts),
            "failed": sorted({error_code(error) for error in failed}),
            **totals(books),
            "seconds": round(time.monotonic() - started, 3),
        }
    )


async def _judge_all(
    stores: Stores, owners: set[Owner], run_id: str
) -> tuple[Counter[str], list[Usage], list[Exception]]:
    """What the model said, what it cost and what went wrong, owner by owner. One client for all of
    them: a server that is away is found out once."""
    settings, store = stores.settings, UndecidedStore(stores.database)
    verdicts: Counter[str] = Counter()
    books: list[Usage] = []
    if not settings.conflict_questions:
        return verdicts, books, []

    async def look(owner: Owner) -> tuple[Owner, list[OpenPair]]:
        return owner, await store.open(owner, settings.conflict_questions)

    looked = await each(owners, look, at_once=_LOOKS)
    undecided = [(owner, pairs) for owner, pairs in looked.done if pairs]
    failed = [error for _, error in looked.failed]
    if undecided:
        # Half a second to import, which a run without such work does not need.
        from ibex.extraction.llm import ModelClient  # noqa: PLC0415

        llm = ModelClient.of(settings, stores.model_slots)

        async def judge(found: tuple[Owner, list[OpenPair]]) -> None:
            owner, pairs = found
            await _judge(stores, store, llm, owner, pairs, run_id, verdicts, books)

        try:
            judged = await each(undecided, judge, at_once=settings.extraction_concurrency)
        finally:
            await llm.close()
        failed += [error for _, error in judged.failed]
    for error in failed:
        log_unplanned("undecided memories", error)
    return verdicts, books, failed


async def _judge(
    stores: Stores,
    store: UndecidedStore,
    llm: Model,
    owner: Owner,
    pairs: Sequence[OpenPair],
    run_id: str,
    verdicts: Counter[str],
    books: list[Usage],
) -> None:
    """One pair after the other: a verdict may end what the next pair is about."""
    meter, succeeded, settled = Meter(), False, 0
    try:
        for pair in pairs:
            try:
                verdict = await ask(pair.older.statement, pair.newer.statement, llm, meter)
            except ExtractionError:
                verdicts["malformed"] += 1
                continue
            if await store.settle(owner, pair, verdict, run_id):
                verdicts[verdict.resolution.value] += 1
                settled += 1
        succeeded = True
    finally:
        entry = spent(
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
        if entry is not None:
            books.append(entry)
            await stores.usage.add(entry)
        if settled:
            await stores.hot.refresh(owner.org_id, owner.agent_id, owner.user_id)
