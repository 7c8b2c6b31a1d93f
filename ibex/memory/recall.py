"""Fetches what a request may be given: the directive, the hot lists and a search, side by side.

One deadline for all of it. What arrived is used, what did not is named, and late work is cancelled
without anybody waiting for it. When only the embedder fails, the search goes by words. Where the
agent's memories stand in this process, hot list and search are one look at them, and only the
question's vector is waited for.
"""

import asyncio
import logging
import re
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Generic, Protocol, TypeVar
from uuid import UUID

import numpy as np
import numpy.typing as npt

from ibex.errors import IbexError
from ibex.memory.model import Found, Ranked, Vector
from ibex.memory.scoring import rank
from ibex.stores.directives import Briefing, DirectiveCache
from ibex.stores.hot import HotCache
from ibex.stores.index_cache import IndexCache, Indexed
from ibex.stores.memories import MemoryReader

T = TypeVar("T")

#: The part of the deadline that the search waits for the question's vector.
EMBED_SHARE: Final = 0.6
# What counts in a long message stands in its first or its last words.
_HEAD, _TAIL = 400, 800
# What a short message leans on: characters of each message before it, and how it is known.
_CONTEXT = 300
_FEW_WORDS = 3
_SHORT = 12
_CONTINUING = frozenset(("and", "or", "but", "then", "also"))
_POINTING = re.compile(
    r"\b(?:its?|that|this|these|those|the[ym]|their|there|he|hi[ms]|she|hers?|ones?|same|former|"
    r"latter)\b"
)
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_SPEAKERS = ("user", "assistant")
_PREAMBLE = ("system", "developer")

_LOG = logging.getLogger("ibex.recall")


class Embeds(Protocol):
    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit rows, shape (n, 384)."""


@dataclass(frozen=True)
class Said:
    """One message of the conversation."""

    role: str
    text: str = field(repr=False)


@dataclass(frozen=True)
class Recalled:
    briefing: Briefing | None
    ranked: tuple[Ranked, ...] = field(repr=False)
    vector: Vector | None = field(repr=False)  # of the question
    degraded: tuple[str, ...]  # of "directive", "hot", "cold", "embed": what did not arrive
    milliseconds: Mapping[str, float]  # of each of the four that arrived


class Recall:
    def __init__(
        self,
        directives: DirectiveCache,
        hot: HotCache,
        memories: MemoryReader,
        embedder: Embeds,
        *,
        indexes: IndexCache,
        deadline: float,
    ) -> None:
        """`deadline` in seconds, for each `fetch`."""
        self._directives = directives
        self._hot = hot
        self._memories = memories
        self._indexes = indexes
        self._embedder = embedder
        self._deadline = deadline
        self._unfinished: set[asyncio.Task[Any]] = set()
        self._rebuilding: set[tuple[UUID, UUID, UUID | None]] = set()

    async def fetch(
        self, org_id: UUID, agent_id: UUID, user_id: UUID | None, question: str
    ) -> Recalled:
        """Never raises for a part that does not answer; see `Recalled.degraded`."""
        index = self._indexes.current(org_id, agent_id)
        briefing = self._directives.at_hand(org_id, agent_id)
        if briefing is not None and index is not None and not index.late:
            return await self._at_hand(index, user_id, question, briefing)
        embed: _Part[Vector | None] = _Part("embed", self._vector(question))
        directive = _Part("directive", self._directives.read(org_id, agent_id))
        if index is not None and not index.late:
            return await self._by_index(index, user_id, question, embed, directive)
        hot = _Part("hot", self._hot.lookup(org_id, agent_id, user_id))
        cold = _Part("cold", self._search(index, embed, org_id, agent_id, user_id, question))
        running: tuple[_Part[Any], ...] = (directive, hot, cold, embed)
        try:
            # Not for the vector: the search has waited for it as long as anything may.
            await asyncio.wait({directive.task, hot.task, cold.task}, timeout=self._deadline)
        finally:
            for part in running:
                self._let_go(part.task)
        listed, vector = hot.outcome(), embed.outcome()
        for owner in listed.missing if listed else ():
            self._rebuild(org_id, agent_id, owner)
        found = merge(listed.memories if listed else (), cold.outcome() or ())
        return Recalled(
            briefing=directive.outcome(),
            ranked=tuple(rank(found, vector, datetime.now(UTC), words=cold.arrived)),
            vector=vector,
            degraded=tuple(part.name for part in running if not part.arrived),
            milliseconds={part.name: part.milliseconds for part in running if part.arrived},
        )

    async def _at_hand(
        self, index: Indexed, user_id: UUID | None, question: str, briefing: Briefing
    ) -> Recalled:
        """Nothing is asked of anybody but the question's vector: no tasks, which cost."""
        began = time.perf_counter()
        vector: Vector | None = None
        degraded: tuple[str, ...] = ()
        milliseconds = {"directive": 0.0}
        try:
            async with asyncio.timeout(self._deadline * EMBED_SHARE):
                vector = await self._vector(question)
            milliseconds["embed"] = (time.perf_counter() - began) * 1000
        except Exception as error:  # noqa: BLE001  whatever it is, the words are searched
            degraded = ("embed",)
            if not isinstance(error, TimeoutError | IbexError):
                _LOG.error("embed failed: %s", type(error).__name__)
        looking = time.perf_counter()
        ranked = index.recall(user_id, question, vector, datetime.now(UTC))
        ended = time.perf_counter()
        milliseconds["hot"] = (ended - looking) * 1000
        milliseconds["cold"] = (ended - began) * 1000
        return Recalled(briefing, tuple(ranked), vector, degraded, milliseconds)

    async def _by_index(
        self,
        index: Indexed,
        user_id: UUID | None,
        question: str,
        embed: "_Part[Vector | None]",
        directive: "_Part[Briefing]",
    ) -> Recalled:
        began = time.perf_counter()
        running: tuple[_Part[Any], ...] = (directive, embed)
        try:
            await asyncio.wait({embed.task}, timeout=self._deadline * EMBED_SHARE)
            vector = embed.outcome()
            looking = time.perf_counter()
            ranked = index.recall(user_id, question, vector, datetime.now(UTC))
            ended = time.perf_counter()
            if not directive.task.done():
                left = self._deadline - (ended - began)
                await asyncio.wait({directive.task}, timeout=max(left, 0.0))
        finally:
            for part in running:
                self._let_go(part.task)
        return Recalled(
            briefing=directive.outcome(),
            ranked=tuple(ranked),
            vector=vector,
            degraded=tuple(part.name for part in running if not part.arrived),
            milliseconds={
                **{part.name: part.milliseconds for part in running if part.arrived},
                "hot": (ended - looking) * 1000,
                "cold": (ended - began) * 1000,
            },
        )

    async def close(self) -> None:
        """End what still runs in the background."""
        for task in self._unfinished:
            task.cancel()
        await asyncio.gather(*self._unfinished, return_exceptions=True)

    async def _vector(self, question: str) -> Vector | None:
        if not question:
            return None
        vector: Vector = (await self._embedder.embed([question]))[0]
        return vector

    async def _search(
        self,
        index: Indexed | None,
        embed: "_Part[Vector | None]",
        org_id: UUID,
        agent_id: UUID,
        user_id: UUID | None,
        question: str,
    ) -> list[Found]:
        if not question:
            return []
        await asyncio.wait({embed.task}, timeout=self._deadline * EMBED_SHARE)
        memories = index or self._memories
        return await memories.search(org_id, agent_id, user_id, question, embed.outcome())

    def _rebuild(self, org_id: UUID, agent_id: UUID, user_id: UUID | None) -> None:
        """Fill a hot list that Redis has lost; one task a list, however many requests miss it."""
        owner = (org_id, agent_id, user_id)
        if owner in self._rebuilding:
            return
        self._rebuilding.add(owner)
        task = asyncio.create_task(self._hot.refresh(*owner), name="rebuild-hot")
        task.add_done_callback(lambda _: self._rebuilding.discard(owner))
        self._keep(task)

    def _let_go(self, task: asyncio.Task[Any]) -> None:
        if not task.done():
            task.cancel()
            self._keep(task)
        elif not task.cancelled():
            task.exception()  # looked at, also when nobody waits for the answer any more

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._unfinished.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._unfinished.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _LOG.warning("%s failed: %s", task.get_name(), type(error).__name__)


