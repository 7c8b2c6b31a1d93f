"""Checks of the assets: what `ibex.checks` finds, told to Dagster and kept by organization."""

from collections import Counter
from uuid import UUID

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetIn,
    ResourceParam,
    asset_check,
)

from assets.memories import LearnedSession
from assets.memories import memories as memories_asset
from assets.session_episodes import RecordedSession
from assets.stores import Stores
from ibex.checks.catalogue import CHECKS, Check, Seen, Severity
from ibex.checks.checking import Checked, Checker
from ibex.checks.judging import EXAMPLES
from ibex.checks.looking import Looking
from ibex.stores.checks import CheckStore

#: Looked at in what each run has just written; the others look at samples, hourly.
NEW_MEMORIES = "new_memories"
_SEVERITIES = {Severity.WARN: AssetCheckSeverity.WARN, Severity.ERROR: AssetCheckSeverity.ERROR}


def _looking(stores: Stores) -> Looking:
    return Looking(stores.database, stores.objects, stores.hot, stores.settings)


def _sampled(check: Check) -> AssetChecksDefinition:
    @asset_check(asset=check.asset, name=check.name.value, description=check.description)
    def look(
        context: AssetCheckExecutionContext, stores: ResourceParam[Stores]
    ) -> AssetCheckResult:
        checker = Checker(_looking(stores), CheckStore(stores.database), stores.settings)
        checked = stores.wait(checker.check(check.name, context.run.run_id))
        return result_of(check, checked)

    return look


def result_of(check: Check, checked: Checked) -> AssetCheckResult:
    """Of all organizations together: it passes where it passes in each. A failure is as severe as
    the most severe one."""
    failed = checked.failed
    severities = {result.severity for _, result in failed} or {check.severity}
    values = [result.value for _, result in checked.results]
    found: Counter[str] = Counter()
    for _, result in checked.results:
        found.update(result.seen.found)
    threshold = max((result.threshold for _, result in checked.results), default=check.threshold)
    return AssetCheckResult(
        passed=not failed,
        severity=_SEVERITIES[Severity.ERROR if Severity.ERROR in severities else Severity.WARN],
        metadata={
            "organizations": len(checked.results),
            "organizations_left": checked.left,
            "failed_in": [str(org_id) for org_id, _ in failed[:EXAMPLES]],
            "looked_at": sum(result.seen.looked_at for _, result in checked.results),
            "wrong": sum(result.seen.wrong for _, result in checked.results),
            "found": dict(found),
            f"worst_{check.unit.value}": round(max(values, default=0.0), 4),
            "threshold": threshold,
            "errors": sorted({result.error for _, result in failed if result.error}),
        },
    )


@asset_check(
    asset=memories_asset,
    name=NEW_MEMORIES,
    additional_ins={"session_episodes": AssetIn("session_episodes")},
    op_tags={"dagster/priority": "-2"},  # somebody waits for the rest
)
def new_memories(
    stores: ResourceParam[Stores],
    memories: list[LearnedSession],
    session_episodes: list[RecordedSession],
) -> AssetCheckResult:
    """Of what this run has just written: junk, provenance and vectors, in a sample of each
    organization."""
    made: dict[UUID, list[UUID]] = {}
    for learned in memories:
        made.setdefault(learned.job.org_id, []).extend(learned.written.created)
    for recorded in session_episodes:
        made.setdefault(recorded.job.org_id, []).extend(recorded.written.created)
    looked = stores.wait(_look_at(stores, made))
    found: Counter[str] = Counter()
    for seen in looked.values():
        found.update(seen.found)
    wrong = sum(seen.wrong for seen in looked.values())
    return AssetCheckResult(
        passed=wrong == 0,
        severity=AssetCheckSeverity.WARN,
        metadata={
            "looked_at": sum(seen.looked_at for seen in looked.values()),
            "wrong": wrong,
            "found": dict(found),
            "failed_in": [str(org_id) for org_id, seen in looked.items() if seen.wrong][:EXAMPLES],
        },
    )


async def _look_at(stores: Stores, made: dict[UUID, list[UUID]]) -> dict[UUID, Seen]:
    looking = _looking(stores)
    size = stores.settings.check_sample
    return {org_id: await looking.look_at(org_id, ids[:size]) for org_id, ids in made.items()}


SAMPLED = [_sampled(check) for check in CHECKS.values()]
