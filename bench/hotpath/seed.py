"""The agent that is asked: 10,000 memories with real embeddings, kept on disk for the next run."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import redis.asyncio
from rich.console import Console
from rich.progress import track

from bench.hotpath import corpus
from ibex.embedding import EmbedderClient, Matrix
from ibex.ids import new_id
from ibex.memory.model import Fact, Provenance
from ibex.memory.writing import content_hash
from ibex.settings import Settings
from ibex.stores import memories_write
from ibex.stores.hot import HotCache
from ibex.stores.identity import IdentityStore
from ibex.stores.memories_write import NewMemory
from ibex.stores.postgres import Database

_DIRECTIVE: Final = "You help the operations team. Be brief, and say when you are not sure."
_BATCH: Final = 256
_LIMIT: Final = 60.0  # seconds for a batch
_SAME: Final = 0.9999  # cosine of two embeddings of a text by the same model
_SAMPLE: Final = 8
_PROVENANCE: Final = Provenance(None, "bench/1", "bench", "bench", None)


@dataclass(frozen=True)
class Tenant:
    token: str = field(repr=False)
    memories: int


async def seed(settings: Settings, count: int, console: Console) -> Tenant:
    """An organization, an agent with `count` memories and a token for it."""
    facts = corpus.memories(count)
    embeddings = await _embeddings(settings, facts, console)
    database = await Database.connect(settings.app_dsn, name="bench")
    try:
        identity = IdentityStore(database)
        org_id = await identity.create_organization("bench")
        agent_id = await identity.create_agent(org_id, "assistant")
        await identity.set_directive(org_id, agent_id, _DIRECTIVE)
        token = await identity.create_token(org_id, "bench", agent_id=agent_id)
        rows = [
            NewMemory(
                id=new_id(),
                fact=fact,
                content_hash=content_hash(fact.content),
                redactions={},
                valid_from=fact.valid_from or corpus.NOW,
                embedding=vector,
            )
            for fact, vector in zip(facts, embeddings, strict=True)
        ]
        starts = range(0, len(rows), _BATCH)
        for start in track(starts, "Storing memories", console=console, transient=True):
            async with database.tenant(org_id) as connection:
                await memories_write.insert(
                    connection,
                    org_id,
                    agent_id,
                    None,
                    rows[start : start + _BATCH],
                    _PROVENANCE,
                    settings.embedding_model,
                )
        client = redis.asyncio.Redis.from_url(settings.redis_dsn)
        try:
            await HotCache(client, database).refresh(org_id, agent_id)
        finally:
            await client.aclose()
    finally:
        await database.close()
    return Tenant(token.text, count)


async def _embeddings(settings: Settings, facts: Sequence[Fact], console: Console) -> Matrix:
    texts = [fact.content for fact in facts]
    digest = hashlib.sha256("\n".join([settings.embedding_model, *texts]).encode()).hexdigest()
    file = settings.home / f"embeddings-{digest[:16]}.npy"
    embedder = EmbedderClient(settings.embedder_endpoint, timeout=_LIMIT)
    try:
        kept = await _kept(file, texts, embedder)
        if kept is not None:
            return kept
        parts = [
            await embedder.embed(texts[start : start + _BATCH])
            for start in track(
                range(0, len(texts), _BATCH),
                "Embedding memories (kept for the next run)",
                console=console,
                transient=True,
            )
        ]
    finally:
        await embedder.close()
    made: Matrix = np.concatenate(parts)
    np.save(file, made)
    return made


async def _kept(file: Path, texts: Sequence[str], embedder: EmbedderClient) -> Matrix | None:
    """What is on disk, when the embedder still makes the same of a few of the texts."""
    if not file.exists():
        return None
    kept: Matrix = np.load(file)
    places = np.linspace(0, len(texts) - 1, min(_SAMPLE, len(texts))).astype(int)
    now = await embedder.embed([texts[place] for place in places])
    cosines = np.einsum("ij,ij->i", now, kept[places])
    return kept if bool((cosines > _SAME).all()) else None
