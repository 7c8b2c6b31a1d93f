"""`python -m bench.embed`: the embedding service against sentence-transformers on PyTorch.

Both are measured in turns within the same minutes on the same machine. Three ways: PyTorch in the
process, the served model in the process, and the served model over HTTP with Redis, every text new.
Writes bench/results/embed.json.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.embed.checks import checks
from bench.embed.recall import recall_at_10
from bench.embed.service import embedder, redis, small_settings
from bench.embed.sustained import SESSIONS, sustained
from bench.embed.texts import queries, varied
from bench.environment import environment
from bench.figures import RESULTS, write
from bench.processes import Running
from hotpath.embedder.loading import LoadedModel, load_model
from hotpath.embedder.model import Vectors
from hotpath.embedder.precision import likeness
from ibex.embedding import DIMENSIONS, EmbedderClient
from ibex.embedding_models import chosen_model
from ibex.settings import Settings

_BATCH: Final = 32
_BULK: Final = 512

TORCH, ONNX, HTTP = "torch, in process", "onnx, in process", "onnx, over HTTP"


@dataclass
class Way:
    """One way to embed; times in seconds."""

    name: str
    embed: Callable[[list[str]], Awaitable[Vectors]]
    single: list[float] = field(default_factory=list)
    batch: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    async def time(self, texts: list[str]) -> float:
        started = time.perf_counter()
        await self.embed(texts)
        return time.perf_counter() - started


async def measure(ways: list[Way], rounds: int, console: Console) -> None:
    for way in ways:
        await way.time(queries(_BATCH, -1))
    with console.status("") as status:
        for number in range(rounds):
            for place in range(len(ways)):
                way = ways[(number + place) % len(ways)]
                status.update(f"round {number + 1} of {rounds}: {way.name}")
                seed = number * 10 + place
                for text in queries(40, seed):
                    way.single.append(await way.time([text]))
                for part in range(5):
                    way.batch.append(await way.time(queries(_BATCH, 10_000 + seed * 5 + part)))
                texts = [f"{seed}.{item} {text}" for item, text in enumerate(varied(_BULK, seed))]
                way.rates.append(_BULK / await way.time(texts))


def torch_way(folder: Path) -> Way:
    """As the library's users call it, with threads that sleep, which is its best case here."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415  reads the environment
    from transformers.utils import logging  # noqa: PLC0415

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model = SentenceTransformer(str(folder), device="cpu")

    async def embed(texts: list[str]) -> Vectors:
        return np.asarray(
            model.encode(texts, normalize_embeddings=True, show_progress_bar=False), np.float32
        )

    return Way(TORCH, embed)


def onnx_way(model: LoadedModel) -> Way:
    async def embed(texts: list[str]) -> Vectors:
        """By length, as sentence-transformers does it inside."""
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        rows = np.empty((len(texts), DIMENSIONS), np.float32)
        for start in range(0, len(order), _BATCH):
            places = order[start : start + _BATCH]
            rows[places] = [one.vector for one in model.encode([texts[each] for each in places])]
        return rows

    return Way(ONNX, embed)


