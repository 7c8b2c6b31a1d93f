"""Steps 5 and 6: what becomes of new statements beside what is believed already.

What is believed is made of what was said and when, not of the order in which it was written.
Statements are taken in the order of their own times. Each one

- ends the validity of what it supersedes at the time from which it holds, and its own validity ends
  where a later statement supersedes it;
- joins the memory that says the same and is valid at its time, or becomes a memory;
- is tied by edges to what it contradicts or what nobody could judge yet.

Validity only ever shrinks. When it shrinks below statements that a memory rests on, these are
released and planned again, as if they had just been written. So a value that returns (A, B, A
again) is three memories, whichever of the three is written last.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal
from uuid import UUID

import numpy as np

from ibex.ids import new_id
from ibex.memory.conflicts import MEET, Resolution, Statement, Verdict
from ibex.memory.model import Category, Source
from ibex.memory.statements import (
    Belief,
    Changed,
    Edge,
    Joined,
    Neighbour,
    NewMemory,
    Plan,
    Stated,
)

NEAR_DUPLICATE: Final = 0.92  # cosine above which two statements are compared
CONFLICT: Final = MEET  # and above which two of the same category are

Judge = Callable[[Statement, Statement, float], Verdict]

_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_SAME_WORDS: Final = Verdict(Resolution.DUPLICATE, "The words are the same.", "same words")
_ALIKE: Final = frozenset({Resolution.DUPLICATE, Resolution.MERGE})
#: Words of others do not end what these said.
_RANK: Final = {Source.OPERATOR: 2, Source.USER: 1, Source.ASSISTANT: 1}
_TELLING: Final = {Category.EPISODIC: 0, Category.DECLARATIVE: 1, Category.PROCEDURAL: 2}
_EdgeKind = Literal["supersedes", "contradicts", "undecided", "related"]


def plan(
    stated: Sequence[Stated],
    neighbours: Sequence[Sequence[Neighbour]],
    judge: Judge,
    now: datetime,
) -> Plan:
    """`neighbours[i]` are stored words near those of `stated[i]`, of the same agent, user and
    status. What holds only after `now` ends nothing yet."""
    return _Planning(judge, now).run(stated, neighbours)


def words_of(statements: Sequence[Stated], judge: Judge) -> Stated:
    """The statement whose words a memory has that rests on these, of which there is one at least:
    the first, or the first that says all of it and more."""
    first, *others = sorted(statements, key=_order)
    for one in others:
        if one.content_hash == first.content_hash:
            first = one if tells_more(one.fact.category, first.fact.category) else first
        else:
            cosine = float(one.embedding @ first.embedding)
            if judge(first.judged, one.judged, cosine).resolution is Resolution.MERGE:
                first = one
    return first


def confidence_of(statements: Sequence[tuple[UUID | None, float]]) -> float:
    """How sure a memory is that rests on these, each with its session: within one session as sure
    as the surest, and sessions confirm each other, up to 0.99."""
    surest: dict[UUID | None, float] = {}
    for session, confidence in statements:
        surest[session] = max(confidence, surest.get(session, 0.0))
    doubt = float(np.prod([1 - one for one in sorted(surest.values())]))
    agreed = 1 - max(doubt, 0.01) if len(surest) > 1 else 0.0
    return max(agreed, *surest.values())


@dataclass
class _Draft:
    """A memory while it is planned."""

    id: UUID
    valid_from: datetime
    end: datetime
    superseded_by: UUID | None
    before: Belief | None  # None: it is new
    worded: list[Stated] = field(default_factory=list)  # whose words it took, the latest last
    said: list[Stated] = field(default_factory=list)

    @property
    def words(self) -> Stated | None:
        """None: those it had."""
        return self.worded[-1] if self.worded else None

    @property
    def content_hash(self) -> bytes:
        words = self.words or self.before
        if words is None:
            raise AssertionError("a new memory has words")
        return words.content_hash

    def close(self, end: datetime, by: UUID | None) -> bool:
        """Whether it has closed later until now."""
        if end >= self.end:
            return False
        self.end, self.superseded_by = end, by
        return True


@dataclass(frozen=True)
class _Words:
    """What a new statement is compared with."""

    draft: _Draft
    statement: Statement
    content_hash: bytes
    source: Source
    cosine: float

    @property
    def is_own(self) -> bool:
        """These are the words that the memory has now."""
        return self.content_hash == self.draft.content_hash

    @property
    def order(self) -> tuple[datetime, bytes]:
        return self.statement.valid_from, self.content_hash


@dataclass(frozen=True)
class _Met:
    words: _Words
    verdict: Verdict
    is_older: bool  # than the new statement


class _Planning:
    def __init__(self, judge: Judge, now: datetime) -> None:
        self._judge = judge
        self._now = now
        self._drafts: dict[UUID, _Draft] = {}
        self._placed: list[tuple[Stated, _Draft]] = []
        self._edges: dict[tuple[UUID, UUID, str], Edge] = {}

    def run(self, stated: Sequence[Stated], neighbours: Sequence[Sequence[Neighbour]]) -> Plan:
        order = sorted(range(len(stated)), key=lambda one: (*_order(stated[one]), one))
        for one in order:
            known = [self._known(near) for near in _telling(stated[one], neighbours[one])]
            self._place(stated[one], known + self._in_batch(stated[one]))
        released = [one for one, draft in self._placed if one.valid_from >= draft.end]
        kept = [(one, draft) for one, draft in self._placed if one.valid_from < draft.end]
        for draft in self._drafts.values():
            draft.worded = [one for one in draft.worded if one.valid_from < draft.end]
        return Plan(
            created=[_created(one) for one in self._drafts.values() if one.before is None],
            joined=[
                Joined(draft.id, one)
                for one, draft in kept
                if draft.before is not None or one is not draft.words
            ],
            changed=[
                change for one in self._drafts.values() if (change := _changed(one)) is not None
            ],
            edges=list(self._edges.values()),
            released=released,
        )

    def _known(self, near: Neighbour) -> _Words:
        belief = near.belief
        draft = self._drafts.setdefault(
            belief.id,
            _Draft(
                belief.id,
                belief.valid_from,
                belief.valid_to or _NEVER,
                belief.superseded_by,
                belief,
            ),
        )
        return _Words(
            draft,
            near.statement,
            near.content_hash,
            near.source,
            near.cosine,
        )

    def _in_batch(self, stated: Stated) -> list[_Words]:
        if not self._placed:
            return []
        rows = np.stack([one.embedding for one, _ in self._placed])
        return [
            _Words(draft, one.judged, one.content_hash, one.fact.source, float(cosine))
            for (one, draft), cosine in zip(self._placed, rows @ stated.embedding, strict=True)
            if cosine > CONFLICT or one.content_hash == stated.content_hash
        ]

    def _place(self, stated: Stated, known: Sequence[_Words]) -> None:
        met = [one for words in known if (one := self._meet(stated, words)) is not None]
        alike = [one for one in met if one.verdict.resolution in _ALIKE]
        same = {one.words.draft.id for one in alike}
        others = [one for one in met if one.words.draft.id not in same]
        ends = [one for one in others if one.is_older and self._ends(one, stated)]
        # First its windows: what it ends may not be what it joins, nor end it.
        closed = [one.words.draft for one in ends if one.words.draft.close(stated.valid_from, None)]
        successors = [
            one
            for one in others
            if not one.is_older
            and self._ends(one, stated)
            and one.words.statement.valid_from < one.words.draft.end
        ]
        first = min(successors, key=lambda one: one.words.order, default=None)
        end = first.words.statement.valid_from if first else _NEVER
        draft = self._join(stated, alike, end) or self._create(stated)
        if first:
            draft.close(end, first.words.draft.id)
        for ended in closed:
            ended.superseded_by = draft.id
        self._placed.append((stated, draft))
        draft.said.append(stated)
        for one in others:
            self._tie(stated, draft, one)

    def _meet(self, stated: Stated, words: _Words) -> _Met | None:
        if words.content_hash == stated.content_hash:
            return _Met(words, _SAME_WORDS, words.statement.valid_from <= stated.valid_from)
        categories = {words.statement.category, stated.fact.category}
        if Category.EPISODIC in categories:  # what happened is not undone by what happens
            return None
        limit = CONFLICT if len(categories) == 1 else NEAR_DUPLICATE
        if words.cosine <= limit:
            return None
        is_older = words.order < _order(stated)
        pair = (words.statement, stated.judged) if is_older else (stated.judged, words.statement)
        return _Met(words, self._judge(*pair, words.cosine), is_older)

    def _ends(self, met: _Met, stated: Stated) -> bool:
        return self._edge_kind(met, stated) == "supersedes"

    def _edge_kind(self, met: _Met, stated: Stated) -> _EdgeKind | None:
        """What ties the two memories."""
        said = (met.words.statement.valid_from, met.words.source)
        older, newer = said, (stated.valid_from, stated.fact.source)
        if not met.is_older:
            older, newer = newer, older
        match met.verdict.resolution:
            case Resolution.SUPERSEDE if newer[0] > self._now:
                return "related"
            case Resolution.SUPERSEDE if older[0] < newer[0] and may_end(older[1], newer[1]):
                return "supersedes"
            case Resolution.SUPERSEDE | Resolution.CONTRADICT:
                return "contradicts"
            case Resolution.UNDECIDED:
                return "undecided"
            case _:
                return None

    def _join(self, stated: Stated, alike: Sequence[_Met], end: datetime) -> _Draft | None:
        """Take it into the memory that says the same: of several one that held already, then the
        one with its very words, then the oldest."""
        fitting = [
            one
            for one in alike
            if (
                stated.valid_from < one.words.draft.end
                if one.words.draft.valid_from <= stated.valid_from
                else one.words.statement.valid_from < min(end, one.words.draft.end)
            )
        ]
        if not fitting:
            return None
        draft = min(
            fitting,
            key=lambda one: (
                one.words.draft.valid_from > stated.valid_from,
                one.words.content_hash != stated.content_hash,
                one.words.draft.valid_from,
                one.words.draft.id,
            ),
        ).words.draft
        draft.valid_from = min(draft.valid_from, stated.valid_from)
        own = [one for one in alike if one.words.draft is draft and one.words.is_own]
        # Of two memories in force, no two have the same words.
        taken = min(draft.end, end) == _NEVER and any(
            one.words.draft is not draft and one.words.draft.content_hash == stated.content_hash
            for one in alike
            if one.words.draft.end == _NEVER
        )
        if own and not taken and _says_more(stated, own):
            draft.worded.append(stated)
        return draft

    def _create(self, stated: Stated) -> _Draft:
        draft = _Draft(new_id(), stated.valid_from, _NEVER, None, None, [stated])
        self._drafts[draft.id] = draft
        return draft

    def _tie(self, stated: Stated, draft: _Draft, met: _Met) -> None:
        other = met.words.draft
        kind = self._edge_kind(met, stated)
        if kind is None or met.words.statement.valid_from >= other.end:  # it is about to leave
            return
        if kind != "supersedes" and not _overlap(draft, other):
            return
        newer, older = (draft, other) if met.is_older else (other, draft)
        key = (newer.id, older.id, kind)
        reason = f"{met.verdict.rule}: {met.verdict.reason}"
        self._edges.setdefault(key, Edge(*key, reason))


def _telling(stated: Stated, neighbours: Sequence[Neighbour]) -> list[Neighbour]:
    """Of words that a memory rests on several times, the first time, and the first afterwards, as
    each of the categories they were said in."""
    told: dict[tuple[UUID, bytes, Category, bool], Neighbour] = {}
    for near in sorted(neighbours, key=lambda one: one.statement.valid_from):
        is_later = near.statement.valid_from > stated.valid_from
        category = near.statement.category
        told.setdefault((near.belief.id, near.content_hash, category, is_later), near)
    return list(told.values())


def _order(stated: Stated) -> tuple[datetime, bytes]:
    return stated.valid_from, stated.content_hash


def _says_more(stated: Stated, own: Sequence[_Met]) -> bool:
    """Than the words that the memory has; of those that say the same, the first stay."""
    first = min(own, key=lambda one: one.words.order)
    if first.words.content_hash == stated.content_hash:
        category = stated.fact.category
        return all(tells_more(category, one.words.statement.category) for one in own)
    return first.verdict.resolution is (
        Resolution.MERGE if first.is_older else Resolution.DUPLICATE
    )


def tells_more(category: Category, other: Category) -> bool:
    """Of the same words: what is known to be a wish or a fact is more than something said."""
    return _TELLING[category] > _TELLING[other]


def may_end(older: Source, newer: Source) -> bool:
    """Words of tools, documents and imports end nothing that people said."""
    return _RANK.get(newer, 0) >= _RANK.get(older, 0)


def _overlap(one: _Draft, other: _Draft) -> bool:
    return one.valid_from < other.end and other.valid_from < one.end


def _moment(end: datetime) -> datetime | None:
    return None if end == _NEVER else end


def _created(draft: _Draft) -> NewMemory:
    if draft.words is None:
        raise AssertionError("a new memory has words")
    return NewMemory(
        draft.id, draft.words, draft.valid_from, _moment(draft.end), draft.superseded_by
    )


def _changed(draft: _Draft) -> Changed | None:
    """None: it is new, or as it was."""
    before = draft.before
    if before is None:
        return None
    end = _moment(draft.end)
    moved = (draft.valid_from, end, draft.superseded_by) != (
        before.valid_from,
        before.valid_to,
        before.superseded_by,
    )
    if not moved and draft.words is None:
        return None
    return Changed(
        draft.id,
        draft.valid_from,
        end,
        draft.superseded_by,
        draft.words,
        moved=moved,
        closed=draft.end < (before.valid_to or _NEVER),
    )
