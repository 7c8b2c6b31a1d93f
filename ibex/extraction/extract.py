"""A session's turns into facts: window by window, checked against the turns, merged."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ibex.extraction.llm import ModelClient
from ibex.extraction.prompt import EXTRACTOR, PROMPT_VERSION, SYSTEM_PROMPT
from ibex.extraction.schema import Statement, parse_answer
from ibex.extraction.transcript import TurnMessage, TurnText, memorable, windows
from ibex.memory.model import Fact, Source

__all__ = ["Extraction", "TurnMessage", "TurnText", "extract_facts"]

# From the most to the least trustworthy.
_TRUST: Final = (Source.USER, Source.ASSISTANT, Source.TOOL)


@dataclass(frozen=True)
class Extraction:
    facts: tuple[Fact, ...] = field(repr=False)
    dropped: int  # statements of the model that were not valid
    prompt_tokens: int
    completion_tokens: int
    model: str  # as its server names it
    prompt_version: str
    extractor: str


async def extract_facts(turns: Sequence[TurnText], llm: ModelClient) -> Extraction:
    """The facts that the model finds in `turns`; without anything to read it is not asked.

    Raises ProviderUnavailableError, ExtractionError, MalformedExtractionError; then nothing of the
    session counts, so that another attempt starts from the beginning.
    """
    readable = memorable(turns)
    by_number = {turn.number: turn for turn in readable}
    facts: list[Fact] = []
    dropped = prompt_tokens = completion_tokens = 0
    model = llm.model
    for window in windows(readable):
        completion = await llm.complete(SYSTEM_PROMPT, "\n".join(line.text for line in window))
        statements, invalid = parse_answer(completion.text)
        shown = {number: by_number[number] for number in {line.turn for line in window}}
        grounded = [fact for one in statements if (fact := to_fact(one, shown)) is not None]
        facts += grounded
        dropped += invalid + len(statements) - len(grounded)
        prompt_tokens += completion.prompt_tokens
        completion_tokens += completion.completion_tokens
        model = completion.model
    return Extraction(
        facts=merge(facts),
        dropped=dropped,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        model=model,
        prompt_version=PROMPT_VERSION,
        extractor=EXTRACTOR,
    )


def to_fact(statement: Statement, turns: Mapping[int, TurnText]) -> Fact | None:
    """None when the statement rests on a turn that the model was not shown."""
    numbers = tuple(sorted(set(statement.turns)))
    if not all(number in turns for number in numbers):
        return None
    messages = [message for number in numbers for message in turns[number].messages]
    source = _source(Source(statement.source), {_spoken_by(message) for message in messages})
    return Fact(
        category=statement.category,
        content=statement.content,
        confidence=statement.confidence,
        source=source,
        turns=numbers,
        message_ids=tuple(
            message.message_id
            for message in messages
            if message.message_id and _spoken_by(message) is source
        ),
        subject=statement.subject,
        attribute=statement.attribute,
        valid_from=statement.valid_from,
    )


def merge(facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """The same words found in several windows are one fact that rests on all their turns.

    It keeps the highest confidence and the least trustworthy source.
    """
    merged: dict[tuple[str, str], Fact] = {}
    for fact in facts:
        key = (fact.category, " ".join(fact.content.casefold().split()))
        known = merged.get(key)
        merged[key] = fact if known is None else _join(known, fact)
    return tuple(merged.values())


def _join(one: Fact, other: Fact) -> Fact:
    return replace(
        one,
        confidence=max(one.confidence, other.confidence),
        source=max(one.source, other.source, key=_TRUST.index),
        turns=tuple(sorted({*one.turns, *other.turns})),
        message_ids=tuple(dict.fromkeys((*one.message_ids, *other.message_ids))),
    )


def _source(claimed: Source, present: set[Source]) -> Source:
    """A role that did not speak in those turns is not believed: the least trusted one that did."""
    return claimed if claimed in present else max(present, key=_TRUST.index)


def _spoken_by(message: TurnMessage) -> Source:
    return Source.TOOL if message.role == "function" else Source(message.role)
