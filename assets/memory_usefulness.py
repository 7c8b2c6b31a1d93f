"""What answers tell about memories."""

import time
from uuid import UUID

from dagster import AssetExecutionContext, Failure, ResourceParam, asset

from assets.each import Outcomes, each, error_code, log_unplanned
from assets.stores import OWNERS, USE, Stores
from ibex.memory.observing import ObservedAnswers, Observer
from ibex.stores.memories_write import Owner
from ibex.stores.usefulness import UsefulnessStore

_AT_ONCE = 2  # organizations: nobody waits for this, and the embedder has others to serve
_BATCH = 50  # answers of one transaction
_REFRESHES = 4


@asset(group_name=USE, owners=OWNERS, kinds={"postgres", "redis"})
def memory_usefulness(context: AssetExecutionContext, stores: ResourceParam[Stores]) -> None:
    """How often answers rest on each memory, how often it was given, and when last.

    Takes every answer that nobody has looked at, compares it with the memories that its request was
    given, by words and by meaning, and moves their averages. No model is asked. The hot lists of
    those whose memories moved follow.
    """
    started = time.monotonic()
    store = UsefulnessStore(stores.database, stores.settings.embedding_model)
    observer = Observer(store, stores.turns, stores.embedder)
    waiting = stores.wait(store.waiting())
    outcomes = stores.wait(
        each(
            [one.org_id for one in waiting],
            lambda org_id: _observe(observer, org_id, stores.settings.answers_per_run),
            at_once=_AT_ONCE,
        )
    )
    for org_id, error in outcomes.failed:
        log_unplanned(f"answers of organization {org_id}", error)
    owners = {owner for done in outcomes.done for owner in done.owners}
    refreshed = stores.wait(refresh_hot_lists(stores, owners))
    failed = [error for _, error in (*outcomes.failed, *refreshed.failed)]
    if failed:
        codes = sorted({error_code(error) for error in failed})
        raise Failure(
            f"{len(outcomes.failed)} organizations and {len(refreshed.failed)} hot lists were left "
            f"({', '.join(codes)}). The answers stay due."
        )
    context.add_output_metadata(
        {
            "organizations": len(outcomes.done),
            "answers": sum(one.answers for one in outcomes.done),
            "observations": sum(one.observations for one in outcomes.done),
            "hot_lists": len(refreshed.done),
            "seconds": round(time.monotonic() - started, 3),
        }
    )


async def refresh_hot_lists(stores: Stores, owners: set[Owner]) -> Outcomes[Owner, int]:
    return await each(
        owners,
        lambda owner: stores.hot.refresh(owner.org_id, owner.agent_id, owner.user_id),
        at_once=_REFRESHES,
    )


async def _observe(observer: Observer, org_id: UUID, limit: int) -> ObservedAnswers:
    """Batch by batch, so that no transaction is long and an end in between loses little."""
    answers, observations, owners = 0, 0, frozenset[Owner]()
    while answers < limit:
        batch = await observer.observe_waiting(org_id, min(_BATCH, limit - answers))
        if not batch.answers:
            break
        answers += batch.answers
        observations += batch.observations
        owners |= batch.owners
    return ObservedAnswers(answers, observations, owners)
