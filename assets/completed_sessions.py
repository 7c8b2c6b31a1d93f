"""Which sessions a run works on."""

from dagster import AssetExecutionContext, ResourceParam, asset

from assets.links import session_links
from assets.stores import GROUP, OWNERS, Stores
from ibex.stores.jobs import ClaimedSession


@asset(group_name=GROUP, owners=OWNERS, kinds={"postgres"})
def completed_sessions(
    context: AssetExecutionContext, stores: ResourceParam[Stores]
) -> list[ClaimedSession]:
    """Completed sessions with turns that nothing was learned from yet, claimed by this run.

    The claim is a lease with a count of tries, committed before any model is called: a run that
    dies gives its sessions back when the lease ends, and no two runs ever hold the same one.
    A run that makes nothing of them claims none: its claims would be tries that nobody made.
    """
    settings = stores.settings
    if not context.job_def.has_node_named("session_episodes"):
        context.log.info("This run does not go on to 'session_episodes', so it claims no session.")
        context.add_output_metadata({"sessions": 0, "turns": 0, "retries": 0})
        return []
    claimed = stores.wait(
        stores.jobs.claim(
            context.run.run_id,
            settings.sessions_per_run,
            settings.extraction_lease,
            max_attempts=settings.extraction_max_attempts,
        )
    )
    context.add_output_metadata(
        {
            "sessions": len(claimed),
            "turns": sum(job.turn_count - job.last_extracted_turn for job in claimed),
            "organizations": len({job.org_id for job in claimed}),
            "retries": sum(job.attempt > 1 for job in claimed),
            "links": session_links(settings, (job.session_id for job in claimed)),
        }
    )
    return claimed
