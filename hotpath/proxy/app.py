"""The proxy as one ASGI application.

    RequestID → Auth → AgentVerify → RateLimit → handler: policy → session → context → forward
    → checkpoint → trace

A stage raises an IbexError to end the request; here it becomes OpenAI's error envelope. Once the
response has begun, an error can only break it off: the connection is closed without an end, so that
no client takes half an answer for a whole one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from urllib.parse import unquote

from hotpath.proxy import metrics
from hotpath.proxy.caller import Caller
from hotpath.proxy.exchange import Exchange
from hotpath.proxy.parts import Parts, opened_parts
from hotpath.proxy.passthrough import Handler
from hotpath.proxy.responses import send_bytes, send_error
from hotpath.proxy.routes import route_of
from hotpath.proxy.spans import Spans
from hotpath.proxy.tracing import trace_of
from hotpath.proxy.wishes import read_wishes
from ibex.asgi import ClientDisconnectedError, Receive, Scope, Send, Service
from ibex.errors import IbexError, MethodNotAllowedError, NotFoundError
from ibex.logs import configure_logging
from ibex.metrics import CONTENT_TYPE, check_reader, render
from ibex.resources import settle_memory
from ibex.settings import Settings
from ibex.telemetry import Tracing

_log = logging.getLogger("ibex.proxy")

_Answer = Callable[[], Awaitable[None]]


class Proxy(Service):
    def __init__(self, settings: Settings) -> None:
        super().__init__("proxy")
        self._settings = settings
        self._opened = AsyncExitStack()
        self._parts: Parts | None = None
        self._spans: Spans | None = None

    async def start(self) -> None:
        if not logging.getLogger().handlers:
            configure_logging(self._settings.log_level)  # one of several worker processes
            settle_memory()
        tracing = Tracing.open("ibex-proxy")
        if tracing is not None:
            self._spans = Spans(tracing, self._settings)
            self._opened.push_async_callback(tracing.close)
        self._parts = await self._opened.enter_async_context(opened_parts(self._settings))

    async def stop(self) -> None:
        await self._opened.aclose()

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, route=route_of(scope["raw_path"]))
        if self._spans is not None:
            exchange.spans = self._spans.begin(exchange)
        metrics.IN_FLIGHT.inc()
        try:
            await self._answer(exchange)
        except ClientDisconnectedError:
            exchange.facts.error = "client_disconnected"
        except IbexError as error:
            await self._fail(exchange, error)
        except Exception as error:  # noqa: BLE001  the client gets an answer whatever went wrong
            # Its text may hold content; where it came from does not.
            _log.error("request %s: %s at %s", exchange.request_id, *_place(error))
            await self._fail(exchange, IbexError())
        finally:
            metrics.IN_FLIGHT.dec()
            if self._parts is not None:
                self._parts.limits.settle(exchange)
                row = trace_of(exchange, self._parts.providers.hosts)
                if row is not None:
                    self._parts.traces.add(row)
            metrics.count(exchange)
            if exchange.spans is not None:
                exchange.spans.end()

    async def _answer(self, exchange: Exchange) -> None:
        parts = self._parts
        if parts is None:
            raise IbexError("The proxy has not started.")
        method, answer = self._route(exchange, parts)
        if exchange.scope["method"] != method:
            exchange.set_header(b"allow", method)
            raise MethodNotAllowedError
        await answer()

    def _route(self, exchange: Exchange, parts: Parts) -> tuple[str, _Answer]:
        path: bytes = exchange.scope["raw_path"]
        match path.split(b"/")[1:]:
            case [b"v1", b"chat", b"completions"]:
                return "POST", lambda: self._chat(exchange, parts)
            case [b"v1", b"sessions", name, b"complete"] if name:
                return "POST", lambda: self._complete(exchange, parts, unquote(name))
            case [b"v1", (b"models" | b"embeddings" | b"completions") as name, *rest]:
                method, handler = parts.passthrough.route(name, rest)
                return method, lambda: self._pass(exchange, parts, handler)
            case [b"health"]:
                return "GET", lambda: parts.readiness.health(exchange)
            case [b"ready"]:
                return "GET", lambda: parts.readiness.ready(exchange)
            case [b"metrics"]:
                return "GET", lambda: self._metrics(exchange, parts)
        raise NotFoundError("There is nothing at this address.", hint="Check the base URL.")

    async def _chat(self, exchange: Exchange, parts: Parts) -> None:
        await parts.chat(exchange, await self._identify(exchange, parts))

    async def _pass(self, exchange: Exchange, parts: Parts, handler: Handler) -> None:
        await handler(exchange, await self._identify(exchange, parts))

    async def _metrics(self, exchange: Exchange, parts: Parts) -> None:
        check_reader(exchange.headers.get("authorization", ""), self._settings.metrics_token)
        parts.gauges.look()
        await send_bytes(exchange, 200, await asyncio.to_thread(render), CONTENT_TYPE)

    async def _complete(self, exchange: Exchange, parts: Parts, name: str) -> None:
        await parts.completion(exchange, await self._identify(exchange, parts), name)

    @staticmethod
    async def _identify(exchange: Exchange, parts: Parts) -> Caller:
        facts = exchange.facts
        with exchange.measure("auth"):
            token = await parts.tokens.verify(exchange.headers.get("authorization", ""))
            facts.org_id, facts.token_id = token.org_id, token.token_id
            wishes = read_wishes(exchange.headers)
            agent = await parts.agents.verify(token, wishes.agent)
            facts.agent_id = agent.id
        return Caller(token, agent, wishes)

    @staticmethod
    async def _fail(exchange: Exchange, error: IbexError) -> None:
        exchange.facts.error = error.code
        if exchange.status is None:
            await send_error(exchange, error)
        else:
            # Returning without the end of the body makes the server close the connection.
            _log.warning("request %s broke off: %s", exchange.request_id, error.code)


def _place(error: Exception) -> tuple[str, str]:
    """The type and the innermost line of our own code."""
    place = "?"
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if "/site-packages/" not in code.co_filename:
            place = f"{code.co_qualname}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return type(error).__name__, place
