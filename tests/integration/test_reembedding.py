"""A second model's vectors beside the first's: made, resumed, served, exchanged, forgotten."""

import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import numpy as np
import numpy.typing as npt
import orjson
import pytest
import redis.asyncio

from ibex.embedding import EmbedderClient
from ibex.embedding_models import chosen_model
from ibex.errors import ConfigurationError, EmbedderUnavailableError, InvalidRequestError
from ibex.ids import new_id
from ibex.memory.model import Found, Vector
from ibex.reembedding import Reembedded, Reembedding
from ibex.settings import DEFAULT_EMBEDDING_MODEL, Settings
from ibex.stores.embeddings import FIRST, EmbeddingStore
from ibex.stores.hot import HotCache
from ibex.stores.identity import IdentityStore
from ibex.stores.index_cache import IndexCache
from ibex.stores.memories import MemoryReader
from ibex.stores.postgres import Database
from tests.command_line import ibex, shown
from tests.integration.remembering import change, remember
from tests.integration.test_index_cache import loaded
from tests.pipeline import output, run_job
from tests.seeding import insert
from tests.unit.candidates import direction

SECOND = "second"


class Second:
    """Another model: a text's vector follows from its number. It may give up after some texts."""

    def __init__(self, gives_up_after: int | None = None) -> None:
        self.asked: list[str] = []
        self._left = gives_up_after

    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        if self._left is not None:
            self._left -= len(texts)
            if self._left < 0:
                raise EmbedderUnavailableError
        self.asked.extend(texts)
        return np.stack([vector_of(text) for text in texts])


def vector_of(text: str) -> Vector:
    """At a right angle to what `remember` stores."""
    number = int(text.rstrip(".").rpartition(" ")[2])
    return direction(0.0, 1.0, number / 10)


@pytest.fixture
def store(database: Database) -> EmbeddingStore:
    return EmbeddingStore(database)


@pytest.fixture
async def memories(database: Database, org_id: UUID, agent_id: UUID) -> list[UUID]:
    return [
        await remember(database, org_id, agent_id, f"Fact {number}.", confidence=0.9)
        for number in range(7)
    ]


async def nearest(
    database: Database, org_id: UUID, agent_id: UUID, model: str, vector: Vector
) -> list[Found]:
    return await MemoryReader(database, model).search(org_id, agent_id, None, "", vector, width=1)


async def test_a_second_models_vectors_are_served_by_asking_for_them(
    database: Database,
    store: EmbeddingStore,
    redis_client: redis.asyncio.Redis,
    org_id: UUID,
    agent_id: UUID,
    memories: list[UUID],
) -> None:
    question = vector_of("Fact 3.")
    assert await nearest(database, org_id, agent_id, SECOND, question) == []
    seen: list[tuple[int, int]] = []
    done = await Reembedding(store, batch=3).run(
        [org_id], SECOND, Second(), served=False, watch=lambda *state: seen.append(state)
    )
    assert done == Reembedded(memories=7, made=7, exchanged=0)
    assert seen == [(3, 7), (6, 7), (7, 7)]

    (found,) = await nearest(database, org_id, agent_id, SECOND, question)
    assert found.candidate.id == memories[3]
    np.testing.assert_allclose(found.candidate.embedding, question)
    (old,) = await nearest(database, org_id, agent_id, DEFAULT_EMBEDDING_MODEL, direction(1.0))
    np.testing.assert_array_equal(old.candidate.embedding, direction(1.0))

    (kept,) = await MemoryReader(database, SECOND).in_force(org_id, agent_id, None, [memories[3]])
    np.testing.assert_allclose(kept.embedding, question)
    hot = HotCache(redis_client, database, SECOND)
    await hot.refresh(org_id, agent_id)
    listed = {one.candidate.id: one.candidate for one in await hot.read(org_id, agent_id, None)}
    np.testing.assert_allclose(listed[memories[3]].embedding, question, atol=1e-3)
    for model, wanted in ((SECOND, question), (DEFAULT_EMBEDDING_MODEL, direction(1.0))):
        cache = IndexCache(database, model, max_bytes=2**30)
        index = await loaded(cache, org_id, agent_id)
        hits = await index.search(org_id, agent_id, None, "fact", wanted)
        assert {one.candidate.id for one in hits} == set(memories)
        (hit,) = [one for one in hits if one.candidate.id == memories[3]]
        np.testing.assert_allclose(hit.candidate.embedding, wanted)
        await cache.close()


async def test_a_memory_without_a_vector_of_the_model_is_found_by_its_words(
    database: Database, org_id: UUID, agent_id: UUID, memories: list[UUID]
) -> None:
    reader = MemoryReader(database, SECOND)
    found = await reader.search(org_id, agent_id, None, "fact 5", vector_of("Fact 5."))
    assert {one.candidate.id for one in found} == set(memories)
    assert not any(one.candidate.embedding.any() for one in found)
    cache = IndexCache(database, SECOND, max_bytes=2**30)
    index = await loaded(cache, org_id, agent_id)
    (best, *_) = index.recall(None, "fact 5", vector_of("Fact 5."), datetime.now(UTC))
    assert 0 < best.parts.relevance <= 0.5
    await cache.close()


