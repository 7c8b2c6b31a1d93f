"""`ibex explain`: what was put into a request, why, and whether it still makes the same bytes."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ibex.explaining import ExplainedMemory, Explanation
from ibex.explaining import explain as explain_request
from ibex.settings import load_settings
from ibex.stores.identity import IdentityStore
from ibex.stores.injections import InjectionReader
from ibex.stores.postgres import Database

_SHOWN = 60  # characters of a memory in the table
_PARTS = ("relevance", "recency", "usefulness", "confidence", "access_frequency")


def explain(
    request_id: Annotated[str, typer.Argument(help="The x-request-id of the proxy's answer.")],
    org: Annotated[str, typer.Option(help="The organization's name.")] = "demo",
    json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Show what was put into a request and why, and render the same bytes again.

    Exits 1 when what the provider got cannot be rendered again, byte for byte.
    """
    explanation = asyncio.run(_explained(org, request_id))
    if json:
        from ibex.cli import print_json  # noqa: PLC0415 — cli imports this module

        print_json(explanation.as_dict())
    else:
        show(explanation, Console())
    if not explanation.identical:
        raise typer.Exit(1)


async def _explained(org: str, request_id: str) -> Explanation:
    database = await Database.connect(load_settings().app_dsn, name="explain", max_size=1)
    try:
        org_id = await IdentityStore(database).organization(org)
        return await explain_request(InjectionReader(database), org_id, request_id)
    finally:
        await database.close()


def show(explanation: Explanation, console: Console) -> None:
    record = explanation.record
    console.print(
        f"{record.request_id}: {len(record.memories)} memories, {record.tokens} tokens in "
        f"{len(record.insertions)} messages, session {record.session_id}",
        markup=False,
        highlight=False,
    )
    if record.degraded:
        console.print(f"Did not arrive in time: {', '.join(record.degraded)}.")
    if explanation.memories:
        table = Table("", "memory", "category", "score", box=None, padding=(0, 1))
        for part in _PARTS:
            table.add_column(part.split("_")[0][:6], justify="right")
        for name in ("tokens", "origin", "rests", "where", "now"):
            table.add_column(name)
        for memory in explanation.memories:
            table.add_row(*_row(memory))
        console.print(table)
    for number, insertion in enumerate(explanation.insertions):
        kind = "pinned block" if insertion.pinned else "insertion"
        console.rule(
            f"#{number} {kind} before message {insertion.position}, {insertion.tokens} tokens, "
            f"sha256 {insertion.sha256[:12]}: {insertion.outcome}",
            align="left",
        )
        if insertion.content is not None:
            console.print(insertion.content, markup=False, highlight=False)
    if not explanation.insertions:
        console.print("Nothing was inserted.")
    elif explanation.identical:
        console.print("The same bytes: every hash is the one that was recorded.")
    else:
        console.print("What the provider got cannot be rendered again in full.", style="red")


def _row(memory: ExplainedMemory) -> list[str]:
    text = memory.content if memory.content is not None else f"({memory.memory_id} is erased)"
    short = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
    where = f"#{memory.insertion}" if memory.decision == "kept" else f"dropped: {memory.reason}"
    return [
        "+" if memory.decision == "kept" else "-",
        short.replace("[", "\\["),
        memory.category,
        _figure(memory.score),
        *(_figure(memory.parts.get(part)) for part in _PARTS),
        "" if memory.tokens is None else str(memory.tokens),
        memory.origin,
        _figure(memory.support),
        where,
        memory.state,
    ]


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
