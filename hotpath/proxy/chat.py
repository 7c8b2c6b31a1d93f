"""`POST /v1/chat/completions`: context in, the provider's bytes out, the turn stored in between."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from hotpath.proxy.answers import Answer, read_completion
from hotpath.proxy.bodies import ChatRequest, read_chat, with_context
from hotpath.proxy.caller import Caller
from hotpath.proxy.context import Context, ContextQuestion, ContextStage
from hotpath.proxy.disconnects import while_connected
from hotpath.proxy.exchange import Exchange
from hotpath.proxy.limits import RateLimits
from hotpath.proxy.policy import Plan, choose_model, plan_of
from hotpath.proxy.providers.routing import Call, Providers
from hotpath.proxy.recorder import Recorder, TurnKeeper
from hotpath.proxy.retries import read_retry
from hotpath.proxy.sessions import FoundSession, SessionFinder
from hotpath.proxy.sse import SseReader
from hotpath.proxy.upstream import UpstreamResponse
from ibex.errors import ProviderUnavailableError
from ibex.sessions import NewTurn, Session
from ibex.settings import Settings

_PATH = "/chat/completions"


@dataclass(frozen=True)
class _Asked:
    """A request that may be sent on, and everything known about it."""

    caller: Caller
    chat: ChatRequest
    model: str
    found: FoundSession

    @property
    def session(self) -> Session:
        return self.found.session


class ChatCompletions:
    def __init__(
        self,
        settings: Settings,
        limits: RateLimits,
        sessions: SessionFinder,
        context: ContextStage,
        providers: Providers,
        recorder: Recorder,
    ) -> None:
        self._max_body = settings.max_body_bytes
        self._default_model = settings.default_model
        self._limits = limits
        self._sessions = sessions
        self._context = context
        self._providers = providers
        self._recorder = recorder

    async def __call__(self, exchange: Exchange, caller: Caller) -> None:
        chat = await read_chat(exchange, self._max_body)
        if self._limits.limited(caller):
            await self._limits.admit(exchange, caller, chat.raw, chat.fields)
        model = choose_model(caller.agent, chat.model, self._default_model)
        exchange.facts.stream, exchange.facts.model = chat.stream, model
        await while_connected(self._serve(exchange, caller, chat, model), exchange.receive)

    async def _serve(
        self, exchange: Exchange, caller: Caller, chat: ChatRequest, model: str
    ) -> None:
        with exchange.measure("session"):
            found = await self._sessions.find(caller, chat.messages, read_retry(exchange.headers))
        session = found.session
        exchange.facts.has_user = session.user_id is not None
        exchange.facts.session_id = session.id
        exchange.set_header(b"x-ibex-session-id", session.name)
        asked = _Asked(caller, chat, model, found)
        keeper: TurnKeeper | None = None
        try:
            plan = plan_of(caller.agent, model, caller.wishes.provider_key)
            with exchange.measure("context"):
                context = await self._assemble(exchange, asked, plan)
            _tell(exchange, context)
            call = Call("POST", _PATH, exchange.headers, _body(asked, context), exchange.tried)
            exchange.calling("chat")
            keeper = self._keeper(exchange, asked, context)
            await self._forward(exchange, plan, call, keeper)
        finally:
            if keeper is None or keeper.kept_nothing:
                self._sessions.ended(found)

    async def _assemble(self, exchange: Exchange, asked: _Asked, plan: Plan) -> Context:
        switch = asked.caller.wishes.memory
        question = ContextQuestion(
            request_id=exchange.request_id,
            org_id=asked.session.org_id,
            agent_id=asked.session.agent_id,
            user_id=asked.session.user_id,
            session_id=asked.session.id,
            model=asked.model,
            messages=asked.chat.messages,
            max_answer_tokens=asked.chat.max_answer_tokens,
            session_turns=asked.session.turn_count,
            fallback_models=[one.model for one in plan.targets[1:] if one.model],
            new_session=asked.found.begins,
        )
        ask = self._context.assemble if switch.reads else self._context.disabled
        if switch.writes:
            context, _ = await asyncio.gather(ask(question), self._recorder.ensure_available())
            return context
        return await ask(question)

    async def _forward(
        self, exchange: Exchange, plan: Plan, call: Call, keeper: TurnKeeper
    ) -> None:
        reader = SseReader()
        sent_at = exchange.elapsed
        try:
            async with self._providers.open(plan, call) as response:
                exchange.answered_by(response.provider, response.model)
                if response.is_stream:
                    await _stream(exchange, response, reader, keeper, sent_at)
                else:
                    await _whole(exchange, response, keeper, sent_at)
        except asyncio.CancelledError:
            _note(exchange, reader.answer(), complete=reader.finished)
            keeper.abandon(reader.answer(), complete=reader.finished)
            raise
        except ProviderUnavailableError:
            if exchange.status is not None:
                _note(exchange, reader.answer(), complete=False)
                await keeper.commit(reader.answer(), complete=False)
            raise

    def _keeper(self, exchange: Exchange, asked: _Asked, context: Context) -> TurnKeeper:
        def draft(answer: Answer, complete: bool) -> NewTurn:
            return NewTurn(
                org_id=asked.session.org_id,
                session_id=asked.session.id,
                request_id=exchange.request_id,
                messages=asked.chat.messages,
                response=answer.message,
                model=exchange.facts.model,  # of the provider that answered
                resent=True,
                complete=complete,
                finish_reason=answer.finish_reason,
                prompt_tokens=answer.prompt_tokens,
                completion_tokens=answer.completion_tokens,
                started_at=exchange.started_at,
                created_at=datetime.now(UTC),
                injection=context.injection,
                opened=asked.session,
                found_by_content=asked.found.by_content,
                retried=asked.found.retry.retried,
                request_key=asked.found.retry.key,
                outline=asked.found.asked,
            )

        writes = asked.caller.wishes.memory.writes
        return TurnKeeper(self._recorder, draft if writes else None, asked.found.user)


def _body(asked: _Asked, context: Context) -> Callable[[str | None], bytes]:
    return lambda model: with_context(asked.chat, model or asked.model, context.insertions)


async def _whole(
    exchange: Exchange, response: UpstreamResponse, keeper: TurnKeeper, sent_at: float
) -> None:
    body = await response.body()
    exchange.milliseconds["upstream"] = exchange.elapsed - sent_at
    if response.succeeded:
        answer = read_completion(body)
        complete = answer.message is not None
        _note(exchange, answer, complete=complete)
        with exchange.measure("commit"):
            await keeper.commit(answer, complete=complete)
    else:
        exchange.facts.error = f"provider_status_{response.status}"
    headers = [*response.headers, (b"content-length", str(len(body)).encode())]
    await exchange.start(response.status, headers, final=True)
    await exchange.send(body, more=False)


async def _stream(
    exchange: Exchange,
    response: UpstreamResponse,
    reader: SseReader,
    keeper: TurnKeeper,
    sent_at: float,
) -> None:
    """Every chunk goes out as it came in; only [DONE] waits for the commit."""
    stored = False

    async def store() -> None:
        complete = reader.done or reader.finished
        _note(exchange, reader.answer(), complete=complete)
        with exchange.measure("commit"):
            await keeper.commit(reader.answer(), complete=complete)

    async with aclosing(response.chunks()) as chunks:
        async for arrived in chunks:
            chunk = arrived
            reader.feed(chunk)
            if exchange.status is None:
                # Not before the first byte: until then, what fails has a status of its own.
                exchange.milliseconds["upstream"] = exchange.elapsed - sent_at
                await exchange.start(response.status, response.headers, final=False)
            if reader.done and not stored:
                before, chunk = _split(chunk)
                if before:
                    await exchange.send(before, more=True)
                await store()
                stored = True
            await exchange.send(chunk, more=True)
    if exchange.status is None:
        await exchange.start(response.status, response.headers, final=False)
    if not stored:
        await store()
    await exchange.send(b"", more=False)


def _split(chunk: bytes) -> tuple[bytes, bytes]:
    """What came with [DONE] but stands before it need not wait for the commit."""
    at = max(chunk.rfind(b"data: [DONE]"), 0)
    return chunk[:at], chunk[at:]


def _tell(exchange: Exchange, context: Context) -> None:
    facts = exchange.facts
    facts.memories, facts.context_tokens = context.memories, context.tokens
    facts.fallback, facts.degraded = context.fallback, context.degraded
    exchange.set_header(b"x-ibex-memories-injected", str(context.memories))
    exchange.set_header(b"x-ibex-context-tokens", str(context.tokens))
    exchange.set_header(b"x-ibex-context-fallback", "true" if context.fallback else "false")
    if context.fallback:
        exchange.set_header(b"x-ibex-context-fallback-reason", context.fallback)


def _note(exchange: Exchange, answer: Answer, *, complete: bool) -> None:
    facts = exchange.facts
    facts.complete = complete
    facts.prompt_tokens, facts.completion_tokens = answer.prompt_tokens, answer.completion_tokens
    facts.response_model, facts.finish_reason = answer.model, answer.finish_reason
    if answer.completion_tokens is None and answer.message is not None:
        facts.answer_bytes = len(orjson.dumps(answer.message))
