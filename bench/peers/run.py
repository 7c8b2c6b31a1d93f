"""`python -m bench.peers.run`: IBEX beside other gateways, in one go. See docs/performance.md."""

import argparse
import os
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from bench.command import console as open_console
from bench.command import run_and_exit
from bench.environment import environment
from bench.figures import RESULTS, print_figures, write
from bench.hotpath import report as hotpath_report
from bench.hotpath.comparison import CLIENTS, RATE, compare, course
from bench.hotpath.phases import Target
from bench.hotpath.upstream import mock_upstream
from bench.peers import report
from bench.peers.gateways import PEERS, Peer, Setup
from bench.peers.installing import PeerUnavailableError, installed
from bench.processes import running
from bench.seed import seed
from bench.stack import free_ports, process_ids, running_stack
from ibex.embedded.process import private_folder
from ibex.errors import EmbeddedServerError, IbexError
from ibex.settings import load_settings

_MEMORIES: Final = 10_000


async def _compare(options: argparse.Namespace, console: Console) -> int:
    surroundings = environment()
    workers = options.workers or load_settings().proxy_workers
    os.environ["IBEX_PROXY_WORKERS"] = str(workers)
    folder = private_folder(load_settings().home / "bench" / "peers")
    skipped: dict[str, str] = {}
    chosen = [peer for peer in PEERS if options.only in (None, peer.name)]
    ready = [peer for peer in chosen if await _install(peer, folder, skipped, console)]
    if not ready:
        raise PeerUnavailableError("There is no gateway to compare with.", hint="See above.")
    plan = course(options.rounds, options.seconds, quick=options.quick)
    async with (
        mock_upstream(None) as upstream,
        running_stack(upstream, console) as settings,
        AsyncExitStack() as stack,
    ):
        (agent,) = await seed(settings, [options.memories], console)
        targets: list[Target] = []
        pids: dict[str, int] = {}
        for peer in ready:
            (port,) = free_ports(1)
            setup = Setup(folder / peer.name, port, upstream, workers)
            try:
                with console.status(f"Starting {peer.what}"):
                    spec = peer.process(setup)
                    process = await stack.enter_async_context(running(spec, folder, setup.folder))
            except EmbeddedServerError as error:
                _skip(peer, error, skipped, console)
                continue
            console.print(f"{peer.what} answered after {process.start_s:.0f} s.", highlight=False)
            targets.append(peer.target(setup))
            pids[peer.name] = process.process.pid
        if not targets:
            raise PeerUnavailableError("No gateway has started.", hint="See above.")
        phases = await compare(
            settings, upstream, agent.token, plan, console, peers=targets, peer_pids=pids
        )
        ours = list(process_ids(settings.home))
    lines = hotpath_report.summarize(phases)
    hotpath_report.show(lines, console)
    found = report.summaries(lines, report.owners(list(pids), ours))
    report.show(found, console)
    figures = report.figures(found)
    print_figures(figures, console)
    for name, why in skipped.items():
        console.print(f"{name} was left out: {why}", highlight=False)
    write(
        options.out or RESULTS / "peers.json",
        {
            "figures": figures,
            "measured_at": datetime.now(UTC),
            "environment": surroundings,
            "peers": {peer.name: peer.version for peer in ready if peer.name in pids},
            "skipped": skipped,
            "load": {
                **asdict(plan),
                "clients": CLIENTS,
                "requests_per_second": CLIENTS * RATE,
                "memories": options.memories,
                "workers": workers,
            },
            "summary": hotpath_report.as_json(lines),
            "phases": [asdict(phase) for phase in phases],
        },
    )
    return 0


async def _install(peer: Peer, folder: Path, skipped: dict[str, str], console: Console) -> bool:
    try:
        with console.status(f"Installing {peer.what} (kept for the next run)"):
            await installed(folder / peer.name, peer.what, peer.steps)
    except PeerUnavailableError as error:
        _skip(peer, error, skipped, console)
        return False
    return True


def _skip(peer: Peer, error: IbexError, skipped: dict[str, Any], console: Console) -> None:
    skipped[peer.name] = f"{error.message} {error.advice}".strip()
    console.print(f"{peer.what} is left out: {skipped[peer.name]}", highlight=False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.peers.run")
    parser.add_argument("--seconds", type=float, help="of a phase of the open loop; closed: half")
    parser.add_argument("--rounds", type=int, help="default: 3")
    parser.add_argument("--quick", action="store_true", help="one round of short phases: a look")
    parser.add_argument("--memories", type=int, default=_MEMORIES, help="of IBEX's agent")
    parser.add_argument(
        "--workers", type=int, help="processes of IBEX's proxy and of LiteLLM; Portkey has one"
    )
    parser.add_argument("--only", choices=[peer.name for peer in PEERS], help="one of them")
    parser.add_argument("--out", type=Path, help="the file for the result")
    return parser.parse_args()


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        run_and_exit(_compare(_options(), open_console()))
