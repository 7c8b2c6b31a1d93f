"""A session's turns into facts: window by window, checked against the turns, merged."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ibex.errors import WindowTooSmallError
from ibex.extraction.asking import Model, ask_for
from ibex.extraction.completion import Meter
from ibex.extraction.prompts import EXTRACTOR, Prompt
from ibex.extraction.room import room_in
from ibex.extraction.schema import MEMORIES, Parsed, Statement, parse_answer
from ibex.extraction.sources import (
    Said,
    least_trusted,
    message_ids,
    origin_of,
    source_of,
    spoken_by,
)
from ibex.extraction.transcript import Line, TurnMessage, TurnText, halves, memorable, windows
from ibex.memory.model import Fact, Source

__all__ = ["Extraction", "TurnMessage", "TurnText", "extract_facts"]


@dataclass(frozen=True)
class Extraction:
    facts: tuple[Fact, ...] = field(repr=False)
    dropped: int  # statements of the model that were not valid
    prompt_tokens: int
    completion_tokens: int
    model: str  # as its server names it
    prompt_version: str
    extractor: str


async def extract_facts(
    turns: Sequence[TurnText],
    llm: Model,
    prompt: Prompt,
    *,
    imported: bool,
    meter: Meter | None = None,
    parts: int = 1,
) -> Extraction:
    """The facts that the model finds in `turns`; without anything to read it is not asked.

    `imported`: the conversation was brought in by `ibex import`, and so is what it says. `meter`
    counts what was asked of the model, whatever comes of it. `parts`: the model is shown so much
    less at once than it has room for.

    Raises ProviderUnavailableError, ExtractionError, MalformedExtractionError; then nothing of the
    session counts, so that another attempt starts from the beginning.
    """
    meter = meter or Meter()
    readable = memorable(turns)
    by_number = {turn.number: turn for turn in readable}
    said = Said.of(message for turn in readable for message in turn.messages)
    facts: list[Fact] = []
    dropped = 0
    waiting: deque[list[Line]] = deque()
    if readable:
        room = room_in(llm.window, llm.model, prompt.system, MEMORIES)
        waiting.extend(windows(readable, room.part(parts)))
    while waiting:
        window = waiting.popleft()
        try:
            parsed = await _read(window, llm, prompt, meter)
        except WindowTooSmallError:
            both = halves(window)
            if both is None:
                raise
            waiting.extendleft(reversed(both))
            continue
        shown = {number: by_number[number] for number in {line.turn for line in window}}
        found = (to_fact(one, shown, said, imported=imported) for one in parsed.statements)
        grounded = [fact for fact in found if fact is not None]
        facts += grounded
        dropped += len(parsed.problems) + len(parsed.statements) - len(grounded)
    return Extraction(
        facts=merge(facts),
        dropped=dropped,
        prompt_tokens=meter.prompt_tokens,
        completion_tokens=meter.completion_tokens,
        model=meter.model or llm.model,
        prompt_version=prompt.version,
        extractor=EXTRACTOR,
    )


async def _read(window: Sequence[Line], llm: Model, prompt: Prompt, meter: Meter) -> Parsed:
    turns = {line.turn for line in window}
    text = "\n".join(line.text for line in window)
    parsed, _ = await ask_for(
        parse_answer,
        llm,
        prompt.system,
        text,
        MEMORIES,
        meter,
        complaint=lambda parsed: _useless(parsed, turns),
    )
    return parsed


def _useless(parsed: Parsed, turns: set[int]) -> str:
    """Why not one of the statements can be used; empty when one can, or there is none."""
    if any(turns.issuperset(one.turns) for one in parsed.statements):
        return ""
    if parsed.problems:
        return f"None of its statements is of the form: {parsed.problems[0]}."
    if parsed.statements:
        numbers = ", ".join(map(str, sorted(turns)))
        return f'"turns" names turns that were not shown; these were: {numbers}.'
    return ""


def to_fact(
    statement: Statement,
    turns: Mapping[int, TurnText],
    said: Said,
    *,
    imported: bool,
) -> Fact | None:
    """None when the statement rests on a turn that the model was not shown. `said` by
    everybody in the session."""
    numbers = tuple(sorted(set(statement.turns)))
    if not all(number in turns for number in numbers):
        return None
    messages = [message for number in numbers for message in turns[number].messages]
    present = {spoken_by(message) for message in messages}
    source = source_of(statement.content, Source(statement.source), present, said)
    return Fact(
        category=statement.category,
        content=statement.content,
        confidence=statement.confidence,
        source=origin_of(source, imported=imported),
        turns=numbers,
        message_ids=message_ids(messages, source),
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
        source=least_trusted((one.source, other.source)),
        turns=tuple(sorted({*one.turns, *other.turns})),
        message_ids=tuple(dict.fromkeys((*one.message_ids, *other.message_ids))),
    )