class _Part(Generic[T]):
    """One fetch: a task, how long it took, and what came of it."""

    def __init__(self, name: str, fetching: Coroutine[Any, Any, T]) -> None:
        self.name = name
        self.milliseconds = 0.0
        self.task = asyncio.create_task(self._measured(fetching), name=f"recall-{name}")

    @property
    def arrived(self) -> bool:
        task = self.task
        return task.done() and not task.cancelled() and task.exception() is None

    def outcome(self) -> T | None:
        """What arrived; None when it is late or failed."""
        return self.task.result() if self.arrived else None

    async def _measured(self, fetching: Coroutine[Any, Any, T]) -> T:
        began = time.perf_counter()
        try:
            return await fetching
        except IbexError:
            raise  # a part that is away is expected, and named in the answer
        except Exception as error:
            _LOG.error("%s failed: %s", self.name, type(error).__name__)
            raise
        finally:
            self.milliseconds = (time.perf_counter() - began) * 1000


def merge(hot: Iterable[Found], cold: Iterable[Found]) -> tuple[Found, ...]:
    """Each memory once. Of one found twice the search's copy stays: it is the fresher one, and
    knows how well the words are met."""
    merged = {one.candidate.id: one for one in hot}
    for one in cold:
        known = one.candidate.id in merged
        merged[one.candidate.id] = one._replace(origin="both") if known else one
    return tuple(merged.values())


def question_of(messages: Sequence[Said]) -> str:
    """What to look for: the newest user message, and what it refers to.

    Of a long message its beginning and its end. A message that leans on what was said before ("and
    the port?") follows the user message and the answer before it, of each the beginning. A
    conversation without a user message is searched by its newest message that is not the system's;
    empty when there is none.
    """
    said = [one for one in messages if one.role not in _PREAMBLE and one.text.strip()]
    spoken = [one for one in said if one.role in _SPEAKERS]
    asked = [place for place, one in enumerate(spoken) if one.role == "user"]
    if not asked:
        return _shortened(said[-1].text.strip()) if said else ""
    newest = asked[-1]
    text = spoken[newest].text.strip()
    if len(asked) > 1 and _leans(text):
        context = [spoken[asked[-2]]]
        if asked[-2] < newest - 1:
            context.append(spoken[newest - 1])
        return "\n".join([*(one.text.strip()[:_CONTEXT] for one in context), text])
    return _shortened(text)


def _leans(text: str) -> bool:
    """Does it say too little by itself, or point at something that it does not name?"""
    words = _WORD.findall(text.lower())
    if len(words) <= _FEW_WORDS:
        return True
    return len(words) <= _SHORT and (
        words[0] in _CONTINUING or _POINTING.search(text.lower()) is not None
    )


def _shortened(text: str) -> str:
    return text if len(text) <= _HEAD + _TAIL else f"{text[:_HEAD]}\n{text[-_TAIL:]}"