async def run(options: argparse.Namespace, console: Console) -> int:
    """0 when everything is kept that has to be."""
    before = environment()
    with tempfile.TemporaryDirectory(prefix="ibex-embed-") as folder:
        settings = small_settings(Path(folder))
        console.print("The served model, exported if it was not yet, and PyTorch …")
        model = load_model(settings.model_copy(update={"embedding_backend": "onnx"}))
        torch, onnx = torch_way(chosen_model(settings).folder), onnx_way(model)
        async with redis(settings):
            reference = await _start_only(settings, "torch")
            async with embedder(settings, "onnx") as served:
                client = EmbedderClient(settings.embedder_endpoint, timeout=60)
                http = Way(HTTP, client.embed)
                ways = [torch, onnx, http]
                await measure(ways, options.rounds, console)
                texts = varied(options.texts)
                vectors = {way.name: await way.embed(texts) for way in ways}
                await client.close()
                extraction = await sustained(settings, options.sessions, console)
                services = {"onnx": _service(served), "torch": reference}
    mean, least = likeness(vectors[HTTP], vectors[TORCH])
    found = {
        "single_p95_ms": _percentile(http.single, 95),
        "single_p50_ms": _percentile(http.single, 50),
        "batch32_p95_ms": _percentile(http.batch, 95),
        "texts_per_second": round(float(np.median(http.rates))),
        "speedup_vs_torch_single": round(
            float(np.median(torch.single) / np.median(onnx.single)), 1
        ),
        "mean_cosine_vs_torch": round(mean, 4),
        "min_cosine_vs_torch": round(least, 4),
        "sustained_hit_rate": extraction.hit_rate,
        "start_s": services["onnx"]["start_s"],
        "rss_mib": services["onnx"]["rss_mib"],
    }
    _show(ways, services, console)
    console.print(
        f"{model.backend}: cosine to PyTorch over {len(texts)} texts: mean {mean:.4f}, "
        f"least {least:.4f}. One text is {found['speedup_vs_torch_single']} times as fast."
    )
    console.print(
        f"Sustained extraction of {extraction.sessions:,} sessions, {extraction.texts:,} texts: "
        f"{extraction.hit_rate:.1%} found in the cache; {extraction.best_possible:.1%} had been "
        "said before."
    )
    points = await _recall(options.data, ways[:2], console) if options.data else None
    if points is not None:
        found["recall_points_vs_torch"] = points
    verdicts = checks(mean, least, points, extraction.hit_rate)
    for verdict in verdicts:
        console.print(str(verdict), highlight=False)
    write(
        options.output,
        {
            "figures": found,
            "ways": [_line(way) for way in ways],
            "services": services,
            "sustained": asdict(extraction),
            "checks": [asdict(verdict) for verdict in verdicts],
            "backend": model.backend,
            "environment": before,
        },
    )
    console.print(f"Written: {options.output}")
    return 0 if all(verdict.passed for verdict in verdicts) else 1


async def _start_only(settings: Settings, backend: str) -> dict[str, float]:
    async with embedder(settings, backend) as running:
        return _service(running)


def _service(running: Running) -> dict[str, float]:
    return {"start_s": round(running.start_s, 2), "rss_mib": round(running.rss_mib)}


async def _recall(file: Path, ways: list[Way], console: Console) -> float:
    """The difference in points, and nothing else of the data set, which stays where it is."""
    found = {}
    for way in ways:
        with console.status(f"recall: {way.name}"):
            found[way.name], questions = await recall_at_10(file, way.embed)
    points = (found[ONNX] - found[TORCH]) * 100
    console.print(
        f"Cosine search alone over {questions} questions, R@10: "
        + ", ".join(f"{name} {share:.4f}" for name, share in found.items())
        + f"; difference {points:+.2f} points."
    )
    return round(points, 2)


def _percentile(seconds: list[float], percent: float) -> float:
    return round(float(np.percentile(seconds, percent)) * 1000, 2)


def _line(way: Way) -> dict[str, Any]:
    return {
        "name": way.name,
        "single_ms": {f"p{p}": _percentile(way.single, p) for p in (50, 95, 99)},
        "batch32_ms": {f"p{p}": _percentile(way.batch, p) for p in (50, 95)},
        "texts_per_second": round(float(np.median(way.rates))),
    }


def _show(ways: list[Way], services: dict[str, dict[str, float]], console: Console) -> None:
    table = Table(header_style="bold")
    table.add_column("")
    for name in ("one text ms p50 / p95", "32 texts ms p50 / p95", "texts/s, mixed lengths"):
        table.add_column(name, justify="right")
    for way in ways:
        line = _line(way)
        table.add_row(
            way.name,
            "{p50:.1f} / {p95:.1f}".format(**line["single_ms"]),
            "{p50:.1f} / {p95:.1f}".format(**line["batch32_ms"]),
            str(line["texts_per_second"]),
        )
    console.print(table)
    for backend, one in services.items():
        console.print(f"service on {backend}: ready after {one['start_s']} s, {one['rss_mib']} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=300, help="for the cosines")
    parser.add_argument("--data", type=Path, help="LoCoMo's JSON file: compare recall too")
    parser.add_argument("--sessions", type=int, default=SESSIONS, help="of extraction")
    parser.add_argument("--output", type=Path, default=RESULTS / "embed.json")
    sys.exit(asyncio.run(run(parser.parse_args(), Console())))


if __name__ == "__main__":
    main()
