"""`python -m bench.redaction`: what redaction finds, what it takes for something, and how fast.

Writes bench/results/redaction.json.
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.command import console as open_console
from bench.environment import environment
from bench.figures import RESULTS, print_figures, write
from bench.redaction.corpus import Planted, Sample, harmless, secrets
from ibex.memory.redaction import Finding, Kind, redact

_SEED: Final = 20261120
_TEXT_BYTES: Final = 2_000  # of a text that the speed is measured on: a long turn
_SHOWN: Final = 8


class Tally:
    """What was found of what there was."""

    def __init__(self) -> None:
        self.planted: Counter[tuple[str, str]] = Counter()
        self.found: Counter[tuple[str, str]] = Counter()
        self.named: Counter[tuple[str, str]] = Counter()  # found, and by its own name
        self.disguises: Counter[str] = Counter()
        self.disguises_found: Counter[str] = Counter()
        self.false_hits: Counter[str] = Counter()  # beside what was planted, and in harmless texts
        self.harmless_hit = 0
        self.missed: list[str] = []
        self.mistaken: list[str] = []

    def add(self, sample: Sample) -> None:
        findings = redact(sample.text).findings
        if sample.planted is None:
            self.harmless_hit += bool(findings)
        else:
            self._add_planted(sample, sample.planted, findings)
        for one in findings:
            if sample.planted is None or not _meet(one, sample.planted):
                self.false_hits[one.kind] += 1
                self.mistaken.append(f"{one.kind}: {sample.text}")

    def _add_planted(self, sample: Sample, planted: Planted, findings: tuple[Finding, ...]) -> None:
        key = planted.kind.value, planted.form
        self.planted[key] += 1
        self.disguises[sample.disguise] += 1
        met = [one for one in findings if _meet(one, planted)]
        if sum(min(one.end, planted.end) - max(one.start, planted.start) for one in met) == (
            planted.end - planted.start
        ):
            self.found[key] += 1
            self.disguises_found[sample.disguise] += 1
            self.named[key] += {one.kind for one in met} == {planted.kind}
        else:
            self.missed.append(f"{planted.kind}, {sample.disguise}: {sample.text}")

    def recall(self, kind: Kind) -> float:
        of_kind = [key for key in self.planted if key[0] == kind]
        return _share(
            sum(self.found[key] for key in of_kind), sum(self.planted[key] for key in of_kind)
        )


def _meet(finding: Finding, planted: Planted) -> bool:
    return finding.start < planted.end and planted.start < finding.end


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def megabytes_a_second(texts: list[str]) -> float:
    """Of UTF-8, on texts as long as a long turn; the middle of five rounds."""
    joined, long = "", []
    for text in texts:
        joined += text + "\n"
        if len(joined) >= _TEXT_BYTES:
            long.append(joined)
            joined = ""
    size = sum(len(text.encode()) for text in long) / 1e6
    times = []
    for _ in range(5):
        started = time.process_time()
        for text in long:
            redact(text)
        times.append(time.process_time() - started)
    return round(size / sorted(times)[2], 2)


def _shown(tally: Tally, console: Console) -> None:
    table = Table(title="What was found")
    for name in ("kind", "form", "hidden", "found", "by its name"):
        table.add_column(name, justify="left" if name in {"kind", "form"} else "right")
    for key, count in tally.planted.items():
        table.add_row(
            *key,
            f"{count:,}",
            f"{tally.found[key] / count:.2%}",
            f"{tally.named[key] / count:.2%}",
        )
    console.print(table)
    table = Table(title="As it was written")
    for name in ("disguise", "hidden", "found"):
        table.add_column(name)
    for name, count in tally.disguises.items():
        table.add_row(name, f"{count:,}", f"{tally.disguises_found[name] / count:.2%}")
    console.print(table)


def _examples(title: str, texts: list[str], console: Console) -> None:
    for text in texts[:: max(1, len(texts) // _SHOWN)][:_SHOWN]:
        console.print(f"{title} {text!r}", highlight=False, markup=False)


def _figures(tally: Tally, harmless_texts: int, speeds: dict[str, float]) -> dict[str, Any]:
    hidden, found = sum(tally.planted.values()), sum(tally.found.values())
    return {
        "recall": _share(found, hidden),
        **{f"recall_{kind.lower()}": tally.recall(kind) for kind in Kind},
        "false_hit_rate": _share(tally.harmless_hit, harmless_texts),
        **{f"false_hits_{kind.lower()}": tally.false_hits[kind] for kind in Kind},
        **speeds,
    }


def _all(options: argparse.Namespace) -> Iterator[Sample]:
    yield from secrets(options.samples, options.seed)
    yield from harmless(options.harmless, options.seed)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.redaction")
    parser.add_argument("--samples", type=int, default=1_000, help="of each form of each kind")
    parser.add_argument("--harmless", type=int, default=10_000, help="texts without any")
    parser.add_argument("--seed", type=int, default=_SEED)
    parser.add_argument("--out", type=Path, default=RESULTS / "redaction.json")
    options = parser.parse_args()
    console = open_console()
    surroundings = environment()
    samples = list(_all(options))
    tally = Tally()
    for sample in track(samples, "Redacting", console=console, transient=True):
        tally.add(sample)
    with console.status("Measuring the speed"):
        speeds = {
            "mb_per_s_harmless": megabytes_a_second(
                [one.text for one in samples if not one.planted]
            ),
            "mb_per_s_secrets": megabytes_a_second([one.text for one in samples if one.planted]),
        }
    _shown(tally, console)
    _examples("missed", tally.missed, console)
    _examples("mistaken", tally.mistaken, console)
    figures = _figures(tally, options.harmless, speeds)
    print_figures(figures, console)
    write(
        options.out,
        {
            "figures": figures,
            "measured_at": datetime.now(UTC),
            "environment": surroundings,
            "corpus": {
                "seed": options.seed,
                "samples_per_form": options.samples,
                "harmless": options.harmless,
            },
            "forms": [
                {"kind": kind, "form": form, "hidden": count, "found": tally.found[kind, form]}
                for (kind, form), count in tally.planted.items()
            ],
            "disguises": {
                name: {"hidden": count, "found": tally.disguises_found[name]}
                for name, count in tally.disguises.items()
            },
        },
    )


if __name__ == "__main__":
    main()
