"""The spans of one exchange, by the GenAI conventions of OpenTelemetry.

    POST /v1/chat/completions          server
    ├── auth, limits, session, commit  internal
    ├── search_memory                  client: the assembler; its own spans hang below
    └── chat {model}                   client: the model's server

Ids, names, counts and times, never content. An exchange has these only when somebody traces.
Source: https://github.com/open-telemetry/semantic-conventions-genai
"""

import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from opentelemetry.trace import Span, SpanKind

from ibex.policy import DEFAULT_PROVIDER
from ibex.providers import configured_providers
from ibex.settings import Settings
from ibex.telemetry import Attributes, Tracing, become_current, describe, failed

if TYPE_CHECKING:
    from hotpath.proxy.exchange import Exchange

_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
#: Hosts whose provider has a name in the conventions.
_PROVIDERS: Final = {
    "api.openai.com": "openai",
    "openai.azure.com": "azure.ai.openai",
    "api.anthropic.com": "anthropic",
    "api.cohere.com": "cohere",
    "api.deepseek.com": "deepseek",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
}
_OTHER_PROVIDER: Final = "openai_compatible"
#: Fallbacks that nobody asked for.
_FAILURES: Final = frozenset({"timeout", "error", "unavailable"})


class Spans:
    """Makes the spans of every exchange; what stays the same is worked out once."""

    def __init__(self, tracing: Tracing, settings: Settings) -> None:
        self.tracing = tracing
        self._providers = {
            name: _described(
                provider.base_url, sandbox=name == DEFAULT_PROVIDER and settings.uses_sandbox
            )
            for name, provider in configured_providers(settings).items()
        }

    def provider(self, name: str) -> Attributes:
        """Of one in the settings; of the default one when none has answered."""
        return self._providers.get(name) or self._providers[DEFAULT_PROVIDER]

    def begin(self, exchange: "Exchange") -> "RequestSpans":
        return RequestSpans(self, exchange)


class RequestSpans:
    def __init__(self, spans: Spans, exchange: "Exchange") -> None:
        self._spans = spans
        self._exchange = exchange
        self._open: dict[str, Span] = {}
        self._call: Span | None = None
        self._searched_at: int | None = None  # ns since 1970
        self._root = spans.tracing.server("HTTP", exchange.headers)
        become_current(self._root)

    def enter(self, stage: str) -> None:
        if stage == "commit":
            self._end_call()
        name, kind = stage, SpanKind.INTERNAL
        if stage == "context":
            name, kind = "search_memory", SpanKind.CLIENT
        span = self._spans.tracing.child(self._root, name, kind)
        self._open[stage] = span
        become_current(span)

    def leave(self, stage: str) -> None:
        if stage == "context":
            self._searched_at = time.time_ns()  # what came of it is not known yet
        elif (span := self._open.pop(stage, None)) is not None:
            span.end()
        become_current(self._root)

    def _end_search(self) -> None:
        span = self._open.pop("context", None)
        if span is None:
            return
        facts = self._exchange.facts
        describe(
            span,
            {
                "gen_ai.operation.name": "search_memory",
                "gen_ai.memory.store.id": str(facts.agent_id),
                "gen_ai.memory.record.count": facts.memories,
                "ibex.context.tokens": facts.context_tokens,
                "ibex.context.degraded": facts.degraded or None,
                "ibex.context.fallback_reason": facts.fallback or None,
            },
        )
        if facts.fallback in _FAILURES:
            failed(span, facts.fallback)
        span.end(self._searched_at)

    def call(self, operation: str) -> None:
        """The model's server is asked from now on; retries and fallbacks are part of it."""
        self._end_search()
        facts = self._exchange.facts
        self._call = self._spans.tracing.child(
            self._root, f"{operation} {facts.model}".strip(), SpanKind.CLIENT
        )
        describe(
            self._call,
            {
                "gen_ai.operation.name": operation,
                "gen_ai.request.model": facts.model or None,
                "gen_ai.request.stream": facts.stream or None,
                "gen_ai.conversation.id": str(facts.session_id) if facts.session_id else None,
            },
        )
        become_current(self._call)

    def end(self) -> None:
        """The exchange has ended, whichever way."""
        self._end_search()
        self._end_call()
        for span in self._open.values():
            span.end()
        exchange, facts = self._exchange, self._exchange.facts
        status = exchange.status
        method = exchange.scope["method"]
        known = method if method in _METHODS else "_OTHER"
        self._root.update_name(f"{known} {exchange.route}")
        describe(
            self._root,
            {
                "http.request.method": known,
                "http.route": exchange.route,
                "http.response.status_code": status,
                "url.scheme": exchange.scope.get("scheme", "http"),
                "network.protocol.version": exchange.scope.get("http_version"),
                "ibex.request.id": exchange.request_id,
                "ibex.org.id": str(facts.org_id) if facts.org_id else None,
                "ibex.agent.id": str(facts.agent_id) if facts.agent_id else None,
                "ibex.session.id": str(facts.session_id) if facts.session_id else None,
                "ibex.has_user": facts.has_user or None,
                "ibex.memories.injected": facts.memories if facts.model else None,
            },
        )
        # A request that was wrong is the client's error and not the server's.
        if facts.error and (status is None or not 400 <= status < 500):
            failed(self._root, facts.error)
        self._root.end()

    def _end_call(self) -> None:
        call, self._call = self._call, None
        if call is None:
            return
        exchange, facts = self._exchange, self._exchange.facts
        finish = facts.finish_reason
        describe(
            call,
            {
                **self._spans.provider(facts.provider),
                "gen_ai.response.model": facts.response_model,
                "gen_ai.response.finish_reasons": (finish,) if finish else None,
                "gen_ai.usage.input_tokens": facts.prompt_tokens,
                "gen_ai.usage.output_tokens": facts.completion_tokens,
                "gen_ai.response.time_to_first_chunk": (
                    exchange.milliseconds["upstream"] / 1000
                    if facts.stream and "upstream" in exchange.milliseconds
                    else None
                ),
            },
        )
        if facts.error:
            failed(call, facts.error)
        call.end()
        become_current(self._root)


def _described(base_url: str, *, sandbox: bool) -> Attributes:
    url = urlsplit(base_url)
    return {
        "gen_ai.provider.name": "ibex.sandbox" if sandbox else provider_name(url.hostname or ""),
        "server.address": url.hostname,
        "server.port": url.port or (443 if url.scheme == "https" else 80),
    }


def provider_name(host: str) -> str:
    """The conventions' name of a model's server, where they have one."""
    return next(
        (name for known, name in _PROVIDERS.items() if host == known or host.endswith(f".{known}")),
        _OTHER_PROVIDER,
    )
