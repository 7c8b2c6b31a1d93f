"""What is put into the request, within a few milliseconds or not at all.

The assembler's answer is waited for until the limit and no longer. Without it the client's own
messages go out, with the agent's directive when the proxy knows it, and the response says why.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import grpc
import grpc.aio

from hotpath.proxy.directives import Directives
from ibex.conversation import Message, chain, text_of
from ibex.memory.pinning import anchor_of
from ibex.rpc import (
    AssembleContextRequest,
    AssembleContextResponse,
    ContextClient,
    InjectionRecord,
    Insertion,
)
from ibex.rpc import Message as Said
from ibex.rpc.frames import CallFailedError
from ibex.stores.injections import EMPTY, Injection

_REASONS = {
    grpc.StatusCode.DEADLINE_EXCEEDED: "timeout",
    grpc.StatusCode.UNAVAILABLE: "unavailable",
}


@dataclass(frozen=True)
class ContextQuestion:
    request_id: str
    org_id: UUID
    agent_id: UUID
    user_id: UUID | None
    session_id: UUID
    model: str
    messages: Sequence[Message]
    max_answer_tokens: int  # 0: the client did not say
    session_turns: int = 0  # recorded before this request
    fallback_models: Sequence[str] = ()  # that may have to answer instead
    new_session: bool = False  # begins with this request: no other one can know of it


@dataclass(frozen=True)
class Context:
    insertions: Sequence[Insertion] = ()
    memories: int = 0
    tokens: int = 0
    fallback: str = ""  # timeout | error | unavailable | disabled
    degraded: tuple[str, ...] = ()  # what the assembler had to do without
    injection: Injection | None = None


class ContextStage:
    def __init__(self, client: ContextClient, directives: Directives, limit: float) -> None:
        """`limit` in seconds."""
        self._client = client
        self._directives = directives
        self._limit = limit

    async def assemble(self, question: ContextQuestion) -> Context:
        """Never raises for what the assembler does or does not do."""
        self._directives.warm(question.org_id, question.agent_id)
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._limit
        try:
            async with asyncio.timeout_at(deadline):
                answer = await self._client.assemble(_request(question), self._limit)
        except TimeoutError:
            reason = "timeout"
        except (grpc.aio.AioRpcError, CallFailedError) as error:
            reason = _REASONS.get(error.code(), "error")
        else:
            return _context(answer)
        return await self._without(question, reason, deadline - clock())

    async def disabled(self, question: ContextQuestion) -> Context:
        """The client wants no memories; the operator's directive stays."""
        return await self._without(question, "disabled", self._limit)

    async def _without(self, question: ContextQuestion, reason: str, left: float) -> Context:
        directive = await self._directives.text(question.org_id, question.agent_id, left)
        insertions = [Insertion(position=0, role="system", content=directive)] if directive else []
        return Context(insertions, fallback=reason)


def _request(question: ContextQuestion) -> AssembleContextRequest:
    return AssembleContextRequest(
        request_id=question.request_id,
        org_id=str(question.org_id),
        agent_id=str(question.agent_id),
        user_id=str(question.user_id) if question.user_id else "",
        session_id=str(question.session_id),
        model=question.model,
        messages=[
            Said(
                role=one["role"],
                text=text_of(one.get("content")),
                anchor=anchor_of(link) if one["role"] == "user" else b"",
                calls_tools=bool(one.get("tool_calls")),
            )
            for one, link in zip(question.messages, chain(question.messages), strict=True)
        ],
        max_answer_tokens=question.max_answer_tokens,
        session_turns=question.session_turns,
        fallback_models=list(question.fallback_models),
        new_session=question.new_session,
    )


def _context(answer: AssembleContextResponse) -> Context:
    record = answer.record or InjectionRecord()
    return Context(
        insertions=answer.insertions,
        memories=answer.memories,
        tokens=answer.context_tokens,
        degraded=tuple(answer.degraded),
        injection=Injection(
            memories=record.memories or EMPTY,
            directive_version=answer.directive_version or None,
            position=min((one.position for one in answer.insertions), default=0),
            tokens=answer.context_tokens,
            sha256=answer.sha256,
            insertions=record.insertions or EMPTY,
            dropped=record.dropped or EMPTY,
            decisions=record.decisions or EMPTY,
            degraded=tuple(answer.degraded),
        ),
    )
