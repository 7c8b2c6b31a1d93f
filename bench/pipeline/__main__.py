"""`python -m bench.pipeline`: from a session's end to its memories, and what requests feel of it.

The whole stack with the sandbox model: sessions of ten turns through the proxy, one at a time; then
200 sessions of ten turns that end at once, while an agent of 10,000 memories is asked a hundred
questions a second, and the same questions with nothing else to do. The answers are not looked
through for what they rest on: that would be at work in both. Writes bench/results/pipeline.json.
"""

import argparse
import asyncio
import os
import random
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orjson
from rich.console import Console

from bench.command import console as open_console
from bench.command import run_and_exit
from bench.environment import environment
from bench.figures import RESULTS, print_figures, shown, write
from bench.hotpath.upstream import mock_upstream
from bench.pipeline.burst import TURNS, Bursts, archive_seconds
from bench.pipeline.report import Archives, Round, figures, show
from bench.pipeline.requests import Requests
from bench.seed import seed
from bench.stack import process_ids, running_stack
from bench.usage import spent, usages
from ibex.settings import Settings
from ibex.smoke import ORGANIZATION, SmokeResult, smoke
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database

_MOCK: Final = "mock"  # the provider of the agent that is asked
_NOT_NEEDED: Final = ("dashboard",)
_NEVER: Final = 86_400  # seconds
_TICK: Final = 5.0  # seconds, of the sensor
_CALM: Final = 4  # pieces of load of which the calm consists
_SETTLED: Final = 5.0  # seconds after a burst, for the runs that it leaves behind


async def _measure(options: argparse.Namespace, console: Console) -> int:
    surroundings = environment()
    async with mock_upstream(None) as upstream:
        provider = {"base_url": upstream, "api_key": "bench"}
        os.environ["IBEX_USEFULNESS_INTERVAL"] = str(_NEVER)
        os.environ["IBEX_PROVIDERS"] = orjson.dumps({_MOCK: provider}).decode()
        async with running_stack(None, console, leaving_out=_NOT_NEEDED) as settings:
            single = await _one_at_a_time(settings, options.sessions, console)
            rounds, archives = await _bursts(settings, options, console)
    found = figures(single, rounds, archives)
    show(single, rounds, console)
    print_figures(found, console)
    write(
        options.out or RESULTS / "pipeline.json",
        {
            "figures": found,
            "measured_at": datetime.now(UTC),
            "environment": surroundings,
            "load": {
                "turns": TURNS,
                "requests_per_second": options.rate,
                "memories": options.memories,
            },
            "single": [one.as_dict() for one in single],
            "rounds": [asdict(one) for one in rounds],
        },
    )
    return 0


async def _one_at_a_time(settings: Settings, count: int, console: Console) -> list[SmokeResult]:
    """The first is not counted: each process does something for the first time in it."""
    quiet, chance = Console(quiet=True), random.Random(1)
    results = []
    for number in range(count + 1):
        result = await smoke(settings, quiet)
        if number:
            results.append(result)
            seconds = f"{result.session_to_memory_s:.2f} s"
            console.print(
                f"session {number}: {seconds} to {result.memories} memories", highlight=False
            )
        # So that sessions end at any point of the sensor's interval.
        await asyncio.sleep(chance.uniform(0, _TICK))
    return results


async def _bursts(
    settings: Settings, options: argparse.Namespace, console: Console
) -> tuple[list[Round], Archives]:
    (agent,) = await seed(settings, [options.memories], console)
    database = await Database.connect(settings.app_dsn, name="bench")
    pids = process_ids(settings.home)
    try:
        await IdentityStore(database).change_agent(agent.org_id, agent.id, {}, {"provider": _MOCK})
        requests = Requests(f"{settings.proxy_endpoint}/v1", agent, options.rate)
        bursts = await Bursts.of_a_new_agent(database)
        await requests.for_pieces(1)  # connections, caches and the agent's memories
        rounds = []
        for number in range(options.rounds):
            sessions = await bursts.record(options.burst, console)
            await asyncio.sleep(_SETTLED)
            started = usages(pids)
            calm = await requests.for_pieces(_CALM)
            between = usages(pids)
            work = asyncio.create_task(bursts.complete(sessions))
            meanwhile = await requests.during(lambda: not work.done())  # noqa: B023 — awaited here
            costs = spent(started, between), spent(between, usages(pids))
            one = Round(calm, await work, meanwhile, *costs)
            rounds.append(one)
            console.print(
                f"round {number + 1}: {one.burst.sessions} sessions in {one.burst.all_s:.1f} s, "
                f"archives in {one.burst.archived_s:.1f} s; requests calm {shown(calm.total_ms)}, "
                f"meanwhile {shown(meanwhile.total_ms)} ms",
                highlight=False,
            )
            await asyncio.sleep(_SETTLED)
        alone = await IdentityStore(database).organization(ORGANIZATION)
        archives = Archives(
            alone=await archive_seconds(database, alone),
            together=await archive_seconds(database, bursts.org_id),
        )
    finally:
        await database.close()
    return rounds, archives


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.pipeline")
    parser.add_argument("--quick", action="store_true", help="few sessions, one round: a look")
    parser.add_argument("--sessions", type=int, help="one at a time; default: 10")
    parser.add_argument("--rounds", type=int, help="bursts; default: 3")
    parser.add_argument("--burst", type=int, default=200, help="sessions that end at once")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second meanwhile")
    parser.add_argument("--memories", type=int, default=10_000, help="of the agent that is asked")
    parser.add_argument("--out", type=Path, help="default: bench/results/pipeline.json")
    options = parser.parse_args()
    options.sessions = options.sessions or (3 if options.quick else 10)
    options.rounds = options.rounds or (1 if options.quick else 3)
    return options


if __name__ == "__main__":
    run_and_exit(_measure(_options(), open_console()))
