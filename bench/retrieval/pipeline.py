"""Conversations into a database, and the real pipeline over them, in this process."""

import asyncio
import gc
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import orjson
from dagster import DagsterInstance
from rich.console import Console
from rich.progress import track

from bench.retrieval.questions import Talk
from ibex.errors import IbexError
from ibex.importing import Importer, ImportSummary, Line
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.jobs import JobStore
from ibex.stores.postgres import Database
from ibex.stores.sessions import SessionStore
from orchestration.definitions import definitions

#: What needs no model.
_EPISODES: Final = ("completed_sessions", "session_episodes")
_QUIET: Final = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


async def bring_in(
    database: Database, org_id: UUID, talks: Sequence[Talk], console: Console
) -> ImportSummary:
    """Every session of every conversation, completed at its own time. Raises IbexError when a line
    cannot be taken."""
    importer = Importer(org_id, IdentityStore(database), SessionStore(database), create_agents=True)
    summary = ImportSummary()
    lines = [line for talk in talks for line in talk.lines]
    for number, line in enumerate(
        track(lines, "Importing sessions", console=console, transient=True), 1
    ):
        summary = await importer.add(Line(number, 0, orjson.dumps(line)), summary)
    if summary.errors:
        raise IbexError(f"{len(summary.errors)} sessions were not imported: {summary.errors[0]}")
    return summary


async def learn(
    settings: Settings, database: Database, console: Console, *, with_model: bool
) -> None:
    """Until no session can be claimed. Without the model, what needs none."""
    jobs = JobStore(database)
    while claimable := await jobs.claimable():
        with console.status(f"Learning from {claimable} sessions"):
            await asyncio.to_thread(_run, settings, with_model)


def _run(settings: Settings, with_model: bool) -> None:
    """In a thread: Dagster has a loop of its own."""
    with DagsterInstance.ephemeral() as instance:
        job = definitions(settings).resolve_job_def("learn")
        job.execute_in_process(
            instance=instance,
            run_config=_QUIET,
            op_selection=None if with_model else list(_EPISODES),
        )
    gc.collect()  # its SQLite belongs to this thread
