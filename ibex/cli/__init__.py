"""`ibex`: the stack, the demo, the database. Every other group of commands has a module of its
name here."""

import asyncio
import sys
from typing import Annotated

import orjson
import typer
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from ibex.cli.admin import directive_app, org_app, token_app
from ibex.cli.agents import agent_app
from ibex.cli.backfill import backfill_app
from ibex.cli.checks import checks
from ibex.cli.embeddings import embeddings_app
from ibex.cli.explain import explain
from ibex.cli.export import export_app
from ibex.cli.importing import import_app
from ibex.cli.lake import lake_app
from ibex.cli.lake_tables import lake_compact, lake_refresh, lake_status
from ibex.cli.limits import agent_limits, org_limits, token_limits
from ibex.cli.lineage import lineage
from ibex.cli.memory import memory_app
from ibex.cli.pipeline import pipeline_app
from ibex.cli.retention import agent_retention, org_retention
from ibex.cli.sql import sql
from ibex.cli.vectors import vectors_app
from ibex.errors import IbexError
from ibex.settings import Settings, load_settings

app = typer.Typer(
    name="ibex",
    help="The proxy that learns: an OpenAI-compatible LLM proxy that remembers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
db_app = typer.Typer(help="The database's schema.", no_args_is_help=True)
app.add_typer(db_app, name="db")
app.add_typer(org_app, name="org")
app.add_typer(agent_app, name="agent")
app.add_typer(token_app, name="token")
app.add_typer(directive_app, name="directive")
app.add_typer(embeddings_app, name="embeddings")
app.add_typer(memory_app, name="memory")
app.add_typer(export_app, name="export")
app.add_typer(pipeline_app, name="pipeline")
app.add_typer(vectors_app, name="vectors")
app.add_typer(backfill_app, name="backfill")
app.add_typer(import_app, name="import")
app.add_typer(lake_app, name="lake")
app.command()(explain)
app.command()(sql)
app.command()(lineage)
app.command()(checks)
lake_app.command("status")(lake_status)
lake_app.command("refresh")(lake_refresh)
lake_app.command("compact")(lake_compact)
org_app.command("limits")(org_limits)
agent_app.command("limits")(agent_limits)
token_app.command("limits")(token_limits)
org_app.command("retention")(org_retention)
agent_app.command("retention")(agent_retention)

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
console = Console(stderr=True)


def main() -> None:
    try:
        app()
    except IbexError as error:
        Console(stderr=True).print(
            f"ibex: {error.message} {error.advice}", style="red", markup=False
        )
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


@app.command()
def up() -> None:
    """Start the whole stack and wait until every part is ready. Harmless when it runs."""
    from ibex.embedded import lifecycle  # noqa: PLC0415 — starts fast for the other commands

    asyncio.run(lifecycle.up(load_settings(), Console()))


@app.command()
def down(
    purge: Annotated[bool, typer.Option(help="Delete the stack's data, logs and secrets.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Stop everything that 'ibex up' started."""
    from ibex.embedded import lifecycle  # noqa: PLC0415

    settings = load_settings()
    if purge and not yes:
        typer.confirm(f"Delete everything under {settings.home}?", abort=True)
    asyncio.run(lifecycle.down(settings, Console(), purge=purge))


@app.command()
def status(json: Json = False) -> None:
    """Show every process, its address and its health. Exits 1 when something is not ready."""
    from ibex.embedded import lifecycle  # noqa: PLC0415

    settings = load_settings()
    processes = asyncio.run(lifecycle.status(settings))
    if json:
        print_json([process.as_dict() for process in processes])
    else:
        Console().print(lifecycle.render_status(processes))
    if not processes or not all(process.ready for process in processes):
        raise typer.Exit(1)


@app.command()
def logs(
    name: Annotated[str | None, typer.Argument(help="A process; all without.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Last lines of each.")] = 20,
) -> None:
    """Print the logs."""
    from ibex.embedded import lifecycle  # noqa: PLC0415

    lifecycle.follow_logs(load_settings(), name, follow=follow, lines=lines)


@app.command()
def demo() -> None:
    """Start everything, hold a conversation, watch it become memories, see them come back."""
    from ibex.demo import demo as run_demo  # noqa: PLC0415

    settings = _up()
    asyncio.run(run_demo(settings, Console()))


@app.command()
def smoke() -> None:
    """End to end on the real stack (started when it is down); the last line is JSON."""
    from ibex.smoke import smoke as run_smoke  # noqa: PLC0415

    settings = _up()
    result = asyncio.run(run_smoke(settings, console))
    print_json(result.as_dict(), indent=False)
    if not result.passed:
        raise typer.Exit(1)


def _up() -> Settings:
    from ibex.embedded import lifecycle  # noqa: PLC0415

    return asyncio.run(lifecycle.up(load_settings(), console))


@db_app.command("migrate")
def db_migrate(
    revision: Annotated[str, typer.Option(help="The revision to reach.")] = "head",
) -> None:
    """Prepare the database (roles, extension) and apply the migrations."""
    from ibex.stores.migrate import migrate  # noqa: PLC0415

    asyncio.run(migrate(load_settings(), revision))
    console.print(f"The schema is at {revision}.")


@db_app.command("downgrade")
def db_downgrade(revision: Annotated[str, typer.Argument(help="e.g. 0001, or base.")]) -> None:
    """Take migrations back. What their tables hold is lost."""
    from ibex.stores.migrate import downgrade  # noqa: PLC0415

    downgrade(load_settings(), revision)
    console.print(f"The schema is at {revision}.")


@db_app.command("check")
def db_check() -> None:
    """Fail when the models and the database differ."""
    from ibex.stores.migrate import check  # noqa: PLC0415

    check(load_settings())
    console.print("The models and the database agree.")


@app.command("settings")
def show_settings(json: Json = False) -> None:
    """Show every setting as it is in force; secrets are masked."""
    settings = load_settings()
    shown = {
        f"IBEX_{name.upper()}": "********" if isinstance(value, SecretStr) and value else value
        for name in Settings.model_fields
        for value in (getattr(settings, name),)
    }
    if json:
        print_json({name: value if value is None else str(value) for name, value in shown.items()})
        return
    table = Table("setting", "value", "what it is", box=None, padding=(0, 2))
    for (name, value), field in zip(shown.items(), Settings.model_fields.values(), strict=True):
        table.add_row(name, "" if value is None else str(value), field.description or "")
    Console().print(table)


def print_json(value: object, *, indent: bool = True) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else 0).decode())
    sys.stdout.write("\n")
    sys.stdout.flush()
