"""`python -m bench.hotpath` and `python -m bench.hotpath soak`: see docs/performance.md."""

import argparse
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.command import console as open_console
from bench.command import run_and_exit
from bench.environment import environment
from bench.figures import RESULTS, print_figures, write
from bench.hotpath import report
from bench.hotpath.comparison import (
    CLIENTS,
    MEMORY_ON,
    RATE,
    compare,
    course,
    ibex_targets,
)
from bench.hotpath.phases import Target
from bench.hotpath.soak import growth, soak
from bench.hotpath.upstream import mock_upstream
from bench.seed import seed
from bench.stack import process_ids, running_stack


def main() -> None:
    options = _options()
    console = open_console()
    work = _soak(options, console) if options.what == "soak" else _compare(options, console)
    run_and_exit(work)


async def _compare(options: argparse.Namespace, console: Console) -> int:
    surroundings = environment()
    plan = course(options.rounds, options.seconds, quick=options.quick)
    async with (
        mock_upstream(options.mock_port) as upstream,
        running_stack(upstream, console) as settings,
    ):
        console.print(f"The mock upstream is at {upstream}.", highlight=False)
        (agent,) = await seed(settings, [options.memories], console)
        phases = await compare(
            settings, upstream, agent.token, plan, console, peers=_peers(options)
        )
    lines = report.summarize(phases)
    figures = report.figures(lines)
    report.show(lines, console)
    print_figures(figures, console)
    write(
        options.out or RESULTS / "hotpath.json",
        {
            "figures": figures,
            "measured_at": datetime.now(UTC),
            "environment": surroundings,
            "load": {
                **asdict(plan),
                "clients": CLIENTS,
                "requests_per_second": CLIENTS * RATE,
                "memories": agent.memories,
            },
            "summary": report.as_json(lines),
            "phases": [asdict(phase) for phase in phases],
        },
    )
    return 0


async def _soak(options: argparse.Namespace, console: Console) -> int:
    surroundings = environment()
    async with (
        mock_upstream(options.mock_port) as upstream,
        running_stack(upstream, console) as settings,
    ):
        (agent,) = await seed(settings, [options.memories], console)
        targets = ibex_targets(f"{settings.proxy_endpoint}/v1", agent.token)
        target = next(one for one in targets if one.name == MEMORY_ON)
        pids = process_ids(settings.home)
        phases, samples = await soak(target, options.minutes, options.rate, pids, console)
        restarted = process_ids(settings.home) != pids
    grown = growth(samples)
    table = Table(header_style="bold")
    for name in ("process", "MiB first", "last", "MiB a minute", "flat"):
        table.add_column(name, justify="left" if name == "process" else "right")
    for name, one in grown.items():
        verdict = "" if one.flat is None else ("yes" if one.flat else "NO")
        table.add_row(name, f"{one.first:.0f}", f"{one.last:.0f}", f"{one.slope:+.2f}", verdict)
    console.print(table)
    errors = sum(sum(phase.errors.values()) for phase in phases)
    figures = {
        "flat": all(one.flat is not False for one in grown.values()) and not restarted,
        "errors": errors,
        "restarted": restarted,
        "requests": sum(phase.requests for phase in phases),
        "minutes": options.minutes,
        **{f"{name}_mib_per_minute": one.slope for name, one in grown.items()},
    }
    print_figures(figures, console)
    write(
        options.out or RESULTS / "soak.json",
        {
            "figures": figures,
            "measured_at": datetime.now(UTC),
            "environment": surroundings,
            "growth": {name: asdict(one) for name, one in grown.items()},
            "samples": [asdict(one) for one in samples],
            "phases": [asdict(phase) for phase in phases],
        },
    )
    return 0 if figures["flat"] and not errors else 1


def _peers(options: argparse.Namespace) -> list[Target]:
    peers = []
    for peer in options.peer:
        name, _, url = peer.partition("=")
        headers = {}
        for header in options.peer_header:
            whose, mark, rest = header.partition("=")
            own = rest if mark and whose == name else header if ":" in whose or not mark else ""
            field, _, value = own.partition(":")
            if field:
                headers[field.strip().lower()] = value.strip()
        peers.append(Target(name, url.rstrip("/"), headers))
    return peers


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.hotpath")
    parser.add_argument("what", nargs="?", choices=("compare", "soak"), default="compare")
    parser.add_argument("--seconds", type=float, help="of a phase of the open loop; closed: half")
    parser.add_argument("--rounds", type=int, help="default: 3")
    parser.add_argument("--quick", action="store_true", help="one round of short phases: a look")
    parser.add_argument("--memories", type=int, default=10_000, help="of the agent")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=URL",
        help="another gateway in front of the mock, URL ending in /v1; any number of times",
    )
    parser.add_argument(
        "--peer-header",
        action="append",
        default=[],
        metavar="[NAME=]HEADER:VALUE",
        help="a header for the peers, or for the one that is named; any number of times",
    )
    parser.add_argument("--mock-port", type=int, help="of the mock upstream, for peers to know")
    parser.add_argument("--minutes", type=float, default=10.0, help="soak: how long")
    parser.add_argument("--rate", type=float, default=50.0, help="soak: requests a second")
    parser.add_argument("--out", type=Path, help="the file for the result")
    options = parser.parse_args()
    for peer in options.peer:
        if not peer.partition("=")[2].startswith(("http://", "https://")):
            parser.error(f"--peer {peer}: not NAME=URL")
    return options


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        main()
