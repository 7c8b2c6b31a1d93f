"""`ibex vectors …`: snapshots of the memories, and what compares many memories with many."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ibex.cli.admin import Json, Org
from ibex.cli.vectors_tools import (
    Tools,
    figure,
    id_of,
    line,
    run_command,
    show,
    show_snapshots,
    tell,
    whole,
    write_json,
)
from ibex.embedding import EmbedderClient
from ibex.errors import InvalidRequestError, NotFoundError
from ibex.ids import parse_id
from ibex.vectors.searching import search
from ibex.vectors.snapshots import Erasure, Snapshot

if TYPE_CHECKING:
    from ibex.vectors.comparing import Group, Memories

vectors_app = typer.Typer(
    help="Daily snapshots of the memories: as of a day, duplicates, clusters, drift.",
    no_args_is_help=True,
)

_EMBED_LIMIT = 30.0  # seconds

Day = Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="A day, UTC.")]
OfDay = Annotated[
    datetime | None,
    typer.Option("--as-of", formats=["%Y-%m-%d"], help="By the newest snapshot until this day."),
]
SomeAgent = Annotated[str | None, typer.Option(help="Of this agent only; its name or id.")]
Model = Annotated[str | None, typer.Option(help="An embedding model; default: the one served.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="How many are shown.")]
Samples = Annotated[bool, typer.Option("--samples", help="Show what the memories say, too.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@vectors_app.command("snapshot")
def snapshot(
    org: Org = "demo",
    again: Annotated[bool, typer.Option("--again", help="Anew, when today's is there.")] = False,
    json: Json = False,
) -> None:
    """Make today's snapshot unless it is there; the schedule does so every night."""

    async def work(tools: "Tools") -> Snapshot | None:
        return await tools.snapshots.take(tools.org_id, datetime.now(UTC), again=again)

    made = run_command(org, json, "storing all memories", work)
    if made is None and not json:
        print("There is no memory yet.")
        return
    show_snapshots([made] if made else [], json)


@vectors_app.command("snapshots")
def snapshots(org: Org = "demo", json: Json = False) -> None:
    """List the snapshots there are."""
    show_snapshots(
        run_command(org, json, "", lambda tools: tools.snapshots.all(tools.org_id)), json
    )


@vectors_app.command("drop")
def drop(day: Day, org: Org = "demo", yes: Yes = False, json: Json = False) -> None:
    """Delete one day's snapshot."""
    if not yes:
        typer.confirm(f"Delete the snapshot of {day:%Y-%m-%d}?", abort=True)
    run_command(org, json, "deleting", lambda tools: tools.snapshots.drop(tools.org_id, day.date()))
    tell({"dropped": f"{day:%Y-%m-%d}"}, json)


