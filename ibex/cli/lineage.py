"""`ibex lineage`: where a memory, a request or a session comes from, and where it went."""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import orjson
import typer
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from ibex.cli.admin import Json, Org
from ibex.settings import load_settings
from ibex.stores.identity import IdentityStore
from ibex.stores.lineage import Archive, Lineage, LineageReader, Memory, Session, Use
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database

_SHOWN = 80  # characters of a memory


def lineage(
    id: Annotated[  # noqa: A002 — the argument's name
        str, typer.Argument(help="Of a memory, a request (x-request-id) or a session.")
    ],
    org: Org = "demo",
    requests: Annotated[
        int,
        typer.Option(
            min=1, max=10_000, help="Requests shown at most, those of the newest sessions."
        ),
    ] = 50,
    content: Annotated[bool, typer.Option(help="Show what memories say.")] = True,
    archive_urls: Annotated[
        bool, typer.Option("--archive-urls", help="Sign a URL of each archive, for 15 minutes.")
    ] = False,
    json: Json = False,
) -> None:
    """Show where a memory comes from (versions, runs, prompts, models, sessions, turns, archives)
    and every request that was given it; of a request all its memories, of a session all that were
    made from it."""
    found, urls = asyncio.run(_read(org, id, requests, archive_urls=archive_urls))
    if json:
        values = _values(found, urls, content=content)
        sys.stdout.write(orjson.dumps(values, default=str, option=orjson.OPT_INDENT_2).decode())
        sys.stdout.write("\n")
    else:
        Console().print(tree_of(found, urls, content=content))


async def _read(
    org: str, name: str, requests: int, *, archive_urls: bool
) -> tuple[Lineage, Mapping[UUID, str]]:
    settings = load_settings()
    database = await Database.connect(settings.app_dsn, name="cli", max_size=1)
    try:
        org_id = await IdentityStore(database).organization(org)
        found = await LineageReader(database).of(org_id, name, limit=requests)
    finally:
        await database.close()
    urls: dict[UUID, str] = {}
    if archive_urls:
        objects = ObjectStore(settings)
        for session in found.sessions:
            if session.archive is not None:
                file = session.archive
                urls[session.id] = await objects.presign(file.bucket, file.key)
        await objects.close()
    return found, urls


def _values(found: Lineage, urls: Mapping[UUID, str], *, content: bool) -> dict[str, object]:
    values = asdict(found)
    for session in values["sessions"]:
        if session["archive"] is not None:
            session["archive"]["url"] = urls.get(session["id"])
    if not content:
        for memory in values["memories"]:
            for part in (memory, *memory["statements"], *memory["versions"]):
                part["content"] = None
    return values


def tree_of(found: Lineage, urls: Mapping[UUID, str], *, content: bool) -> Tree:
    """For a terminal: nothing in it is markup, or a control sequence."""
    root = Tree(_plain(f"{found.kind} {found.id}", style="bold"))
    given = {one.memory_id: one for use in found.requests for one in use.memories}
    memories = root.add(f"memories: {len(found.memories)}")
    for memory in found.memories:
        branch = memories.add(_memory_line(memory))
        if found.kind == "request" and memory.id in given:
            one = given[memory.id]
            branch.add(f"given as version {one.version}{_support(one.support)}")
        _add_origin(branch, memory, content=content)
        for edge in found.edges:
            if edge.from_memory_id == memory.id:
                branch.add(f"{edge.kind} {edge.to_memory_id}")
            elif edge.to_memory_id == memory.id:
                branch.add(f"{edge.kind} by {edge.from_memory_id}")
    for gone in found.gone:
        memories.add(f"{gone}: deleted since")
    if found.more_memories:
        memories.add("…")
    sessions = root.add(f"sessions: {len(found.sessions)}")
    for session in found.sessions:
        _add_session(sessions, session, urls.get(session.id))
    requests = root.add(f"requests: {len(found.requests)}")
    for use in found.requests:
        requests.add(_use_line(use))
    if found.more_requests:
        requests.add("… (--requests shows more)")
    return root


def _memory_line(memory: Memory) -> Text:
    owner = f", user {memory.user}" if memory.user else ""
    ended = f", until {memory.valid_to:%Y-%m-%d}" if memory.valid_to else ""
    return _plain(
        f"{memory.id} {memory.category}, {memory.status}, version {memory.version}, agent "
        f"{memory.agent}{owner}, since {memory.valid_from:%Y-%m-%d}{ended}"
    )


def _add_origin(branch: Tree, memory: Memory, *, content: bool) -> None:
    if content:
        text = memory.content
        branch.add(_plain(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…", style="dim"))
    for said in memory.statements:
        where = f"session {said.session_id}" if said.session_id else "no session"
        turns = f", turns {', '.join(map(str, said.turns))}" if said.turns else ""
        branch.add(
            _plain(
                f"said by {said.source} in {where}{turns}: {said.extractor}, prompt "
                f"{said.prompt_version}, model {said.model}, run {said.run_id or '-'}"
            )
        )
    for version in memory.versions:
        branch.add(
            f"version {version.version} {version.change} {version.created_at:%Y-%m-%d %H:%M:%S}, "
            f"run {version.run_id or '-'}"
        )


def _add_session(branch: Tree, session: Session, url: str | None) -> None:
    name = f" ({session.external_id})" if session.external_id else ""
    own = branch.add(
        _plain(
            f"{session.id}{name} {session.status}; turns: {session.turn_count}, extracted through "
            f"{session.last_extracted_turn}, archived through {session.archived_turn}"
        )
    )
    if session.archive is not None:
        own.add(_plain(_archive_line(session.archive)))
    if url is not None:
        own.add(_plain(url))


def _archive_line(file: Archive) -> str:
    return (
        f"{file.bucket}/{file.key} {file.size:,} bytes, {file.rows} turns, sha256 {file.sha256}, "
        f"schema {file.schema_version}"
    )


def _use_line(use: Use) -> Text:
    turn = f" turn {use.turn}" if use.turn else ""
    shown = ", ".join(
        f"{one.memory_id} v{one.version}{_support(one.support)}" for one in use.memories
    )
    return _plain(
        f"{use.request_id} {use.created_at:%Y-%m-%d %H:%M:%S} session {use.session_id}{turn}: "
        f"{shown}"
    )


def _support(support: float | None) -> str:
    return "" if support is None else f" (the answer rests on it: {support:.2f})"


def _plain(text: str, style: str = "") -> Text:
    return Text("".join(one if one.isprintable() else " " for one in text), style=style)
