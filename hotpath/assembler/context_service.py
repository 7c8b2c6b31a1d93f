"""The ContextAssembly service: recall, score, pack, render, and say what was done.

Which memories are used how often (`access_count`, `last_accessed_at`) is not written here: nothing
in the request's path writes to PostgreSQL, and the bookkeeping in batches is still to come.
"""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import grpc

from hotpath.assembler.admission import Admission
from hotpath.assembler.answers import answer_of
from hotpath.assembler.counting import count_refusal, show_limit
from hotpath.assembler.pinned import NOTHING, Before, Owner, SessionMemory
from hotpath.assembler.statuses import Call, Handler, abort, required_id
from ibex.errors import AssemblerUnavailableError, InvalidRequestError
from ibex.ids import parse_id
from ibex.memory import tokens
from ibex.memory.model import Candidate, Found, Ranked, ScoredMemory
from ibex.memory.packing import RELEVANCE_FLOOR
from ibex.memory.pinning import Composition, Decision, Spoken, Terms, compose, remembered
from ibex.memory.recall import Recall, Recalled, Said, question_of
from ibex.memory.scoring import rank
from ibex.memory.tokens import Costs
from ibex.rpc import AssembleContextRequest, AssembleContextResponse, Timings
from ibex.rpc.clients import BUSY, CONTEXT_SERVICE
from ibex.rpc.wire import decoder, encoder
from ibex.settings import Settings


@dataclass(frozen=True)
class Assembled:
    """A context, and what it was made from for those who count."""

    answer: AssembleContextResponse
    composition: Composition
    injected: tuple[ScoredMemory, ...]