async def test_a_backfill_that_was_stopped_goes_on(
    store: EmbeddingStore, org_id: UUID, memories: list[UUID]
) -> None:
    with pytest.raises(EmbedderUnavailableError):
        await Reembedding(store, batch=2).run([org_id], SECOND, Second(4), served=False)
    assert (await store.counts(org_id)) == {DEFAULT_EMBEDDING_MODEL: 7, SECOND: 4}
    second = Second()
    done = await Reembedding(store, batch=2).run([org_id], SECOND, second, served=False)
    assert done == Reembedded(memories=7, made=3, exchanged=0)
    assert second.asked == ["Fact 4.", "Fact 5.", "Fact 6."]


async def test_served_vectors_change_places_and_nobody_sees_a_difference(
    database: Database, store: EmbeddingStore, org_id: UUID, agent_id: UUID, memories: list[UUID]
) -> None:
    question = vector_of("Fact 3.")
    reembedding = Reembedding(store, batch=3)
    for model, embedder, done in (
        (SECOND, Second(), Reembedded(7, 7, 7)),
        (SECOND, Second(0), Reembedded(7, 0, 0)),
        (DEFAULT_EMBEDDING_MODEL, Second(0), Reembedded(7, 0, 7)),  # and back
        (SECOND, Second(0), Reembedded(7, 0, 7)),
    ):
        assert await reembedding.run([org_id], model, embedder, served=True) == done
        async with database.tenant(org_id) as connection:
            rows = await connection.fetch(
                "SELECT DISTINCT embedding_model FROM ibex_core.memories WHERE org_id = $1", org_id
            )
        assert [row[0] for row in rows] == [model]
        assert await store.counts(org_id) == {DEFAULT_EMBEDDING_MODEL: 7, SECOND: 7}
        (found,) = await nearest(database, org_id, agent_id, SECOND, question)
        assert found.candidate.id == memories[3]
        np.testing.assert_allclose(found.candidate.embedding, question)
        old = await MemoryReader(database).in_force(org_id, agent_id, None, memories)
        for one in old:
            np.testing.assert_array_equal(one.embedding, direction(1.0))


async def test_what_says_something_else_loses_the_vectors_of_its_old_words(
    database: Database, store: EmbeddingStore, org_id: UUID, memories: list[UUID]
) -> None:
    texts = await store.page(org_id, SECOND, FIRST, 10)
    await change(database, org_id, memories[0], content="Fact 10.", content_hash=b"0" * 32)
    assert await store.put(org_id, SECOND, texts, [vector_of(one.content) for one in texts]) == 6
    await change(database, org_id, memories[1], usefulness=0.1)
    assert (await store.counts(org_id))[SECOND] == 6
    await change(database, org_id, memories[1], content="Fact 11.", content_hash=b"1" * 32)
    assert (await store.counts(org_id))[SECOND] == 5
    second = Second()
    await Reembedding(store).run([org_id], SECOND, second, served=False)
    assert second.asked == ["Fact 10.", "Fact 11."]


async def test_what_holds_has_held_or_may_hold_is_embedded(
    database: Database, store: EmbeddingStore, org_id: UUID, memories: list[UUID]
) -> None:
    now = datetime.now(UTC)
    await change(database, org_id, memories[0], valid_from=now, valid_to=now)
    await change(database, org_id, memories[1], status="quarantined")
    await change(database, org_id, memories[2], valid_to=now)
    second = Second()
    await Reembedding(store).run([org_id], SECOND, second, served=False)
    assert second.asked == [f"Fact {number}." for number in range(1, 7)]
    assert await store.total(org_id) == 6


async def test_statements_in_other_words_get_theirs_once_the_model_is_served(
    database: Database, store: EmbeddingStore, org_id: UUID, agent_id: UUID, memories: list[UUID]
) -> None:
    said = {
        "agent_id": agent_id,
        "category": "declarative",
        "confidence": 0.9,
        "source": "user",
        "valid_from": datetime.now(UTC),
        "extractor": "facts/1",
        "prompt_version": "p1",
        "model": "sandbox",
        "embedding_model": DEFAULT_EMBEDDING_MODEL,
    }
    other = await insert(
        database,
        org_id,
        "memory_statements",
        memory_id=memories[0],
        content="Once more: fact 20.",
        content_hash=b"2" * 32,
        embedding=direction(1.0),
        **said,
    )
    await insert(
        database, org_id, "memory_statements", memory_id=memories[1], content_hash=b"1" * 32, **said
    )
    reembedding = Reembedding(store, batch=3)
    await reembedding.run([org_id], SECOND, Second(), served=False)
    assert [one.id for one in await store.statements(org_id, SECOND, FIRST, 9)] == [other]
    second = Second()
    assert await reembedding.run([org_id], SECOND, second, served=True) == Reembedded(7, 1, 7)
    assert second.asked == ["Once more: fact 20."]
    async with database.tenant(org_id) as connection:
        row = await connection.fetchrow(
            "SELECT embedding, embedding_model FROM ibex_core.memory_statements"
            " WHERE org_id = $1 AND id = $2",
            org_id,
            other,
        )
    assert row is not None
    assert row["embedding_model"] == SECOND
    np.testing.assert_allclose(row["embedding"].to_numpy(), vector_of("fact 20."))
    assert await reembedding.run([org_id], SECOND, Second(0), served=True) == Reembedded(7, 0, 0)


