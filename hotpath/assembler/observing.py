"""Around every gRPC call of ours: its count, its time and, when somebody traces, its spans.

    ibex.v1.ContextAssembly/AssembleContext     server, part of the proxy's search_memory
    └── directive, hot, cold, embed, pinned     internal; they all start with the call

Health checks are not looked at. Counts, scores and times only, never content.
"""

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, cast

import grpc
import grpc.aio
from opentelemetry.trace import Span

from hotpath.assembler.context_service import Assembled
from hotpath.assembler.metrics import count_call, count_context, parts
from hotpath.assembler.statuses import Call
from ibex.telemetry import Tracing, become_current, describe, failed

_OURS: Final = "/ibex.v1."
_OK: Final = grpc.StatusCode.OK.name
# gRPC's statuses that are the server's fault.
# Source: https://opentelemetry.io/docs/specs/semconv/rpc/grpc/
_FAULTS: Final = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)

_Method = Callable[[Any, Call], Awaitable[Any]]
_Continuation = Callable[[grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Any, Any]"]]


if TYPE_CHECKING:
    _Interceptor = grpc.aio.ServerInterceptor[Any, Any]
else:
    _Interceptor = grpc.aio.ServerInterceptor  # has no parameters when it runs


class Observer(_Interceptor):
    def __init__(self, tracing: Tracing | None) -> None:
        self._tracing = tracing
        self._observed: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self, continuation: _Continuation, details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        method: str = details.method
        known = self._observed.get(method)
        if known is not None:
            return known
        handler = await continuation(details)
        if not method.startswith(_OURS) or handler is None or handler.unary_unary is None:
            return handler
        observed = grpc.unary_unary_rpc_method_handler(
            self.around(method.removeprefix("/"), cast("_Method", handler.unary_unary)),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        self._observed[method] = observed
        return observed

    def around(self, full_name: str, inner: _Method) -> _Method:
        """`inner`, counted and traced by this name."""
        method = full_name.rpartition("/")[2]

        async def observed(request: Any, context: Call) -> Any:
            began = time.perf_counter()
            span = self._begin(full_name, context)
            status = "CANCELLED"
            try:
                answer = await inner(request, context)
            except Exception:
                status = _status(context)
                raise
            else:
                status = _OK
                if isinstance(answer, Assembled):
                    count_context(answer)
                    if span is not None and self._tracing is not None:
                        _describe_context(self._tracing, span, request.agent_id, answer)
                return answer
            finally:
                count_call(method, status, time.perf_counter() - began)
                if span is not None:
                    describe(span, {"rpc.response.status_code": status})
                    if status in _FAULTS:
                        failed(span, status)
                    span.end()

        return observed

    def _begin(self, full_name: str, context: Call) -> Span | None:
        if self._tracing is None:
            return None
        metadata = context.invocation_metadata() or ()
        headers = {key: value for key, value in metadata if isinstance(value, str)}
        span = self._tracing.server(full_name, headers)
        describe(span, {"rpc.system.name": "grpc", "rpc.method": full_name})
        become_current(span)
        return span


def _describe_context(tracing: Tracing, span: Span, agent_id: str, made: Assembled) -> None:
    if not span.is_recording():
        return
    answer = made.answer
    scores = [memory.score for memory in made.injected]
    describe(
        span,
        {
            "gen_ai.operation.name": "search_memory",
            "gen_ai.memory.store.id": agent_id,
            "gen_ai.memory.record.count": answer.memories,
            "ibex.context.tokens": answer.context_tokens,
            "ibex.context.degraded": tuple(answer.degraded) or None,
            "ibex.memory.best_score": max(scores, default=None),
            "ibex.memory.worst_score": min(scores, default=None),
        },
    )
    started = getattr(span, "start_time", None)
    if started is None:
        return
    for name, milliseconds in parts(answer).items():
        tracing.child(span, name, start_ns=started).end(started + int(milliseconds * 1e6))


def _status(context: Call) -> str:
    code = context.code()
    return code.name if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN.name
