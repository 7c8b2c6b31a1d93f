"""Pairs of statements, written by hand, and what becomes of each: bench/conflicts/data/*.tsv.

A file is a kind: updates, numbers, negations, paraphrases, fuller (one says more than the other),
lookalikes (which have nothing to do with each other), languages. They were written before the
rules. Two in five, by their hash, are held out: nobody has looked at single ones of them while the
rules were made.
"""

import csv
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from ibex.memory.conflicts import Resolution, Statement
from ibex.memory.model import Category

_FOLDER: Final = Path(__file__).parent / "data"
_SAID_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Pair:
    kind: str
    expected: Resolution
    language: str
    domain: str
    older: Statement = field(repr=False)
    newer: Statement = field(repr=False)

    @property
    def held_out(self) -> bool:
        said = f"{self.older.content}\n{self.newer.content}"
        return hashlib.sha256(said.encode()).digest()[0] % 5 < 2


def load() -> list[Pair]:
    return [
        _pair(file.stem, row)
        for file in sorted(_FOLDER.glob("*.tsv"))
        for row in csv.DictReader(
            file.read_text("utf-8").splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE
        )
    ]


def _pair(kind: str, row: dict[str, str]) -> Pair:
    return Pair(
        kind=kind,
        expected=Resolution(row["expected"]),
        language=row["language"],
        domain=row["domain"],
        older=_statement(row, "older", _SAID_AT),
        newer=_statement(row, "newer", _SAID_AT + timedelta(days=int(row["days"]))),
    )


def _statement(row: dict[str, str], which: str, valid_from: datetime) -> Statement:
    return Statement(
        content=row[which],
        category=Category(row["category"]),
        subject=row[f"{which}_subject"],
        attribute=row[f"{which}_attribute"],
        confidence=float(row[f"{which}_confidence"]),
        valid_from=valid_from,
    )
