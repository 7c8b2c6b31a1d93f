"""Step 2: personal data and secrets go before anything else sees the words."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from ibex.memory.model import Fact
from ibex.memory.redaction import redact

_PLACEHOLDER: Final = re.compile(r"\[[A-Z_]+\]")


@dataclass(frozen=True)
class RedactedFact:
    fact: Fact
    redactions: Mapping[str, int]  # by kind, over all its texts


def redact_fact(fact: Fact) -> RedactedFact:
    texts = [
        redact(clean(text)) for text in (fact.content, fact.subject, fact.attribute, *fact.tags)
    ]
    content, subject, attribute, *tags = (one.text for one in texts)
    safe = replace(
        fact,
        content=content,
        subject=subject,
        attribute=attribute,
        tags=tuple(sorted({tag.casefold() for tag in tags if tag})),
        turns=tuple(sorted(set(fact.turns))),
    )
    return RedactedFact(safe, dict(sum((Counter(one.counts) for one in texts), Counter())))


def says_something(fact: Fact) -> bool:
    """More than placeholders and signs is left."""
    return any(letter.isalnum() for letter in _PLACEHOLDER.sub("", fact.content))


def clean(text: str) -> str:
    """Without what PostgreSQL cannot store or nobody can see: control characters, half pairs."""
    return "".join(
        letter
        for letter in text.strip()
        if letter in "\n\t" or unicodedata.category(letter) not in {"Cc", "Cs"}
    )
