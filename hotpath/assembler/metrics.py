"""What the assembler counts: every call, and of every context what went into it."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from hotpath.assembler.context_service import Assembled
from ibex.metrics import counter, histogram
from ibex.rpc import AssembleContextResponse

_CALLS: Final = counter(
    "ibex_assembler_calls_total", "gRPC calls by method and status.", ("method", "status")
)
_CALL_TIME: Final = histogram(
    "ibex_assembler_call_seconds",
    "gRPC calls from the request's message to the answer's.",
    ("method",),
)
_PART_TIME: Final = histogram(
    "ibex_assembler_part_seconds",
    "Parts of a context that arrived: directive, hot, cold (its wait for embed included), embed,"
    " pinned (what the session was given before).",
    ("part",),
)
_PARTS_MISSING: Final = counter(
    "ibex_assembler_parts_missing_total", "Parts that were late or failed.", ("part",)
)
_CANDIDATES: Final = counter(
    "ibex_assembler_candidates_total", "Memories that contexts were made from; see dropped."
)
_PACKED: Final = counter(
    "ibex_assembler_packed_total",
    "Memories put into a context, by where they were found: hot, cold, both, pinned.",
    ("origin",),
)
_DROPPED: Final = counter(
    "ibex_assembler_dropped_total",
    "Memories left out, of one context the best 20: relevance, duplicate, budget, gain, settled,"
    " window, gone, unknown.",
    ("reason",),
)
_TOKENS: Final = counter("ibex_assembler_context_tokens_total", "Tokens of rendered contexts.")


def count_call(method: str, status: str, seconds: float) -> None:
    _CALLS.labels(method, status).inc()
    _CALL_TIME.labels(method).observe(seconds)


def count_context(made: Assembled) -> None:
    answer, dropped = made.answer, made.composition.dropped
    _CANDIDATES.inc(len(made.injected) + len(dropped))
    for origin, count in Counter(one.origin for one in made.injected).items():
        _PACKED.labels(origin).inc(count)
    for reason, count in Counter(one.reason for one in dropped).items():
        _DROPPED.labels(reason).inc(count)
    for part, milliseconds in parts(answer).items():
        _PART_TIME.labels(part).observe(milliseconds / 1000)
    for part in answer.degraded:
        _PARTS_MISSING.labels(part).inc()
    _TOKENS.inc(answer.context_tokens)


def parts(answer: AssembleContextResponse) -> Mapping[str, float]:
    """Milliseconds of each part that arrived."""
    timings = answer.timings
    if timings is None:
        return {}
    every = {
        "directive": timings.directive,
        "hot": timings.hot,
        "cold": timings.cold,
        "embed": timings.embed,
        "pinned": timings.pinned,
    }
    return {name: spent for name, spent in every.items() if spent and name not in answer.degraded}
