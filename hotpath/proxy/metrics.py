"""What the proxy counts of every exchange, taken from its facts when it has ended."""

from typing import Final

from hotpath.proxy.exchange import Exchange
from ibex.metrics import MILLISECONDS, SECONDS, counter, gauge, histogram

_CLIENT_GONE: Final = 499  # nobody saw a status; nginx's number for it

IN_FLIGHT: Final = gauge("ibex_proxy_requests_in_flight", "Requests that have not ended.")
_REQUESTS: Final = counter(
    "ibex_proxy_requests_total",
    "Requests by route, status (499: the client went away first) and streaming.",
    ("route", "status", "stream"),
)
_ERRORS: Final = counter(
    "ibex_proxy_errors_total", "Requests that ended with an error, by its code.", ("code",)
)
_UPSTREAM_ERRORS: Final = counter(
    "ibex_proxy_upstream_errors_total",
    "Requests that the model's server failed: unavailable, timeout, broken_off (after the first"
    " byte), status_429, status_4xx, status_5xx.",
    ("kind",),
)
_TOTAL: Final = histogram(
    "ibex_proxy_request_seconds",
    "Chat requests from their first to their last byte, the model's time included.",
    ("stream",),
    buckets=SECONDS,
)
_TTFB: Final = histogram(
    "ibex_proxy_ttfb_seconds",
    "Chat requests until the first byte of the body went out.",
    ("stream",),
    buckets=SECONDS,
)
_OVERHEAD: Final = histogram(
    "ibex_proxy_overhead_seconds",
    "Time until the first byte, less the time that the model's server took.",
    ("stream",),
)
_STAGES: Final = histogram(
    "ibex_proxy_stage_seconds",
    "Stages of a chat request: auth, limits, session, context, upstream (until its answer begins),"
    " commit.",
    ("stage",),
    buckets=(*MILLISECONDS, 5.0, 10.0, 30.0, 60.0),
)
_MEMORIES: Final = counter("ibex_proxy_memories_injected_total", "Memories put into requests.")
_CONTEXT_TOKENS: Final = counter("ibex_proxy_context_tokens_total", "Tokens put into requests.")
_TOKENS: Final = counter(
    "ibex_proxy_provider_tokens_total",
    "Tokens that providers counted: input (the prompt), output (the answer).",
    ("direction",),
)
_FALLBACKS: Final = counter(
    "ibex_proxy_context_fallbacks_total",
    "Requests without assembled context: timeout, error, unavailable, disabled.",
    ("reason",),
)
_DEGRADED: Final = counter(
    "ibex_proxy_context_degraded_total",
    "Contexts that had to do without a part: directive, hot, cold, embed, pinned.",
    ("part",),
)

_STREAM: Final = {True: "true", False: "false"}
_STAGE: Final = {
    name: _STAGES.labels(name)
    for name in ("auth", "limits", "session", "context", "upstream", "commit")
}
_TOTAL_BY: Final = {stream: _TOTAL.labels(name) for stream, name in _STREAM.items()}
_TTFB_BY: Final = {stream: _TTFB.labels(name) for stream, name in _STREAM.items()}
_OVERHEAD_BY: Final = {stream: _OVERHEAD.labels(name) for stream, name in _STREAM.items()}
_INPUT, _OUTPUT = _TOKENS.labels("input"), _TOKENS.labels("output")


def count(exchange: Exchange) -> None:
    """Of an exchange that has ended."""
    facts = exchange.facts
    status = exchange.status or _CLIENT_GONE
    _REQUESTS.labels(exchange.route, str(status), _STREAM[facts.stream]).inc()
    if facts.error:
        _ERRORS.labels(facts.error).inc()
        kind = upstream_error(facts.error, begun=exchange.status == 200)
        if kind is not None:
            _UPSTREAM_ERRORS.labels(kind).inc()
    if facts.model:
        _measure(exchange)


def upstream_error(code: str, *, begun: bool) -> str | None:
    """Which way the model's server failed, by the code of a request's error. `begun`: the client
    had a part of the answer. None: it did not."""
    if code.startswith("provider_status_"):
        status = code.removeprefix("provider_status_")
        return "status_429" if status == "429" else f"status_{status[0]}xx"
    if code in ("provider_unavailable", "provider_timeout"):
        return "broken_off" if begun else code.removeprefix("provider_")
    return None


def _measure(exchange: Exchange) -> None:
    facts, spent = exchange.facts, exchange.milliseconds
    _TOTAL_BY[facts.stream].observe(exchange.elapsed / 1000)
    for stage, milliseconds in spent.items():
        if stage in _STAGE:
            _STAGE[stage].observe(milliseconds / 1000)
    if exchange.ttfb is not None:
        _TTFB_BY[facts.stream].observe(exchange.ttfb / 1000)
        if "upstream" in spent:
            _OVERHEAD_BY[facts.stream].observe(max(exchange.ttfb - spent["upstream"], 0.0) / 1000)
    if facts.memories:
        _MEMORIES.inc(facts.memories)
        _CONTEXT_TOKENS.inc(facts.context_tokens)
    if facts.fallback:
        _FALLBACKS.labels(facts.fallback).inc()
    for part in facts.degraded:
        _DEGRADED.labels(part).inc()
    if facts.prompt_tokens:
        _INPUT.inc(facts.prompt_tokens)
    if facts.completion_tokens:
        _OUTPUT.inc(facts.completion_tokens)
