"""What the assembler counts before it makes a context; of the contexts see `metrics`."""

from collections.abc import Callable
from typing import Final

from ibex.metrics import counter, gauge

_REFUSED: Final = counter(
    "ibex_assembler_refused_total", "Contexts that were not begun, because too many were."
)
_LIMIT: Final = gauge("ibex_assembler_contexts_limit", "Contexts that may be made at once now.")


def count_refusal() -> None:
    _REFUSED.inc()


def show_limit(limit: Callable[[], int]) -> None:
    _LIMIT.set_function(limit)
