"""How much of a sustained extraction the cache answers: facts of many users of one application.

Users of one product say much of the same ("User prefers answers in German"), a few things very
often and many things rarely: statements are drawn with Zipf's frequencies (1 / rank) from as many
as the corpus is asked for, a batch a session, several sessions at once, each batch as the pipeline
sends it. The share found can be no higher than the share of statements that were said before; that
is shown beside it. What an application's users really repeat decides its own share.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import numpy as np
from rich.console import Console
from rich.progress import Progress

from bench import corpus
from bench.embed.metrics import cache_counts
from ibex.embedding import EmbedderClient
from ibex.settings import Settings

SESSIONS: Final = 4_000
_STATEMENTS: Final = 5_000  # that are said at all
_FACTS: Final = 6  # of a session
_AT_ONCE: Final = 4  # sessions, as in the pipeline
_SEED: Final = 3
_LIMIT: Final = 60.0  # seconds


@dataclass(frozen=True)
class Sustained:
    sessions: int
    texts: int
    hit_rate: float  # of distinct texts a request, as the metrics count
    best_possible: float  # the share of texts that had been said before


async def sustained(settings: Settings, sessions: int, console: Console) -> Sustained:
    """Into the embedder that serves with these settings."""
    texts = [fact.content for fact in corpus.memories(_STATEMENTS)]
    chance = np.random.default_rng(_SEED)
    weights = 1 / np.arange(1, len(texts) + 1)
    said = chance.choice(len(texts), (sessions, _FACTS), p=weights / weights.sum())
    batches = [[texts[place] for place in dict.fromkeys(row.tolist())] for row in said]
    total = sum(map(len, batches))
    distinct = len({text for batch in batches for text in batch})
    client = EmbedderClient(settings.embedder_endpoint, timeout=_LIMIT)
    before = await cache_counts(settings)
    places = iter(range(sessions))

    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("Sustained extraction", total=sessions)

        async def extract() -> None:
            for place in places:
                await client.embed(batches[place])
                progress.advance(task)

        try:
            await asyncio.gather(*(extract() for _ in range(_AT_ONCE)))
        finally:
            await client.close()
    after = await cache_counts(settings)
    hits, misses = after.hits - before.hits, after.misses - before.misses
    return Sustained(
        sessions=sessions,
        texts=total,
        hit_rate=round(hits / (hits + misses), 4),
        best_possible=round(1 - distinct / total, 4),
    )
