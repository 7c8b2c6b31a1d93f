"""The ContextAssembly service: recall, score, pack, render, and say what was done.

Which memories are used how often (`access_count`, `last_accessed_at`) is not written here: nothing
in the request's path writes to PostgreSQL, and the bookkeeping in batches is still to come.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import grpc

from hotpath.assembler.statuses import Call, Handler, abort, required_id
from ibex.errors import InvalidRequestError
from ibex.ids import parse_id
from ibex.memory import scoring, tokens
from ibex.memory.model import ScoredMemory
from ibex.memory.packing import RELEVANCE_FLOOR, Packing, pack
from ibex.memory.recall import Recall, Recalled, Said, cosines, question_of
from ibex.memory.rendering import EMPTY_FRAME, Rendered, line, render
from ibex.rpc import (
    AssembleContextRequest,
    AssembleContextResponse,
    InjectedMemory,
    Insertion,
    ScoreParts,
    Timings,
)
from ibex.rpc.clients import CONTEXT_SERVICE
from ibex.settings import Settings


class ContextService:
    def __init__(self, recall: Recall, settings: Settings) -> None:
        self._recall = recall
        self._deadline = settings.retrieval_deadline_ms / 1000
        self._agent_budget = settings.memory_token_budget
        self._answer_reserve = settings.answer_token_reserve
        self._windows = {**tokens.CONTEXT_WINDOWS, **settings.context_windows}

    def handler(self) -> Handler:
        return grpc.method_handlers_generic_handler(
            CONTEXT_SERVICE,
            {
                "AssembleContext": grpc.unary_unary_rpc_method_handler(
                    self.assemble_context,
                    request_deserializer=AssembleContextRequest.parse,
                    response_serializer=bytes,
                )
            },
        )

    async def assemble_context(
        self, request: AssembleContextRequest, context: Call
    ) -> AssembleContextResponse:
        began = time.perf_counter()
        org_id = await required_id(context, "org_id", request.org_id)
        agent_id = await required_id(context, "agent_id", request.agent_id)
        user_id = parse_id(request.user_id)
        if request.user_id and user_id is None:
            await abort(context, InvalidRequestError("user_id is not a UUID."))

        question = question_of([Said(one.role, one.text) for one in request.messages])
        recalled, history = await asyncio.gather(
            self._recall.fetch(org_id, agent_id, user_id, question),
            tokens.count_history(
                [one.text for one in request.messages], request.model, self._deadline
            ),
        )
        assembling = time.perf_counter()
        directive = recalled.briefing.directive if recalled.briefing else None
        packing = self._pack(request, recalled, history, directive)
        rendered = render(directive, [one.candidate for one in packing.kept])
        answer = _answer(request.model, recalled, packing, rendered)
        ended = time.perf_counter()
        answer.timings = Timings(
            total=(ended - began) * 1000,
            assemble=(ended - assembling) * 1000,
            **recalled.milliseconds,
        )
        return answer

    def _pack(
        self,
        request: AssembleContextRequest,
        recalled: Recalled,
        history: int,
        directive: str | None,
    ) -> Packing:
        model = request.model
        own = recalled.briefing.memory_token_budget if recalled.briefing else None
        fixed = tokens.count(directive, model) if directive else 0
        budget = tokens.memory_budget(
            model,
            history + fixed,
            request.max_answer_tokens or self._answer_reserve,
            self._agent_budget if own is None else own,
            self._windows,
        )
        # Without the question's vector nobody knows what the hot memories have to do with it;
        # then the best of the agent's memories are better than none.
        floor = 0.0 if "embed" in recalled.degraded else RELEVANCE_FLOOR
        return pack(
            score(recalled, model, datetime.now(UTC)),
            budget - tokens.count(EMPTY_FRAME, model),
            floor=floor,
        )


def score(recalled: Recalled, model: str, now: datetime) -> Sequence[ScoredMemory]:
    """Every candidate with its score and what its line costs."""
    candidates = recalled.candidates
    near = (
        [None] * len(candidates)
        if recalled.vector is None
        else cosines(candidates, recalled.vector).tolist()
    )
    searched = "cold" not in recalled.degraded
    scored = []
    for candidate, cosine in zip(candidates, near, strict=True):
        parts = scoring.score_parts(
            candidate, cosine=cosine, lexical=candidate.lexical if searched else None, now=now
        )
        cost = tokens.count(line(candidate) + "\n", model)
        scored.append(ScoredMemory(candidate, parts, scoring.composite(parts), cost))
    return scored


def _answer(
    model: str, recalled: Recalled, packing: Packing, rendered: Rendered | None
) -> AssembleContextResponse:
    answer = AssembleContextResponse(
        memories=[_injected(memory) for memory in packing.kept],
        directive_version=recalled.briefing.directive_version if recalled.briefing else 0,
        degraded=list(recalled.degraded),
    )
    if rendered:
        answer.insertions = [Insertion(position=0, role="system", content=rendered.content)]
        answer.context_tokens = tokens.count(rendered.content, model)
        answer.sha256 = rendered.sha256
    return answer


def _injected(memory: ScoredMemory) -> InjectedMemory:
    candidate, parts = memory.candidate, memory.parts
    return InjectedMemory(
        memory_id=str(candidate.id),
        version=candidate.version,
        category=candidate.category.value,
        score=memory.score,
        parts=ScoreParts(
            relevance=parts.relevance,
            recency=parts.recency,
            usefulness=parts.usefulness,
            confidence=parts.confidence,
            access_frequency=parts.access_frequency,
        ),
        tokens=memory.tokens,
        origin=candidate.origin,
    )
