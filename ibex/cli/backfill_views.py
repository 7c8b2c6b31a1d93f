"""What `ibex backfill` prints: as tables, and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

if TYPE_CHECKING:
    from ibex.backfills.model import Backfill, Difference, ShownChange


def show_list(found: Sequence["Backfill"]) -> None:
    table = Table(
        Column("id", no_wrap=True, min_width=36),
        *("state", "sessions", "agent", "prompt", "model"),
        box=None,
        padding=(0, 1),
    )
    for one in found:
        done = f"{one.done + one.dead:,}/{one.sessions:,}"
        wish = one.wish
        table.add_row(
            str(one.id),
            state_of(one),
            done,
            Text(one.agent or "all"),
            wish.prompt,
            Text(wish.model),
        )
    Console().print(table)


def state_of(one: "Backfill") -> str:
    return f"{one.status} ({one.last_error})" if one.last_error else one.status.value


def as_dict(one: "Backfill") -> dict[str, Any]:
    wish = one.wish
    return {
        "id": one.id,
        "status": one.status.value,
        "last_error": one.last_error,
        "agent": one.agent,
        "since": wish.since,
        "until": wish.until,
        "prompt": wish.prompt,
        "prompt_version": wish.prompt_version,
        "model": wish.model,
        "sessions": one.sessions,
        "done": one.done,
        "dead": one.dead,
        "switched": one.switched,
        "prompt_tokens": one.prompt_tokens,
        "completion_tokens": one.completion_tokens,
        "cost_usd": one.cost_usd,
        "seconds": round(one.seconds, 3),
        "created_at": one.created_at,
        "compared_at": one.compared_at,
        "switched_at": one.switched_at,
        "revert_until": one.revert_until,
    }


def difference_of(difference: "Difference", found: "Backfill") -> dict[str, Any]:
    return {
        "agents": [
            {
                "agent": one.agent,
                "added": one.added,
                "gone": one.gone,
                "changed": one.changed,
                "quarantined": one.quarantined,
            }
            for one in difference.agents
        ],
        "unchanged": found.unchanged,
        "before": difference.before.summary(),
        "after": difference.after.summary(),
        "spent_before": asdict(difference.spent_before),
        "errors": dict(difference.errors),
    }


def change_of(one: "ShownChange") -> dict[str, Any]:
    change = one.change
    return {
        "kind": change.kind.value,
        "differs": list(change.differs),
        "agent": one.agent,
        "user": one.user,
        "memory_id": change.memory_id,
        "before": one.before,
        "after": change.content,
        "category": change.category,
        "status": change.status,
        "session_id": change.session_id,
        "valid_from": change.valid_from,
        "valid_to": change.valid_to,
    }


def show_backfill(found: "Backfill", difference: "Difference") -> None:
    wish, console = found.wish, Console()
    span = f"{wish.since:%Y-%m-%d %H:%M}" + (
        f" to {wish.until:%Y-%m-%d %H:%M}" if wish.until else ""
    )
    rows = [
        ("backfill", str(found.id)),
        ("state", state_of(found)),
        ("sessions", f"{found.done:,} of {found.sessions:,} read, {found.dead:,} not readable"),
        ("began", span),
        ("agent", found.agent or "all"),
        ("prompt", f"{wish.prompt} ({wish.prompt_version})"),
        ("model", wish.model),
        ("tokens", f"{found.prompt_tokens:,} in, {found.completion_tokens:,} out"),
    ]
    if found.revert_until:
        rows.append(("revertible", f"until {found.revert_until:%Y-%m-%d %H:%M} UTC"))
    for code, count in difference.errors.items():
        rows.append(("failed", f"{count:,} sessions: {code}"))
    table = Table(show_header=False, box=None, padding=(0, 2))
    for name, value in rows:
        table.add_row(name, Text(value))
    console.print(table)
    if found.compared_at:
        show_difference(found, difference)


def show_difference(found: "Backfill", difference: "Difference", *, whole: bool = True) -> None:
    console = Console()
    table = Table("agent", "added", "gone", "changed", "to review", box=None, padding=(0, 2))
    for one in difference.agents:
        table.add_row(
            Text(one.agent),
            *(f"{n:,}" for n in (one.added, one.gone, one.changed, one.quarantined)),
        )
    console.print(table if difference.agents else "Switching changes nothing.")
    if whole:
        console.print(f"{found.unchanged:,} memories stay as they are.")
    quality = Table("of the same sessions", "before", "after", box=None, padding=(0, 2))
    sides = difference.before, difference.after
    quality.add_row("statements", *(f"{one.statements:,}" for one in sides))
    quality.add_row("junk", *(f"{one.junk_share:.1%}" for one in sides))
    quality.add_row("duplicates", *(f"{one.duplicate_share:.1%}" for one in sides))
    quality.add_row("words that were said", *(f"{one.grounded_share:.1%}" for one in sides))
    spent = difference.spent_before, found
    quality.add_row("tokens", *(f"{one.prompt_tokens + one.completion_tokens:,}" for one in spent))
    costs = (one.cost_usd for one in spent)
    quality.add_row("cost", *("-" if cost is None else f"${cost:,.4f}" for cost in costs))
    console.print(quality)


def show_samples(samples: list["ShownChange"]) -> None:
    if not samples:
        return
    table = Table("", "agent", "user", "before", "after", box=None, padding=(0, 2))
    for one in samples:
        what = one.change.kind.value
        if one.change.differs:
            what += f" ({', '.join(one.change.differs)})"
        said = (Text(_plain(text or "")) for text in (one.before, one.change.content))
        table.add_row(what, Text(one.agent), Text(one.user or "-"), *said)
    Console().print(table)


def _plain(text: str) -> str:
    """What a memory says is no markup, and no control sequence for the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
