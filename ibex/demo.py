"""`ibex demo`: shows IBEX learning, on the real stack, and leaves it running."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ibex.provisioning import Provisioned, provision
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from ibex.walkthrough import Answer, Learned, Walkthrough

SAYINGS = (
    "My database host is db.smoketest.example.com. Please confirm you noted that.",
    "From now on, please answer in one sentence.",
)
QUESTION = "What database host should I use?"
DIRECTIVE = "You are the assistant of a small engineering team. Be precise about names."
_LIMIT = 180.0  # seconds: a real model may take its time
_SHOWN_HEADERS = ("x-request-id", "x-ibex-", "server-timing")


async def demo(settings: Settings, console: Console) -> None:
    """The stack is up. Raises WalkthroughError when the loop does not close."""
    database = await Database.connect(settings.app_dsn, name="demo")
    try:
        made = await provision(
            settings,
            IdentityStore(database),
            organization="demo",
            agent="demo-assistant",
            directive=DIRECTIVE,
        )
    finally:
        await database.close()
    _tell_model(settings, console)

    async with Walkthrough.open(settings, made.token, made.agent) as walk:
        console.rule("1. A conversation through the proxy", align="left")
        session_id = await walk.converse(SAYINGS, lambda *turn: _tell_turn(console, *turn))

        console.rule("2. The session ends; Dagster turns it into memories", align="left")
        completed = await walk.complete(session_id)
        with console.status("waiting for the sensor, the run and the write"):
            learned = await walk.wait_until_learned(session_id, completed, limit=_LIMIT)
        _tell_learned(console, learned)

        console.rule("3. A new session, a new question", align="left")
        answer = await walk.ask_remembering(
            QUESTION, lambda late: _tell_fallback(console, late.fallback_reason)
        )
        _tell_turn(console, QUESTION, answer)
        if answer.fell_back:
            _tell_fallback(console, answer.fallback_reason)
        else:
            _tell_injection(console, await walk.injection(answer.request_id))
        _tell_headers(console, answer)
    _tell_addresses(settings, console, made)


def _tell_model(settings: Settings, console: Console) -> None:
    if settings.uses_sandbox:
        console.print(
            "\nThe model is IBEX's [bold]sandbox[/]: a stand-in with plain rules, not a language "
            "model. Set OPENAI_API_KEY, or IBEX_PROVIDER_BASE_URL, for a real one."
        )
    else:
        console.print(
            f"\nThe model is [bold]{settings.default_model}[/] at {settings.provider_url}"
        )


def _tell_turn(console: Console, saying: str, answer: Answer) -> None:
    console.print(Text.assemble(("  user       ", "cyan"), saying))
    console.print(
        Text.assemble(
            ("  assistant  ", "green"), answer.text, (f"  {answer.seconds * 1000:.0f} ms", "dim")
        )
    )


def _tell_fallback(console: Console, reason: str) -> None:
    console.print(
        f"  This answer came without memories ({reason}): memory has 45 ms and never holds an "
        "answer up."
    )


def _tell_learned(console: Console, learned: Learned) -> None:
    if learned.memories:
        table = Table("category", "memory", "confidence", box=None, padding=(0, 2))
        for memory in learned.memories:
            content = Text(str(memory["content"]))
            table.add_row(memory["category"], content, f"{memory['confidence']:.2f}")
        console.print(table)
    else:
        console.print("  Nothing new: it was all known from an earlier demo.")
    console.print(f"  [bold]{learned.seconds:.1f} s[/] from the session's end to its memories")
    if learned.parts:
        parts = ", ".join(
            f"{name.removesuffix('_s')} {seconds:.1f}" for name, seconds in learned.parts.items()
        )
        console.print(f"  made of, in seconds: {parts}", style="dim")


def _tell_injection(console: Console, injection: Mapping[str, Any]) -> None:
    table = Table("score", "category", "memory", "tokens", box=None, padding=(0, 2))
    for memory in injection["memories"]:
        content = Text(str(memory["content"]))
        table.add_row(f"{memory['score']:.3f}", memory["category"], content, str(memory["tokens"]))
    console.print("  Memories in this request:")
    console.print(table)


def _tell_headers(console: Console, answer: Answer) -> None:
    console.print("  Response headers:")
    for name, value in answer.headers.items():
        if name.startswith(_SHOWN_HEADERS):
            console.print(Text(f"    {name}: {value}", style="dim"))


def _tell_addresses(settings: Settings, console: Console, made: Provisioned) -> None:
    addresses = Table(box=None, padding=(0, 2), show_header=False)
    for name, address in (
        ("proxy", f"{settings.proxy_endpoint}/v1"),
        ("API", f"{settings.api_endpoint}/docs"),
        ("Dagster", f"http://127.0.0.1:{settings.dagster_port}"),
        ("dashboard", f"http://127.0.0.1:{settings.dashboard_port}"),
    ):
        addresses.add_row(name, address)
    console.print()
    console.print(Panel(addresses, title="It runs", title_align="left", expand=False))
    token_file = settings.home / "demo.token"
    code = (
        "from openai import OpenAI\n"
        f'client = OpenAI(base_url="{settings.proxy_endpoint}/v1", '
        f'api_key=open("{token_file}").read().strip(), '
        f'default_headers={{"X-IBEX-Agent-ID": "{made.agent}"}})\n'
        f'print(client.chat.completions.create(model="{settings.default_model}", '
        f'messages=[{{"role": "user", "content": "{QUESTION}"}}]).choices[0].message.content)'
    )
    console.print("Use it with the openai client, in three lines (.venv/bin/python has it):\n")
    console.print(Text(code, style="bold"), soft_wrap=True)
    lines = (
        f"\nThe dashboard asks for the token in {token_file}",
        "\nWith a real model:  make down, then OPENAI_API_KEY=sk-… make demo",
        "or a local one:     IBEX_PROVIDER_BASE_URL=http://127.0.0.1:11434/v1 and the model's name",
        "                    in IBEX_DEFAULT_MODEL and IBEX_EXTRACTION_MODEL",
        "Stop everything:    make down   (or .venv/bin/ibex down; with --purge its data goes too)",
    )
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
