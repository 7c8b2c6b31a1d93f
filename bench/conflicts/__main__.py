"""`python -m bench.conflicts`: what becomes of pairs of statements, against what should.

The pairs are written by hand (bench/conflicts/data), the cosines are those of the model that the
embedding service serves. Judged by rules alone, and with `--ask` by the configured model where the
rules leave a pair undecided (IBEX_PROVIDER_BASE_URL, IBEX_EXTRACTION_MODEL). Writes
bench/results/conflicts.json.
"""

import argparse
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.command import console, run_and_exit
from bench.conflicts.figures import Outcome, figures, right_by_kind, scores
from bench.conflicts.pairs import Pair, load
from bench.environment import environment
from bench.figures import RESULTS, print_figures, write
from hotpath.embedder.loading import load_model
from ibex.extraction.judging import PROMPT_VERSION, ask
from ibex.extraction.llm import ModelClient
from ibex.memory.conflicts import Resolution, judge
from ibex.settings import Settings, load_settings

_BATCH = 32


def cosines(pairs: Sequence[Pair], out: Console) -> list[float]:
    with tempfile.TemporaryDirectory(prefix="ibex-conflicts-") as folder:
        model = load_model(Settings(home=Path(folder), embedding_backend="onnx"))
    texts = [one.content for pair in pairs for one in (pair.older, pair.newer)]
    starts = range(0, len(texts), _BATCH)
    rows = np.stack(
        [
            encoded.vector
            for start in track(starts, "Embedding", console=out, transient=True)
            for encoded in model.encode(texts[start : start + _BATCH])
        ]
    )
    return [float(one) for one in np.einsum("ij,ij->i", rows[::2], rows[1::2])]


def by_rules(pairs: Sequence[Pair], near: Sequence[float]) -> list[Outcome]:
    return [
        Outcome(pair.kind, pair.expected, judge(pair.older, pair.newer, cosine).resolution)
        for pair, cosine in zip(pairs, near, strict=True)
    ]


async def with_model(
    pairs: Sequence[Pair], ruled: Sequence[Outcome], settings: Settings, out: Console
) -> list[Outcome]:
    llm = ModelClient.of(settings)
    try:
        return [
            replace(one, judged=(await ask(pair.older, pair.newer, llm)).resolution)
            if one.judged is Resolution.UNDECIDED
            else one
            for pair, one in track(
                list(zip(pairs, ruled, strict=True)), "Asking", console=out, transient=True
            )
        ]
    finally:
        await llm.close()


def without_labels(pairs: Iterable[Pair]) -> list[Pair]:
    """As a careless extractor leaves them."""
    return [
        replace(
            pair,
            older=replace(pair.older, subject="", attribute=""),
            newer=replace(pair.newer, subject="", attribute=""),
        )
        for pair in pairs
    ]


async def run(options: argparse.Namespace, out: Console) -> int:
    before, pairs = environment(), load()
    near = cosines(pairs, out)
    ruled = by_rules(pairs, near)
    held_out = [one for pair, one in zip(pairs, ruled, strict=True) if pair.held_out]
    ways = {
        "rules": ruled,
        "rules, pairs held out": held_out,
        "rules, without labels": by_rules(without_labels(pairs), near),
    }
    if options.ask:
        settings = load_settings()
        asked = f"rules and {settings.extraction_model}"
        ways[asked] = await with_model(pairs, ruled, settings, out)
    found = {name: figures(outcomes) for name, outcomes in ways.items()}
    _show(ways, out)
    print_figures(found["rules"], out)
    write(
        options.output,
        {
            "figures": found["rules"],
            "ways": found,
            "scores": {name: scores(outcomes) for name, outcomes in ways.items()},
            "kinds": right_by_kind(ruled),
            "prompt_version": PROMPT_VERSION,
            "environment": before,
        },
    )
    out.print(f"Written: {options.output}")
    return 0


def _show(ways: dict[str, list[Outcome]], out: Console) -> None:
    table = Table("", *scores([]), "undecided", "pairs", header_style="bold")
    for name, outcomes in ways.items():
        table.add_row(
            name,
            *("{precision:.3f} / {recall:.3f}".format(**one) for one in scores(outcomes).values()),
            *(str(one) for one in _counts(outcomes)),
        )
    table.caption = "precision / recall; what is undecided is kept"
    out.print(table)
    kinds = Table("rules", "right", "undecided", "pairs", header_style="bold")
    for kind, counts in right_by_kind(ways["rules"]).items():
        kinds.add_row(kind, *map(str, counts))
    out.print(kinds)


def _counts(outcomes: Sequence[Outcome]) -> tuple[int, int]:
    return sum(one.judged is Resolution.UNDECIDED for one in outcomes), len(outcomes)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ask", action="store_true", help="the configured model, where undecided")
    parser.add_argument("--output", type=Path, default=RESULTS / "conflicts.json")
    run_and_exit(run(parser.parse_args(), console()))


if __name__ == "__main__":
    main()
