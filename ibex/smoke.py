"""`ibex smoke`: the promise of IBEX, checked on a running stack. Ends with one line of JSON.

A ten-turn session states facts, is completed and learned; a new session asks for one of them. The
agent is new each time, so that what is found was learned in this very run.
"""

from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from ibex.ids import new_id
from ibex.provisioning import provision
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from ibex.walkthrough import Answer, Walkthrough, WalkthroughError

ORGANIZATION = "smoke"
HOST = "db.smoketest.example.com"
LIMIT = 90.0  # seconds until a session must be learned, with a real model's own time
SAYINGS = (
    f"My database host is {HOST}. Please confirm you noted that.",
    "We deploy on Fridays at 16:00 UTC.",
    "Our staging cluster runs in Frankfurt.",
    "From now on, please answer in short sentences.",
    "I moved from Lisbon to Porto last month.",
    "The on-call engineer this week is Priya.",
    "My team uses Terraform for all infrastructure.",
    "The billing service listens on port 8443.",
    "We decided yesterday to drop support for Python 3.9.",
    "Our release branch is called stable/2026.",
)
QUESTION = "What database host should I use?"
DIRECTIVE = "You are the assistant of a small engineering team."


@dataclass(frozen=True)
class SmokeResult:
    session_to_memory_s: float
    memories: int
    injected: int
    fallback: bool
    answered: bool  # the answer names the host
    turns: int
    model: str
    parts: dict[str, float]

    @property
    def passed(self) -> bool:
        return self.memories > 0 and self.injected > 0 and not self.fallback and self.answered

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"passed": self.passed}


async def smoke(settings: Settings, console: Console) -> SmokeResult:
    """Raises WalkthroughError when a step fails, and other IbexErrors when a part is down."""
    database = await Database.connect(settings.app_dsn, name="smoke")
    try:
        made = await provision(
            settings,
            IdentityStore(database),
            organization=ORGANIZATION,
            agent=f"smoke-{new_id()}",
            directive=DIRECTIVE,
        )
    finally:
        await database.close()

    async with Walkthrough.open(settings, made.token, made.agent) as walk:

        def tell(_saying: str, answer: Answer) -> None:
            console.print(f"  turn answered in {answer.seconds * 1000:.0f} ms", style="dim")

        console.print(f"1. A session of {len(SAYINGS)} turns")
        session_id = await walk.converse(SAYINGS, tell)
        console.print("2. The session is completed; waiting for its memories")
        completed = await walk.complete(session_id)
        learned = await walk.wait_until_learned(session_id, completed, limit=LIMIT)
        console.print(f"  {len(learned.memories)} memories after {learned.seconds:.1f} s")
        console.print("3. A new session asks")
        answer = await walk.ask_remembering(
            QUESTION, lambda late: console.print(f"  without memories: {late.fallback_reason}")
        )
        if answer.session_id == session_id:
            raise WalkthroughError("The second conversation landed in the first one's session.")
        console.print(f"  {answer.memories_injected} memories injected")
    return SmokeResult(
        session_to_memory_s=round(learned.seconds, 2),
        memories=len(learned.memories),
        injected=answer.memories_injected,
        fallback=answer.fell_back,
        answered=HOST in answer.text,
        turns=len(SAYINGS),
        model="ibex-sandbox" if settings.uses_sandbox else settings.default_model,
        parts=dict(learned.parts),
    )