class ContextService:
    def __init__(self, recall: Recall, sessions: SessionMemory, settings: Settings) -> None:
        self._recall = recall
        self._sessions = sessions
        self._deadline = settings.retrieval_deadline_ms / 1000
        self._admission = Admission(self._deadline)
        show_limit(lambda: self._admission.limit)
        self._agent_budget = settings.memory_token_budget
        self._pinned_share = settings.pinned_memory_share
        self._later_limit = settings.later_memory_tokens
        self._answer_reserve = settings.answer_token_reserve
        self._windows = {**tokens.CONTEXT_WINDOWS, **settings.context_windows}

    def handler(self) -> Handler:
        return grpc.method_handlers_generic_handler(
            CONTEXT_SERVICE,
            {
                "AssembleContext": grpc.unary_unary_rpc_method_handler(
                    self.assemble_context,
                    request_deserializer=decoder(AssembleContextRequest),
                    response_serializer=encoded,
                )
            },
        )

    async def assemble_context(self, request: AssembleContextRequest, context: Call) -> Assembled:
        if not self._admission.enter():
            count_refusal()
            await abort(context, AssemblerUnavailableError(BUSY))
        began, given_up = time.perf_counter(), False
        try:
            return await self._assemble(request, context)
        except asyncio.CancelledError:
            given_up = True
            raise
        finally:
            self._admission.leave(None if given_up else time.perf_counter() - began)

    async def _assemble(self, request: AssembleContextRequest, context: Call) -> Assembled:
        began = time.perf_counter()
        org_id = await required_id(context, "org_id", request.org_id)
        agent_id = await required_id(context, "agent_id", request.agent_id)
        user_id = parse_id(request.user_id)
        if request.user_id and user_id is None:
            await abort(context, InvalidRequestError("user_id is not a UUID."))

        session_id = parse_id(request.session_id)
        if request.session_id and session_id is None:
            await abort(context, InvalidRequestError("session_id is not a UUID."))
        owner = Owner(org_id, agent_id, user_id, session_id) if session_id else None

        spoken = [Spoken(one.role, one.anchor, one.calls_tools) for one in request.messages]
        question = question_of([Said(one.role, one.text) for one in request.messages])
        recalling = self._recall.fetch(org_id, agent_id, user_id, question)
        recalled, history, before = await self._read(recalling, request, owner, spoken)
        assembling = time.perf_counter()
        now = datetime.now(UTC)
        costs = Costs.of(request.model)
        terms = self._terms(request, costs, recalled, history, before, whole=owner is None)
        directive = recalled.briefing.directive if recalled.briefing else None
        scored = priced(_together(recalled, before, spoken, now), costs)
        composition = compose(before.log, spoken, scored, directive, terms)
        made: Sequence[Decision] = ()
        assembled = time.perf_counter()
        if owner is not None and request.new_session:
            self._sessions.begin(owner, composition.new)
            made = composition.new
        elif owner is not None and (composition.new or composition.corrected):
            left = self._deadline - (assembled - began)
            decided = await self._sessions.decide(
                owner, composition.new, composition.corrected, left
            )
            made = [one for one in composition.new if decided[one.anchor] == one]
            if len(made) < len(composition.new):
                # Another request of the session has decided meanwhile: that holds.
                log = {**before.log, **decided}
                missing = set(remembered(log, spoken)) - {one.candidate.id for one in scored}
                found = await self._sessions.look_up(owner, list(missing), left) if missing else ()
                terms = replace(terms, may_add=False, verified=terms.verified and found is not None)
                scored += priced(_looked_up(found or (), recalled, now), costs)
                composition = compose(log, spoken, scored, directive, terms)
            made = [*made, *composition.corrected]
        by_id = {one.candidate.id: one for one in scored}
        answer = answer_of(composition, by_id, made)
        answer.directive_version = recalled.briefing.directive_version if recalled.briefing else 0
        whole = before.arrived and terms.verified
        answer.degraded = [*recalled.degraded, *([] if whole else ["pinned"])]
        answer.timings = Timings(
            total=(time.perf_counter() - began) * 1000,
            assemble=(assembled - assembling) * 1000,
            pinned=before.milliseconds,
            **recalled.milliseconds,
        )
        injected = (one.id for block in composition.blocks for one in block.memories)
        return Assembled(answer, composition, tuple(by_id[one] for one in injected))

    async def _read(
        self,
        recalling: Coroutine[Any, Any, Recalled],
        request: AssembleContextRequest,
        owner: Owner | None,
        spoken: Sequence[Spoken],
    ) -> tuple[Recalled, int, Before]:
        """What recall found, the tokens of the history, and what the session was given before. Of
        a session without turns there is most likely nothing; when there is, `decide` says so."""
        texts = [one.text for one in request.messages]
        known = tokens.history_at_once(texts, request.model)
        first = owner is None or request.session_turns == 0
        if known is not None and first:
            return await recalling, known, NOTHING  # as most are, and without tasks, which cost
        counting = tokens.count_history(texts, request.model, self._deadline)
        if owner is None or first:
            recalled, history = await asyncio.gather(recalling, counting)
            return recalled, history, NOTHING
        recalled, history, before = await asyncio.gather(
            recalling, counting, self._sessions.before(owner, spoken)
        )
        return recalled, history, before

    def _terms(
        self,
        request: AssembleContextRequest,
        costs: Costs,
        recalled: Recalled,
        history: int,
        before: Before,
        *,
        whole: bool,
    ) -> Terms:
        """`whole`: there is no session, so there will be no later request to leave tokens for."""
        model = request.model
        briefing = recalled.briefing
        own = briefing.memory_token_budget if briefing else None
        budget = self._agent_budget if own is None else own
        fixed = costs.text(briefing.directive) if briefing and briefing.directive else 0
        return Terms(
            budget=budget,
            # What is sent to a fallback is the same, and must fit there too.
            room=min(
                tokens.room(
                    one,
                    history + fixed,
                    request.max_answer_tokens or self._answer_reserve,
                    self._windows,
                )
                for one in (model, *request.fallback_models)
            ),
            first_limit=budget if whole else int(budget * self._pinned_share),
            later_limit=self._later_limit,
            count=costs.text,
            # Without the question's vector nobody knows what the hot memories have to do with it;
            # then the best of the agent's memories are better than none.
            floor=0.0 if "embed" in recalled.degraded else RELEVANCE_FLOOR,
            sent_before=request.session_turns > 0,
            may_add=before.may_add,
            verified=before.verified,
        )


def _together(
    recalled: Recalled, before: Before, spoken: Sequence[Spoken], now: datetime
) -> list[Ranked]:
    """Each memory once. Of one that the session was given before, what was looked up decides: a
    hot list may be behind. What recall found of it says how relevant it is."""
    if not before.log:
        return list(recalled.ranked)
    ranked = {one.candidate.id: one for one in recalled.ranked}
    carried = set(remembered(before.log, spoken)) if before.verified else set()
    others = [one for one in before.memories if one.id not in ranked]
    return [
        *(one for one in recalled.ranked if one.candidate.id not in carried),
        *(ranked[one.id]._replace(candidate=one) for one in before.memories if one.id in ranked),
        *_looked_up(others, recalled, now),
    ]


def _looked_up(memories: Sequence[Candidate], recalled: Recalled, now: datetime) -> list[Ranked]:
    found = [Found(one, 0.0, "pinned") for one in memories]
    return rank(found, recalled.vector, now, words="cold" not in recalled.degraded)


def priced(ranked: Sequence[Ranked], costs: Costs) -> list[ScoredMemory]:
    """With what the line of each costs."""
    return [
        ScoredMemory(candidate, parts, score, costs.line(candidate), origin)
        for candidate, parts, score, origin in ranked
    ]


def encoded(made: Assembled) -> bytes:
    return _ENCODE(made.answer)


_ENCODE = encoder(AssembleContextResponse)
