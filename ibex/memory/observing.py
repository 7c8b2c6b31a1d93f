"""Finds out, after the answer, which memories it rests on: off the path of every request.

What a request was given and what was answered are records in PostgreSQL by then, so any process
may do this at any time, and doing it twice changes nothing.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

import orjson

from ibex.conversation import text_of
from ibex.errors import ArchiveDamagedError, EmbedderUnavailableError, InvalidRequestError
from ibex.memory.recall import Embeds, Said, question_of
from ibex.memory.usefulness import Given, Observation, observe, sentences
from ibex.sessions import StoredTurn
from ibex.stores.memories_write import Owner
from ibex.stores.turns import TurnReader
from ibex.stores.usefulness import (
    Observed,
    StoredMemory,
    UnobservedAnswer,
    UsefulnessStore,
)

#: Turns of a session that are looked through for what was said before an answer.
LOOK_BACK: Final = 30
#: Characters of what was said before an answer that are looked through, the newest.
MAX_BEFORE: Final = 200_000
MAX_ANSWER: Final = 20_000

_LOG = logging.getLogger("ibex.usefulness")


@dataclass(frozen=True)
class ObservedAnswers:
    answers: int
    observations: int
    owners: frozenset[Owner]  # whose memories moved


class Observer:
    def __init__(self, store: UsefulnessStore, turns: TurnReader, embedder: Embeds) -> None:
        self._store = store
        self._turns = turns
        self._embedder = embedder

    async def observe_waiting(self, org_id: UUID, limit: int) -> ObservedAnswers:
        """Up to `limit` answers of an organization, the oldest first.

        Raises DatabaseUnavailableError, and ObjectStoreUnavailableError when what was said before
        an answer is in the archive only. Without the embedder it goes by words.
        """
        return await self._observe(org_id, await self._store.unobserved(org_id, limit))

    async def observe_request(self, org_id: UUID, request_id: str) -> ObservedAnswers:
        """The answer to one request, when it was not observed before."""
        answer = await self._store.unobserved_request(org_id, request_id)
        return await self._observe(org_id, [answer] if answer else [])

    async def _observe(self, org_id: UUID, answers: Sequence[UnobservedAnswer]) -> ObservedAnswers:
        wanted = {memory_id for answer in answers for memory_id in answer.relevance}
        memories = await self._store.given(org_id, wanted) if wanted else {}
        observed = [
            Observed(answer, await self._observations(org_id, answer, memories))
            for answer in answers
        ]
        owners = await self._store.record(org_id, observed)
        return ObservedAnswers(
            answers=len(observed),
            observations=sum(len(one.observations) for one in observed),
            owners=owners,
        )

    async def _observations(
        self, org_id: UUID, answer: UnobservedAnswer, memories: Mapping[UUID, StoredMemory]
    ) -> list[Observation]:
        if answer.turn is None or answer.response is None:
            return []
        given = [
            Given(memory_id, one.category, one.content, one.embedding, relevance)
            for memory_id, relevance in answer.relevance.items()
            if (one := memories.get(memory_id)) is not None
        ]
        text = answer_text(answer.response)
        if not given or not text:
            return []
        turns = await self._before(org_id, answer.session_id, answer.turn)
        before = said_before(turns)
        question = question_of(conversation(turns))
        said = sentences(text)
        vectors = None
        if said and question:
            try:
                vectors = await self._embedder.embed([question, *said])
            except (EmbedderUnavailableError, InvalidRequestError) as error:
                _LOG.warning("judged by words only: %s", type(error).__name__)
        if vectors is None:
            return observe(given, text, before)
        return observe(given, text, before, said=vectors[1:], question=vectors[0])

    async def _before(self, org_id: UUID, session_id: UUID, turn: int) -> list[StoredTurn]:
        """The newest first: the turn itself, without its answer, and those before it."""
        try:
            turns = await self._turns.turns(org_id, session_id, turn - LOOK_BACK)
        except ArchiveDamagedError as error:
            _LOG.warning("judged without what was said before: %s", error.code)
            return []
        return [
            replace(one, response=None) if one.number == turn else one
            for one in reversed(turns)
            if one.number <= turn
        ]


def answer_text(response: Mapping[str, Any]) -> str:
    """What the model said, and what it asked of tools."""
    calls = response.get("tool_calls")
    asked = [
        str(call["function"].get("arguments") or "")
        for call in (calls if isinstance(calls, list) else ())
        if isinstance(call, Mapping) and isinstance(call.get("function"), Mapping)
    ]
    return "\n".join([text_of(response.get("content")), *asked]).strip()[:MAX_ANSWER]


def said_before(turns: Iterable[StoredTurn]) -> list[str]:
    """All texts of these turns, the newest turn first, up to MAX_BEFORE characters."""
    texts: list[str] = []
    room = MAX_BEFORE
    for turn in turns:
        for message in (*(turn.messages or ()), *([turn.response] if turn.response else ())):
            text = _all_text(message)[:room]
            room -= len(text)
            texts.append(text)
    return [text for text in texts if text]


def conversation(turns: Sequence[StoredTurn]) -> list[Said]:
    """In the order in which it was said."""
    return [
        Said(str(message.get("role", "")), text_of(message.get("content")))
        for turn in reversed(turns)
        for message in (*(turn.messages or ()), *([turn.response] if turn.response else ()))
    ]


def _all_text(message: Mapping[str, Any]) -> str:
    calls = message.get("tool_calls")
    written = orjson.dumps(calls).decode() if calls else ""
    return f"{text_of(message.get('content'))}\n{written}".strip()
