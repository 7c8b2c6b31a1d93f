"""Sums that every benchmark makes, and its file in bench/results."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import orjson
from rich.console import Console

PERCENTILES: Final = (50, 95, 99)
NAMES: Final = tuple(f"p{one}" for one in PERCENTILES)
RESULTS: Final = Path(__file__).parent / "results"

Times = dict[str, float]  # p50, p95, p99 in milliseconds; empty: there were none


def percentiles(times: Sequence[float]) -> Times:
    """Empty when there are none."""
    if not times:
        return {}
    values = np.percentile(np.asarray(times), PERCENTILES)
    return {name: round(float(value), 2) for name, value in zip(NAMES, values, strict=True)}


def medians(rounds: Iterable[Times]) -> Times:
    """Over the rounds that have any."""
    known = [one for one in rounds if one]
    return {name: round(median(one[name] for one in known), 2) for name in NAMES} if known else {}


def less(times: Times, base: Times) -> Times:
    """Empty when one of them is: a round without an answer adds nothing that can be told."""
    return {name: times[name] - base[name] for name in NAMES} if times and base else {}


def total(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Of each name over all of them."""
    sums: dict[str, int] = {}
    for one in counts:
        for name, count in one.items():
            sums[name] = sums.get(name, 0) + count
    return sums


def shown(times: Times) -> str:
    return " / ".join(f"{times[name]:.1f}" for name in NAMES) if times else "-"


def print_figures(figures: Mapping[str, Any], console: Console) -> None:
    for name, value in figures.items():
        console.print(f"{name:36} {value}", highlight=False)


def write(file: Path, value: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    file.write_bytes(orjson.dumps(value, option=options))
