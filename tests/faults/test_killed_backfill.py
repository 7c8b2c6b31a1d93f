"""kill -9 of a backfill's worker while it waits for the model: the next one goes on."""

import asyncio
import os
import sys

import pytest

from ibex.backfills.model import State
from ibex.errors import ConflictError
from tests.conftest import service_env
from tests.faults.test_killed_run import SilentModel
from tests.rereading import ECHO, HOST, SHORT, Place, fact


async def test_a_killed_worker_leaves_its_backfill_to_the_next(place: Place) -> None:
    for _ in range(2):
        await place.session(fact(ECHO))
    before = await place.everything()
    async for model in SilentModel().serve():
        doomed = place.tools.settings.model_copy(update={"provider_base_url": model.url})
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "ibex.cli", "backfill", "memories", "--since", "2026-01-01"),
            *("--org", await place.name(), "--model", "sandbox", "--json"),
            env=os.environ | service_env(doomed),
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await asyncio.wait_for(model.asked.wait(), 60)
        finally:
            worker.kill()
            await worker.wait()
    (made,) = await place.store.backfills(place.org_id, limit=9)
    assert (made.status, made.done) == (State.RUNNING, 0)
    with pytest.raises(ConflictError):
        await place.run(made)
    await place.store.renew(place.org_id, made.id, f"backfill-{made.id}", -1)
    assert [due.id for due in await place.store.due(9)] == [made.id]
    ready = await place.run(made)
    assert (ready.status, ready.done) == (State.READY, 2)
    assert await place.everything() == before
    assert len(await place.rows("backfill_facts")) == 4
    await place.do(made, State.SWITCHING)
    assert set(await place.believed()) == {HOST, SHORT}