@vectors_app.command("erase")
def erase(
    org: Org = "demo",
    memory: Annotated[list[str] | None, typer.Option(help="A memory's id; repeat.")] = None,
    session: Annotated[str | None, typer.Option(help="What a session taught; its id.")] = None,
    user: Annotated[
        str | None, typer.Option(help="A user's; the application's id or ours.")
    ] = None,
    agent: Annotated[str | None, typer.Option(help="An agent's; its name or id.")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="All snapshots.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Take memories out of every snapshot, whose files are written anew without them. First delete
    them in PostgreSQL, or the next snapshot has them again."""
    if sum(map(bool, (memory, session, user, agent, everything))) != 1:
        raise InvalidRequestError(
            "One of --memory, --session, --user, --agent and --everything says what."
        )
    if not yes:
        typer.confirm("Erase this from every snapshot?", abort=True)

    async def work(tools: "Tools") -> dict[str, Any]:
        if everything:
            return {"dropped": await tools.snapshots.erase_all(tools.org_id)}
        if memory:
            what = Erasure("memory_id", tuple(str(id_of(one)) for one in memory))
        elif session:
            what = Erasure("session_id", (str(id_of(session)),))
        elif user:
            what = Erasure("user_id", (str(parse_id(user) or await tools.user(user)),))
        else:
            what = Erasure("agent_id", (str(parse_id(agent or "") or await tools.agent(agent)),))
        erased = await tools.snapshots.erase(tools.org_id, what, tools.watch)
        return {
            "snapshots": len(erased),
            "rows": sum(one.before - one.after for one in erased),
            "days": [one.day.isoformat() for one in erased],
        }

    tell(run_command(org, json, "erasing", work), json)


@vectors_app.command("search")
def search_as_of(
    question: Annotated[str, typer.Argument(help="What is looked for.")],
    agent: Annotated[str, typer.Option(help="The agent's name or id.")],
    day: OfDay = None,
    org: Org = "demo",
    user: Annotated[
        str | None, typer.Option(help="Of this user, too; the application's id.")
    ] = None,
    limit: Limit = 10,
    json: Json = False,
) -> None:
    """Search as of a day: what recall could have found then, nearest first. Of the agent's own
    memories and of one user's at most; never what was quarantined or had ended."""

    async def work(tools: "Tools") -> dict[str, Any]:
        settings = tools.settings
        agent_id = await tools.agent(agent)
        user_id = await tools.user(user) if user else None
        chosen = await tools.of_day(day)
        embedder = EmbedderClient(
            settings.embedder_endpoint, timeout=_EMBED_LIMIT, model=settings.embedding_model
        )
        try:
            (vector,) = await embedder.embed([question])
        finally:
            await embedder.close()
        async with tools.snapshots.fetched(tools.org_id, chosen.day, tools.watch) as table:
            found = await search(
                table, chosen, agent_id, user_id, vector, settings.embedding_model, limit
            )
        return {"snapshot": chosen.day, "found": [asdict(one) for one in found]}

    done = run_command(org, json, "reading the snapshot", work)
    if json:
        write_json(done)
        return
    table = Table(whole("memory"), "since", whole("cosine"), "", box=None, padding=(0, 2))
    for one in done["found"]:
        said = line(one["content"])
        table.add_row(
            one["memory_id"], f"{one['valid_from']:%Y-%m-%d}", f"{one['similarity']:.3f}", said
        )
    show(f"By the snapshot of {done['snapshot']}.", table)


@vectors_app.command("duplicates")
def duplicates(
    day: OfDay = None,
    org: Org = "demo",
    agent: SomeAgent = None,
    model: Model = None,
    threshold: Annotated[float, typer.Option(min=0.5, max=1, help="Least cosine.")] = 0.92,
    limit: Limit = 20,
    samples: Samples = False,
    json: Json = False,
) -> None:
    """Find groups of memories that say nearly the same, across agents and users."""
    from ibex.vectors.comparing import duplicates as found  # noqa: PLC0415

    _groups(
        org, agent, model, day, limit, json, samples, lambda memories: found(memories, threshold)
    )


@vectors_app.command("clusters")
def clusters(
    day: OfDay = None,
    org: Org = "demo",
    agent: SomeAgent = None,
    model: Model = None,
    count: Annotated[
        int | None, typer.Option(min=1, max=500, help="Default: by how many there are, at most 50.")
    ] = None,
    limit: Limit = 50,
    samples: Samples = False,
    json: Json = False,
) -> None:
    """Sort the memories by what they are about, across agents."""
    from ibex.vectors.comparing import clusters as found  # noqa: PLC0415

    _groups(org, agent, model, day, limit, json, samples, lambda memories: found(memories, count))


@vectors_app.command("drift")
def drift(
    since: Day,
    until: Day,
    org: Org = "demo",
    agent: SomeAgent = None,
    model: Model = None,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """Compare two days by agent: what was added, has gone and changed, and how far it moved."""
    from ibex.vectors.comparing import drift as compared  # noqa: PLC0415

    async def work(tools: "Tools") -> dict[str, Any]:
        first, first_day = await tools.memories(since, agent, model)
        second, second_day = await tools.memories(until, agent, model)
        rows = compared(first, second)[:limit]
        names = await tools.names()
        return {
            "from": first_day,
            "to": second_day,
            "sampled": min(first.share, second.share) < 1,
            "agents": [asdict(one) | {"agent": names.get(one.agent_id)} for one in rows],
        }

    done = run_command(org, json, "reading the snapshots", work)
    if json:
        write_json(done)
        return
    columns = ("before", "after", "added", "gone", "changed", "moved", "new")
    table = Table("agent", *columns, box=None, padding=(0, 2))
    for one in done["agents"]:
        values = (one[name] for name in columns)
        table.add_row(one["agent"] or one["agent_id"], *map(figure, values))
    show(f"From {done['from']} to {done['to']}.", table, sampled=done["sampled"])


@vectors_app.command("compare-models")
def compare_models(
    first: Annotated[str, typer.Argument(help="An embedding model.")],
    second: Annotated[
        str, typer.Argument(help="Another one; 'ibex embeddings backfill' makes it.")
    ],
    day: OfDay = None,
    org: Org = "demo",
    agent: SomeAgent = None,
    json: Json = False,
) -> None:
    """Find out how far two embedding models find the same."""
    from ibex.vectors.comparing import agreement  # noqa: PLC0415

    async def work(tools: "Tools") -> dict[str, Any]:
        one, of_day = await tools.memories(day, agent, first)
        other, _ = await tools.memories(day, agent, second)
        for model, found in ((first, one), (second, other)):
            if not len(found):
                raise NotFoundError(
                    f"The snapshot of {of_day} has no vectors of {model}.",
                    hint="'ibex embeddings backfill' makes them; the next snapshot has them.",
                )
        return {"snapshot": of_day, "models": [first, second], **asdict(agreement(one, other))}

    tell(run_command(org, json, "reading the snapshot", work), json)


def _groups(
    org: str,
    agent: str | None,
    model: str | None,
    day: datetime | None,
    limit: int,
    json: bool,
    samples: bool,
    find: "Callable[[Memories], list[Group]]",
) -> None:
    async def work(tools: Tools) -> dict[str, Any]:
        memories, of_day = await tools.memories(day, agent, model)
        groups = await asyncio.to_thread(find, memories)
        listed = [asdict(one) for one in groups[:limit]]
        for one in listed:
            if not samples:
                del one["contents"]
        return {
            "snapshot": of_day,
            "memories": memories.of,
            "compared": len(memories),
            "groups": len(groups),
            "listed": listed,
        }

    done = run_command(org, json, "reading the snapshot", work)
    if json:
        write_json(done)
        return
    columns = ("size", "agents", "users", "nearness", "typical")
    table = Table(*map(whole, columns), box=None, padding=(0, 2))
    for one in done["listed"]:
        figures = (one["size"], one["agents"], one["users"], one["nearness"])
        table.add_row(*map(figure, figures), one["typical"])
        for content in one.get("contents", ())[:3]:
            table.add_row("", "", "", "", line(content))
    title = f"{done['groups']} groups in the snapshot of {done['snapshot']}."
    show(title, table, sampled=done["compared"] < done["memories"])
