"""`python -m bench.retrieval locomo.json`: see docs/performance.md."""

import argparse
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import redis.asyncio
from rich.console import Console
from threadpoolctl import threadpool_limits

from bench.command import console as open_console
from bench.command import run_and_exit
from bench.embeddings import embed
from bench.environment import environment
from bench.figures import RESULTS, print_figures, write
from bench.retrieval import report
from bench.retrieval.asking import (
    WAYS,
    Asked,
    Hit,
    Way,
    ask_as_served,
    ask_by,
    ask_postgres,
    said_by,
)
from bench.retrieval.pipeline import bring_in, learn
from bench.retrieval.questions import Talk, read
from bench.stack import running_stack
from ibex.embedding import EmbedderClient
from ibex.memory.recall import Recall
from ibex.settings import Settings
from ibex.stores.directives import DirectiveCache
from ibex.stores.hot import HotCache
from ibex.stores.identity import IdentityStore
from ibex.stores.index_cache import IndexCache
from ibex.stores.memories import MemoryReader
from ibex.stores.postgres import Database

_NOBODY: Final = "http://127.0.0.1:9/v1"  # no model is asked
_LEFT_OUT: Final = ("proxy", "assembler")
_DEADLINE: Final = 30.0  # seconds: what is found is asked here, not what is found in time
_INDEX_BYTES: Final = 2**32
_POSTGRES: Final = "both, composite, in PostgreSQL"
_ALONE: Final = "both, composite, without neighbours"
_FORGET_PLACES: Final = "UPDATE ibex_core.memories SET place = NULL WHERE org_id = $1"


async def _retrieval(options: argparse.Namespace, console: Console) -> int:
    surroundings = environment()
    talks = read(options.data)
    async with (
        running_stack(options.model or _NOBODY, console, without=_LEFT_OUT) as settings,
        AsyncExitStack() as stack,
    ):
        database = await Database.connect(settings.app_dsn, name="bench", command_timeout=60)
        stack.push_async_callback(database.close)
        org_id = await IdentityStore(database).create_organization("bench")
        imported = await bring_in(database, org_id, talks, console)
        await learn(settings, database, console, with_model=options.model is not None)
        stack.enter_context(threadpool_limits(1, "blas"))  # as in the assembler
        asked = [await _asked(settings, database, org_id, talk) for talk in talks]
        served = await _as_served(settings, database, asked, console)
        ways = {}
        for way in WAYS:
            with console.status(way.name):
                ways[way.name] = await _by(way, database, asked)
        reader = MemoryReader(database, settings.embedding_model)
        with console.status(_POSTGRES):
            ways[_POSTGRES] = [each for one in asked for each in await ask_postgres(reader, one)]
        async with database.tenant(org_id) as connection:
            await connection.execute(_FORGET_PLACES, org_id)
        ways[_ALONE] = await _by(WAYS[-1], database, asked)
    line = report.line_of(report.SERVED, served)
    categories = report.by_category(served)
    ablations = [report.line_of(name, hits) for name, hits in ways.items()]
    took = report.times(served)
    report.show("Evidence found, as served", [line, *categories], console)
    report.show("Ablations", ablations, console)
    figures = report.figures(line, took)
    print_figures(figures, console)
    write(
        options.out or RESULTS / "retrieval.json",
        {
            "figures": figures,
            "measured_at": datetime.now(UTC),
            "environment": surroundings,
            "data": {
                "conversations": len(talks),
                "sessions": imported.sessions,
                "turns": imported.turns,
                "memories": sum(len(one.said) for one in asked),
                "questions": len(served),
                "model": options.model is not None,
            },
            "served": _plain(line),
            "categories": [_plain(one) for one in categories],
            "ablations": [_plain(one) for one in ablations],
            "times_ms": took,
        },
    )
    return 0


async def _asked(settings: Settings, database: Database, org_id: UUID, talk: Talk) -> Asked:
    agent = await IdentityStore(database).agent(org_id, talk.agent)
    return Asked(
        org_id=org_id,
        agent_id=agent.id,
        questions=talk.questions,
        vectors=await embed(settings, [one.text for one in talk.questions]),
        said=await said_by(database, org_id, agent.id),
    )


async def _as_served(
    settings: Settings, database: Database, asked: Sequence[Asked], console: Console
) -> list[Hit]:
    """Put together as the assembler does it (hotpath/assembler/server.py), without its deadline."""
    async with AsyncExitStack() as stack:
        cache = redis.asyncio.Redis.from_url(settings.redis_dsn)
        stack.push_async_callback(cache.aclose)
        embedder = EmbedderClient(settings.embedder_endpoint, timeout=_DEADLINE)
        stack.push_async_callback(embedder.close)
        indexes = IndexCache(database, settings.embedding_model, max_bytes=_INDEX_BYTES)
        stack.push_async_callback(indexes.close)
        recall = Recall(
            DirectiveCache(cache, database),
            HotCache(cache, database, settings.embedding_model),
            MemoryReader(database, settings.embedding_model),
            embedder,
            indexes=indexes,
            deadline=_DEADLINE,
        )
        stack.push_async_callback(recall.close)
        hits: list[Hit] = []
        for number, one in enumerate(asked, 1):
            title = f"Asking, conversation {number} of {len(asked)}"
            hits += await ask_as_served(recall, indexes, one, console, title)
        return hits


async def _by(way: Way, database: Database, asked: Sequence[Asked]) -> list[Hit]:
    indexes = IndexCache(database, max_bytes=_INDEX_BYTES)
    try:
        return [hit for one in asked for hit in await ask_by(way, indexes, one)]
    finally:
        await indexes.close()


def _plain(line: report.Line) -> dict[str, object]:
    """Keys of JSON are texts."""
    return {
        **asdict(line),
        "at": {str(rank): share for rank, share in line.at.items()},
        "within": {str(budget): share for budget, share in line.within.items()},
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.retrieval")
    parser.add_argument("data", type=Path, help="LoCoMo's JSON file")
    parser.add_argument(
        "--model",
        metavar="URL",
        help="an OpenAI-compatible server ending in /v1: facts are extracted as well",
    )
    parser.add_argument("--out", type=Path, help="the file for the result")
    options = parser.parse_args()
    if not options.data.is_file():
        parser.error(f"there is no file {options.data}")
    return options


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        run_and_exit(_retrieval(_options(), open_console()))
