"""The trace row of an exchange that has ended."""

from collections.abc import Mapping

from hotpath.proxy.exchange import Exchange
from ibex.stores.traces import TraceRow

_CLIENT_GONE = 499  # nobody saw a status; nginx's number for it


def trace_of(exchange: Exchange, hosts: Mapping[str, str]) -> TraceRow | None:
    """None before it is known whose request it is. `hosts` by the name of their provider."""
    facts, spent = exchange.facts, exchange.milliseconds
    if facts.org_id is None or facts.token_id is None or facts.agent_id is None:
        return None
    return TraceRow(
        org_id=facts.org_id,
        token_id=facts.token_id,
        agent_id=facts.agent_id,
        session_id=facts.session_id,
        request_id=exchange.request_id,
        has_user=facts.has_user,
        model=facts.model,
        provider=facts.provider,
        provider_host=hosts.get(facts.provider, ""),
        provider_tries=facts.tries,
        status=exchange.status or _CLIENT_GONE,
        error=facts.error,
        stream=facts.stream,
        complete=facts.complete,
        started_at=exchange.started_at,
        total_ms=exchange.elapsed,
        auth_ms=spent.get("auth", 0.0),
        session_ms=spent.get("session", 0.0),
        context_ms=spent.get("context", 0.0),
        upstream_ms=spent.get("upstream", 0.0),
        ttfb_ms=exchange.ttfb,
        commit_ms=spent.get("commit", 0.0),
        memories_injected=facts.memories,
        context_tokens=facts.context_tokens,
        prompt_tokens=facts.prompt_tokens,
        completion_tokens=facts.completion_tokens,
        fallback=bool(facts.fallback),
        fallback_reason=facts.fallback,
        degraded=facts.degraded,
    )
