"""A season of requests: recorded as the proxy records them, observed as the pipeline observes."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import numpy as np
import numpy.typing as npt
import orjson
from rich.console import Console
from rich.progress import Progress, track

from bench.usefulness.scenes import Kind, Scene
from ibex.embedding import EmbedderClient
from ibex.errors import IbexError
from ibex.ids import new_id
from ibex.memory.model import Category, Fact, Provenance, Source
from ibex.memory.observing import Observer
from ibex.memory.scoring import relevance
from ibex.memory.writing import MemoryWriter
from ibex.sessions import NewTurn
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.injections import Injection
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.sessions import SessionStore, new_session
from ibex.stores.turns import TurnReader
from ibex.stores.usefulness import UsefulnessStore

GIVEN: Final = 10  # memories of a request: the nearest to its question
IN_USE: Final = 0.75  # of the answers of a scene that is in use rest on its memory
_BATCH: Final = 50
_SEED: Final = 1
_LIMIT: Final = 60.0  # seconds for a batch of embeddings
_PROVENANCE: Final = Provenance(None, "bench/1", "bench", "bench", None)
_OBSERVED = """
SELECT request_id, observations FROM ibex_core.context_injections WHERE org_id = $1
"""
_MEMORIES = "SELECT id, turns[1] - 1 AS scene, usefulness FROM ibex_core.memories WHERE org_id = $1"


@dataclass(frozen=True)
class Request:
    scene: int
    kind: Kind  # of its answer


@dataclass(frozen=True)
class Judged:
    """What was found out of one memory that one request was given."""

    kind: Kind
    rests: bool  # as the scene was written
    support: float


@dataclass(frozen=True)
class Season:
    judged: list[Judged] = field(repr=False)
    usefulness: list[float]  # of each scene's memory, at the end
    answers: int
    seconds: float  # to observe them


def in_use(scene: int) -> bool:
    """Answers rest on the memories of every second scene, and never on those of the others."""
    return scene % 2 == 0


def plan(scenes: int, rounds: int) -> list[Request]:
    """Every scene once a round, in an order by chance; always the same."""
    chance = random.Random(_SEED)
    asked = []
    for _ in range(rounds):
        for scene in chance.sample(range(scenes), scenes):
            rests = in_use(scene) and chance.random() < IN_USE
            kind = chance.choice([kind for kind in Kind if kind.rests is rests])
            asked.append(Request(scene, kind))
    return asked


class Course:
    """One agent that knows the memories of all scenes."""

    def __init__(
        self, settings: Settings, database: Database, embedder: EmbedderClient, console: Console
    ) -> None:
        self._settings = settings
        self._database = database
        self._embedder = embedder
        self._console = console

    async def run(self, scenes: Sequence[Scene], asked: Sequence[Request]) -> Season:
        """Raises IbexError when a scene's memory is not stored as one of its own."""
        identity = IdentityStore(self._database)
        org_id = await identity.create_organization("bench")
        agent_id = await identity.create_agent(org_id, "assistant")
        ids = await self._remember(org_id, agent_id, scenes)
        memories = await self._embedder.embed([scene.memory for scene in scenes])
        questions = await self._embedder.embed([scene.question for scene in scenes])
        cosines = questions @ memories.T
        requests: dict[str, Request] = {}
        for one in track(asked, "Recording answers", console=self._console, transient=True):
            injection = _injection(ids, cosines[one.scene])
            request_id = await self._record(org_id, agent_id, scenes[one.scene], one, injection)
            requests[request_id] = one
        seconds = await self._observe(org_id, len(asked))
        return Season(
            judged=await self._judged(org_id, ids, requests),
            usefulness=await self._usefulness(org_id),
            answers=len(asked),
            seconds=seconds,
        )

    async def _remember(self, org_id: UUID, agent_id: UUID, scenes: Sequence[Scene]) -> list[UUID]:
        """Their ids in the order of the scenes."""
        facts = [
            Fact(Category.DECLARATIVE, scene.memory, 0.9, Source.USER, (number,))
            for number, scene in enumerate(scenes, start=1)
        ]
        said_at = dict.fromkeys(range(1, len(scenes) + 1), datetime.now(UTC))
        writer = MemoryWriter(self._database, self._embedder, self._settings)
        await writer.write(org_id, agent_id, None, facts, _PROVENANCE, said_at)
        rows = await self._memories(org_id)
        if sorted(rows) != list(range(len(scenes))):
            raise IbexError("The scenes' memories are not as many as the scenes.")
        return [rows[place][0] for place in range(len(scenes))]

    async def _record(
        self, org_id: UUID, agent_id: UUID, scene: Scene, asked: Request, injection: Injection
    ) -> str:
        request_id = str(new_id())
        session = new_session(org_id, agent_id, None, None)
        await SessionStore(self._database).record_turn(
            NewTurn(
                org_id=org_id,
                session_id=session.id,
                request_id=request_id,
                messages=[{"role": "user", "content": scene.question}],
                response={"role": "assistant", "content": scene.answers[asked.kind]},
                model="bench",
                injection=injection,
                opened=session,
            )
        )
        return request_id

    async def _observe(self, org_id: UUID, answers: int) -> float:
        turns = TurnReader.of(self._database, ObjectStore(self._settings), self._settings)
        store = UsefulnessStore(self._database, self._settings.embedding_model)
        observer = Observer(store, turns, self._embedder)
        began = time.perf_counter()
        with Progress(console=self._console, transient=True) as progress:
            task = progress.add_task("Observing answers", total=answers)
            while (batch := await observer.observe_waiting(org_id, _BATCH)).answers:
                progress.advance(task, batch.answers)
        return time.perf_counter() - began

    async def _judged(
        self, org_id: UUID, ids: Sequence[UUID], requests: dict[str, Request]
    ) -> list[Judged]:
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_OBSERVED, org_id)
        judged = []
        for row in rows:
            asked = requests[row["request_id"]]
            for seen in row["observations"]:
                own = UUID(seen["memory_id"]) == ids[asked.scene]
                judged.append(Judged(asked.kind, own and asked.kind.rests, seen["support"]))
        return judged

    async def _usefulness(self, org_id: UUID) -> list[float]:
        rows = await self._memories(org_id)
        return [rows[place][1] for place in sorted(rows)]

    async def _memories(self, org_id: UUID) -> dict[int, tuple[UUID, float]]:
        """Id and usefulness by scene."""
        async with self._database.tenant(org_id) as connection:
            rows = await connection.fetch(_MEMORIES, org_id)
        return {row["scene"]: (row["id"], row["usefulness"]) for row in rows}


def _injection(ids: Sequence[UUID], cosines: npt.NDArray[np.float32]) -> Injection:
    """Of the nearest memories, as the assembler records them."""
    nearest = np.argsort(-cosines)[:GIVEN].tolist()
    memories = [
        {
            "memory_id": str(ids[place]),
            "version": 1,
            "category": Category.DECLARATIVE,
            "score": 0.5,
            "parts": [round(relevance(float(cosines[place]), None), 6), 1.0, 0.5, 0.9, 0.0],
            "tokens": 12,
            "origin": "cold",
        }
        for place in nearest
    ]
    first = [(str(ids[place]), 1, "00") for place in nearest]
    return Injection(
        memories=orjson.dumps(memories),
        directive_version=None,
        position=0,
        tokens=12 * len(memories),
        sha256=bytes(32),
        decisions=orjson.dumps([{"place": 0, "anchor": "00", "memories": first}]),
    )