async def test_an_organizations_vectors_are_its_own(
    database: Database,
    identity: IdentityStore,
    store: EmbeddingStore,
    org_id: UUID,
    memories: list[UUID],
) -> None:
    other = await identity.create_organization(f"org-{new_id()}")
    agent = await identity.create_agent(other, "assistant")
    theirs = await remember(database, other, agent, "Fact 99.")
    assert set(await store.organizations()) == {org_id, other}
    second = Second()
    await Reembedding(store).run([other], SECOND, second, served=True)
    assert second.asked == ["Fact 99."]
    texts = [one for one in await store.page(other, SECOND, FIRST, 10) if one.id == theirs]
    assert await store.put(org_id, DEFAULT_EMBEDDING_MODEL, texts, [direction(0.5)]) == 0
    assert await store.counts(org_id) == {DEFAULT_EMBEDDING_MODEL: 7}
    assert await Reembedding(store).forget([org_id], DEFAULT_EMBEDDING_MODEL) == 0
    async with database.tenant(org_id) as connection:
        assert not await connection.fetch("SELECT 1 FROM ibex_core.memory_embeddings")


async def test_forgotten_vectors_are_gone_and_the_rows_own_stay(
    store: EmbeddingStore, org_id: UUID, memories: list[UUID]
) -> None:
    reembedding = Reembedding(store, batch=3)
    await reembedding.run([org_id], SECOND, Second(), served=False)
    assert await reembedding.forget([org_id], SECOND) == 7
    assert await reembedding.forget([org_id], DEFAULT_EMBEDDING_MODEL) == 0
    assert await store.counts(org_id) == {DEFAULT_EMBEDDING_MODEL: 7}


# --- as an operator does it, with a model that has its own name and folder ---


@pytest.fixture
def twin(environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The model that comes with IBEX, once more under another name."""
    models = {"twin": str(chosen_model(Settings()).folder)}
    monkeypatch.setenv("IBEX_EMBEDDING_MODELS", orjson.dumps(models).decode())
    yield
    for file in (Path(sys.prefix) / "share" / "ibex" / "models").glob("twin-*"):
        file.unlink()


@pytest.fixture
async def embedder(
    base_settings: Settings, embedder_server: object
) -> AsyncIterator[EmbedderClient]:
    client = EmbedderClient(base_settings.embedder_endpoint, timeout=30)
    yield client
    await client.close()


@pytest.mark.usefixtures("twin")
async def test_an_operator_adds_a_model_makes_its_vectors_and_serves_it(
    database: Database,
    embedder: EmbedderClient,
    org_id: UUID,
    agent_id: UUID,
    memories: list[UUID],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def row(model: str, served: bool, vectors: int) -> dict[str, object]:
        return {
            "model": model,
            "registered": True,
            "served": served,
            "vectors": vectors,
            "memories": 7,
        }

    assert await ibex("embeddings", "list") == [
        row(DEFAULT_EMBEDDING_MODEL, True, 7),
        row("twin", False, 0),
    ]
    assert await ibex("embeddings", "backfill", "twin") == {
        "model": "twin",
        "served": False,
        "memories": 7,
        "made": 7,
        "exchanged": 0,
    }
    (question,) = await embedder.embed(["Fact 3."])
    (found,) = await nearest(database, org_id, agent_id, "twin", question)
    assert found.candidate.id == memories[3]
    assert found.candidate.embedding @ question == pytest.approx(1, abs=1e-4)
    with pytest.raises(InvalidRequestError):
        await shown("embeddings", "forget", DEFAULT_EMBEDDING_MODEL, "--yes")
    with pytest.raises(ConfigurationError):
        await shown("embeddings", "backfill", "unknown")

    served = settings.model_copy(update={"embedding_model": "twin"})
    assert output(await run_job(served, "reembed")) == {
        "model": "twin",
        "memories": 7,
        "made": 0,
        "exchanged": 7,
    }
    monkeypatch.setenv("IBEX_EMBEDDING_MODEL", "twin")
    assert await ibex("embeddings", "forget", DEFAULT_EMBEDDING_MODEL, "--yes") == {"deleted": 7}
    assert await ibex("embeddings", "list", "--org", await name_of(database, org_id)) == [
        row(DEFAULT_EMBEDDING_MODEL, False, 0),
        row("twin", True, 7),
    ]


async def name_of(database: Database, org_id: UUID) -> str:
    async with database.tenant(org_id) as connection:
        name: str = await connection.fetchval("SELECT name FROM ibex_core.organizations")
    return name
