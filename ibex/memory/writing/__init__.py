"""From facts to memories: nine steps in this order, each a small function in a module of its own.

    validate → redact → exact dedup → embed → near-duplicate → conflict → database
    → hot cache → index

The first two and the hashes are pure. Nothing is held while the embedder works, and words that a
memory in force has are not embedded again. Then one transaction: a lock for the agent and user, so
that two writers of the same fact leave one memory; an exact search for words near the new ones;
planning.py, which is pure and decides what becomes of all of them; and its plan, applied. All
memories of one call appear at once or not at all.

The hot cache follows by an asset of its own (assets/hot_memories.py), and the assembler's index by
the triggers that note every change (migration 0006).
"""

from ibex.memory.writing.hashing import content_hash
from ibex.memory.writing.writer import (
    Believed,
    MemoryWriter,
    Settle,
    WriteResult,
    redact_facts,
)

__all__ = [
    "Believed",
    "MemoryWriter",
    "Settle",
    "WriteResult",
    "content_hash",
    "redact_facts",
]
