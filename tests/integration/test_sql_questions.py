"""The questions of docs/sql.md on a lake whose answers are known."""

import asyncio
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import ibex.lake
from ibex.settings import Settings
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from tests.lake_rows import add_rows

PAGE = Path(__file__).parents[2] / "docs" / "sql.md"
QUESTIONS = re.findall(
    r"^### (\d+)\..*?```sql\n(.*?)```", PAGE.read_text(), re.MULTILINE | re.DOTALL
)
MONDAY = date(2026, 3, 2)
TUESDAY = date(2026, 3, 10)
USED, UNUSED = (f"01890000-0000-7000-8000-00000000000{one}" for one in (1, 2))


def at(day: date, hour: int) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def usage(day: date, model: str, requests: int, errors: int, cost: float | None) -> dict[str, Any]:
    return {
        "date": day,
        "agent": "clerk",
        "provider": "default",
        "model": model,
        "requests": requests,
        "errors": errors,
        "prompt_tokens": 100 * requests,
        "completion_tokens": 10 * requests,
        "p95_ms": 900.0,
        "cost_usd": cost,
    }


def memory(memory_id: str, content: str, redactions: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "date": MONDAY,
        "memory_id": memory_id,
        "agent": "clerk",
        "category": "declarative",
        "subject": "database",
        "attribute": "host" if memory_id == USED else "port",
        "content": content,
        "status": "active",
        "redactions": redactions,
        "created_at": at(MONDAY, 9),
    }


def version(number: int, change: str, content: str) -> dict[str, Any]:
    day = MONDAY + timedelta(days=number)
    row = {"date": day, "memory_id": USED, "version": number, "change": change, "content": content}
    return {**row, "created_at": at(day, 9)}


def given(request_id: str, score: float, support: float | None) -> dict[str, Any]:
    return {
        "date": MONDAY,
        "request_id": request_id,
        "session_id": "s-1",
        "memory_id": USED,
        "score": score,
        "support": support,
    }


def trace(request_id: str, total: float) -> dict[str, Any]:
    return {
        "date": MONDAY,
        "request_id": request_id,
        "agent": "clerk",
        "model": "small",
        "status": 200,
        "started_at": at(MONDAY, 10),
        "total_ms": total,
        "upstream_ms": total - 10,
        "context_ms": 4.25,
    }


ROWS: dict[str, list[dict[str, Any]]] = {
    "usage": [
        usage(MONDAY, "small", 100, 5, 0.5),
        usage(MONDAY + timedelta(days=1), "small", 100, 0, 0.5),
        usage(TUESDAY, "large", 10, 1, None),
    ],
    "sessions": [
        {
            "date": MONDAY,
            "session_id": name,
            "agent": "clerk",
            "end_user": "ann",
            "started_at": at(MONDAY, 8),
        }
        for name in ("s-1", "s-2")
    ],
    "memories": [
        memory(USED, "The database host is b.", [{"kind": "EMAIL", "count": 2}]),
        memory(
            UNUSED,
            "The database port is 1.",
            [{"kind": "EMAIL", "count": 1}, {"kind": "PHONE", "count": 1}],
        ),
    ],
    "memory_versions": [
        version(1, "created", "The database host is a."),
        version(2, "edited", "The database host is b."),
    ],
    "injections": [given("r-1", 0.5, 0.9), given("r-2", 0.7, 0.7), given("r-3", 0.6, None)],
    "traces": [trace("r-1", 700.0), trace("r-2", 1900.4)],
    "turns": [
        {
            "date": day,
            "session_id": "s-1",
            "agent": "clerk",
            "end_user": "ann",
            "said": said,
            "answer": "Of course.",
            "started_at": at(day, 11),
        }
        for day, said in (
            (MONDAY, "I want a REFUND."),
            (MONDAY, "Hello."),
            (date(2026, 5, 1), "A refund, please."),
        )
    ],
}

ANSWERS: dict[str, list[tuple[Any, ...]]] = {
    "1": [(MONDAY, "small", 20_000, 2_000), (date(2026, 3, 9), "large", 1_000, 100)],
    "2": [("s-1", "clerk", "ann", at(MONDAY, 8), 3, 0.6)],
    "3": [
        (at(date(2026, 3, 3), 9), "created", "The database host is a.", None, None),
        (at(date(2026, 3, 4), 9), "edited", "The database host is b.", None, None),
    ],
    "4": [
        (at(MONDAY, 10), "r-2", "clerk", "small", 1900.0, 1890.0, 4.3, 200),
        (at(MONDAY, 10), "r-1", "clerk", "small", 700.0, 690.0, 4.3, 200),
    ],
    "5": [("clerk", "EMAIL", 3, 2), ("clerk", "PHONE", 1, 1)],
    "6": [(date(2026, 3, 1), "clerk", 1.0, 4.762)],
    "7": [(USED, "clerk", "The database host is b.", 2, 0.8)],
    "8": [(UNUSED, "clerk", "declarative", "The database port is 1.", at(MONDAY, 9))],
    "9": [
        (TUESDAY, "default", "large", 10, 1, 10.0, 900.0),
        (MONDAY, "default", "small", 100, 5, 5.0, 900.0),
    ],
    "10": [(at(MONDAY, 11), "clerk", "ann", "s-1", "I want a REFUND.", "Of course.")],
}


@pytest.mark.usefixtures("s3_server")
async def test_every_question_of_the_page_has_its_answer(
    identity: IdentityStore, database: Database, settings: Settings
) -> None:
    org_id: UUID = await identity.create_organization("acme")
    for table, rows in ROWS.items():
        await add_rows(settings, database, org_id, table, rows)
    connection = await asyncio.to_thread(ibex.lake.connect, "acme", settings=settings)
    assert [number for number, _ in QUESTIONS] == list(ANSWERS)
    for number, query in QUESTIONS:
        assert connection.execute(query).fetchall() == ANSWERS[number], number
