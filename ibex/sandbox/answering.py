"""The sandbox's answer to a chat: the sentence of its context that fits the question best."""

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ibex.sandbox.language import content_words, is_question, sentences

UNKNOWN: Final = "I do not know: nothing in what I was given says so. (IBEX sandbox model)"
GREETING: Final = "Hello. I am the IBEX sandbox model; I answer from what I am given."
_ENOUGH: Final = 0.34  # share of the question's weight that a sentence must meet

# A memory as IBEX renders it: a date and the text as a JSON string.
_QUOTED_LINE = re.compile(r'^- (?:\d{4}-\d{2}-\d{2} )?(".*")$')

_TAG_LINE = re.compile(r"<(?P<closes>/?)[\w-]+>\s*$")


@dataclass(frozen=True)
class Asked:
    """What the newest user message holds."""

    question: str | None
    statements: tuple[str, ...]


def answer(messages: Sequence[dict[str, Any]]) -> str:
    """Deterministic. `messages` as in a chat completion request."""
    newest = next(
        (place for place in reversed(range(len(messages))) if messages[place]["role"] == "user"),
        None,
    )
    if newest is None:
        return GREETING
    asked = _asked(text_of(messages[newest].get("content")))
    if asked.question is None:
        return f"Noted: {asked.statements[0]}" if asked.statements else GREETING
    known = [
        sentence
        for place, message in enumerate(messages)
        if place != newest and message["role"] != "assistant"
        for sentence in _told(text_of(message.get("content")))
    ]
    best = best_match(asked.question, [*known, *asked.statements])
    return UNKNOWN if best is None else f"From what I was told: {best}"


def best_match(question: str, known: Sequence[str]) -> str | None:
    """The sentence with most of the question's words, each weighted by its rarity.

    Of equally good ones the last wins, for it is the newest.
    """
    asked = content_words(question)
    words = [content_words(sentence) for sentence in known]
    frequency = Counter(word for one in words for word in one)
    weight = {word: 1 / math.log2(2 + frequency[word]) for word in asked}
    total = sum(weight.values())
    best, best_score = None, 0.0
    for sentence, own in zip(known, words, strict=True):
        met = sum(weight[word] for word in asked & own)
        # Of two that meet the same words, the one that says less else.
        score = met / total - 0.002 * min(len(own - asked), 50) if met else 0.0
        if met / max(total, 1e-9) >= _ENOUGH and score >= best_score:
            best, best_score = sentence, score
    return best


def text_of(content: object) -> str:
    """A message's content: text, or a list of parts of which those with text count."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return "\n".join(text for text in texts if isinstance(text, str))
    return ""


def _asked(text: str) -> Asked:
    found = sentences(text)
    questions = [sentence for sentence in found if is_question(sentence)]
    statements = [s for s in found if not is_question(s) and len(content_words(s)) >= 2]
    return Asked(questions[-1] if questions else None, tuple(statements))


def _told(text: str) -> list[str]:
    """The statements of a message; of a tagged block those lines that quote something."""
    told: list[str] = []
    inside = False
    for line in text.splitlines():
        quoted = _QUOTED_LINE.match(line)
        if quoted:
            told.append(_unquote(quoted.group(1)))
        elif tag := _TAG_LINE.match(line):
            inside = not tag["closes"]
        elif not inside:
            told += [sentence for sentence in sentences(line) if not is_question(sentence)]
    return told


def _unquote(text: str) -> str:
    try:
        return str(json.loads(text))
    except json.JSONDecodeError:
        return text
