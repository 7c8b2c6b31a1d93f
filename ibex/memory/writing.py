"""From facts to memories, in this order, each step a small function:

    validate → redact → exact dedup → embed → database

Near-duplicates (cosine > 0.92) and conflicts (> 0.85) come between the last two later; until then
an exact duplicate is counted and left as it is. The hot cache follows by an asset of its own.

Nothing else is held while the embedder works: the look-up before it and the write after it are two
transactions, and the unique index `uq_memories_content` decides between two writers of the same
words. All memories of one call appear at once or not at all.
"""

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

from ibex.embedding import EmbedderClient
from ibex.ids import new_id
from ibex.memory.model import Fact, Provenance
from ibex.memory.redaction import redact
from ibex.settings import Settings
from ibex.stores import memories_write
from ibex.stores.memories_write import NewMemory
from ibex.stores.postgres import Connection, Database

MAX_CONTENT = 4_000  # characters of one statement; more is a document, not a statement
MAX_LABEL = 200  # characters of a subject or an attribute
_PLACEHOLDER = re.compile(r"\[[A-Z_]+\]")

#: Runs inside the transaction that writes, before the memories: the caller's own part of it.
Settle = Callable[[Connection], Awaitable[None]]


@dataclass(frozen=True)
class WriteResult:
    created: tuple[UUID, ...]
    duplicates: int  # the same words were known, or came twice
    rejected: int  # empty, too long, or resting on turns that do not exist
    redactions: Mapping[str, int]  # by kind, over all facts that were not rejected


@dataclass(frozen=True)
class RedactedFact:
    fact: Fact
    redactions: Mapping[str, int]
    content_hash: bytes = field(repr=False)


class MemoryWriter:
    def __init__(self, database: Database, embedder: EmbedderClient, settings: Settings) -> None:
        self._database = database
        self._embedder = embedder
        self._embedding_model = settings.embedding_model

    async def write(
        self,
        org_id: UUID,
        agent_id: UUID,
        user_id: UUID | None,
        facts: Sequence[Fact],
        provenance: Provenance,
        said_at: Mapping[int, datetime],
        *,
        settle: Settle | None = None,
    ) -> WriteResult:
        """Store `facts` as memories of the agent, or of its user when there is one.

        `said_at` holds the time of each turn that a fact may rest on. With `settle`, its work and
        the memories are one transaction: when it raises, nothing is written.

        Raises EmbedderUnavailableError, DatabaseUnavailableError, and what `settle` raises.
        """
        valid = [fact for fact in facts if is_valid(fact, said_at)]
        redacted = [item for item in map(redact_fact, valid) if says_something(item)]
        distinct = _distinct(redacted)
        known = await memories_write.known_hashes(
            self._database, org_id, agent_id, user_id, list(distinct)
        )
        unknown = [item for digest, item in distinct.items() if digest not in known]
        memories = await self._embedded(unknown, said_at)
        async with self._database.tenant(org_id) as connection:
            if settle is not None:
                await settle(connection)
            created = await memories_write.insert(
                connection, org_id, agent_id, user_id, memories, provenance, self._embedding_model
            )
        return WriteResult(
            created=created,
            duplicates=len(redacted) - len(created),
            rejected=len(facts) - len(redacted),
            redactions=dict(sum((Counter(item.redactions) for item in redacted), Counter())),
        )

    async def _embedded(
        self, items: Sequence[RedactedFact], said_at: Mapping[int, datetime]
    ) -> list[NewMemory]:
        vectors = await self._embedder.embed([item.fact.content for item in items])
        now = datetime.now(UTC)
        return [
            NewMemory(
                id=new_id(),
                fact=item.fact,
                content_hash=item.content_hash,
                redactions=item.redactions,
                valid_from=valid_from(item.fact, said_at, now),
                embedding=vector,
            )
            for item, vector in zip(items, vectors, strict=True)
        ]


def is_valid(fact: Fact, said_at: Mapping[int, datetime]) -> bool:
    """It says something, in bounds, and rests on turns that exist."""
    return (
        0 < len(fact.content.strip()) <= MAX_CONTENT
        and len(fact.subject) <= MAX_LABEL
        and len(fact.attribute) <= MAX_LABEL
        and math.isfinite(fact.confidence)
        and 0 <= fact.confidence <= 1
        and bool(fact.turns)
        and all(number in said_at for number in fact.turns)
    )


def redact_fact(fact: Fact) -> RedactedFact:
    content, subject, attribute = (
        redact(clean(text)) for text in (fact.content, fact.subject, fact.attribute)
    )
    counts = Counter(content.counts) + Counter(subject.counts) + Counter(attribute.counts)
    safe = replace(
        fact,
        content=content.text,
        subject=subject.text,
        attribute=attribute.text,
        turns=tuple(sorted(set(fact.turns))),
    )
    return RedactedFact(safe, dict(counts), content_hash(safe.content))


def says_something(item: RedactedFact) -> bool:
    """More than placeholders and signs is left."""
    return any(letter.isalnum() for letter in _PLACEHOLDER.sub("", item.fact.content))


def clean(text: str) -> str:
    """Without what PostgreSQL cannot store or nobody can see: control characters, half pairs."""
    return "".join(
        letter
        for letter in text.strip()
        if letter in "\n\t" or unicodedata.category(letter) not in {"Cc", "Cs"}
    )


def normalise(text: str) -> str:
    """The form in which words are compared: NFKC, each run of white space one space. The case
    stays: in names of hosts, files and keys it means something."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def content_hash(content: str) -> bytes:
    """What makes two memories the same, 32 bytes: SHA-256 of the normalised words."""
    return hashlib.sha256(normalise(content).encode()).digest()


def valid_from(fact: Fact, said_at: Mapping[int, datetime], now: datetime) -> datetime:
    """When the fact began to hold: as it says itself, else when it was first said."""
    return fact.valid_from or said_at.get(min(fact.turns, default=0)) or now


def _distinct(items: Sequence[RedactedFact]) -> dict[bytes, RedactedFact]:
    """One fact for each content, the surest; in the order of their hashes, so that two writers
    wait for each other's rows in the same order and never for each other."""
    chosen: dict[bytes, RedactedFact] = {}
    for item in items:
        other = chosen.get(item.content_hash)
        if other is None or item.fact.confidence > other.fact.confidence:
            chosen[item.content_hash] = item
    return dict(sorted(chosen.items()))
