"""Asks the running proxy questions of a LoCoMo conversation that was imported, and shows what was
injected and whether the evidence was in it.

    python -m bench.locomo.convert locomo.json --out /tmp/c.jsonl --sample conv-42
    ibex import /tmp/c.jsonl --org locomo --create-agents       (ibex org create locomo, once)
    python -m bench.locomo.ask locomo.json --sample conv-42 --org locomo --questions 5

Each question is a session of its own that is never completed by hand. A look, not a benchmark: no
file is written, and the data set's licence forbids keeping its text here.
"""

import argparse
import asyncio
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ibex.provisioning import provision
from ibex.settings import load_settings
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from ibex.walkthrough import Walkthrough

_ADVERSARIAL = 5  # questions of this category have no answer in the conversation


async def ask(sample: dict[str, Any], org: str, count: int, console: Console) -> None:
    settings = load_settings()
    database = await Database.connect(settings.app_dsn, name="locomo")
    try:
        made = await provision(
            settings,
            IdentityStore(database),
            organization=org,
            agent=f"locomo-{sample['sample_id']}",
            directive="",
        )
    finally:
        await database.close()
    answerable = [qa for qa in sample["qa"] if qa["category"] != _ADVERSARIAL]
    step = max(1, len(answerable) // count)
    met = 0
    async with Walkthrough.open(settings, made.token, made.agent) as walk:
        for qa in answerable[::step][:count]:
            answer = await walk.ask([{"role": "user", "content": qa["question"]}])
            injected = [
                {**memory, **await walk.get(f"/memories/{memory['memory_id']}")}
                for memory in (await walk.injection(answer.request_id))["memories"]
            ]
            found = {said for memory in injected for said in memory["message_ids"]}
            evidence = set(qa["evidence"])
            met += bool(evidence & found)
            console.rule(Text(qa["question"]), align="left")
            console.print(Text(f"expected: {qa['answer']}   evidence: {sorted(evidence)}"))
            console.print(Text(f"answered: {answer.text}   (the sandbox only quotes)"))
            table = Table("score", "evidence", "messages", "memory", box=None, padding=(0, 2))
            for memory in injected[:10]:
                hit = "yes" if evidence & set(memory["message_ids"]) else ""
                said = " ".join(memory["message_ids"])
                table.add_row(f"{memory['score']:.3f}", hit, said, Text(str(memory["content"])))
            console.print(table)
            if len(injected) > 10:
                console.print(f"  and {len(injected) - 10} more", style="dim")
    console.print(f"\nevidence among the injected memories: {met} of {count} questions")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="the data set's JSON file")
    parser.add_argument("--sample", required=True, help="the conversation, e.g. conv-42")
    parser.add_argument("--org", default="locomo", help="the organization it was imported into")
    parser.add_argument("--questions", type=int, default=5, help="how many, spread over the list")
    options = parser.parse_args()
    for sample in orjson.loads(options.data.read_bytes()):
        if sample["sample_id"] == options.sample:
            asyncio.run(ask(sample, options.org, options.questions, Console()))
            return
    parser.error(f"there is no {options.sample} in {options.data}")


if __name__ == "__main__":
    main()
