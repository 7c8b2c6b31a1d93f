"""The memories of one agent in the process, for the exact search of the request's path.

A matrix of unit vectors for the meaning, `Postings` for the words, and columns for what else a
candidate needs. The vectors stand there twice: as bytes, a quarter of the memory to go through for
every question, and as they are, for the few rows that the bytes bring near.

An episode is searched by what was said around it too (`ibex.memory.threads`), so its row changes
when a neighbour comes or goes.

Rows are only ever appended: a memory that says something else gets a new row, and the old one dies;
only what its score rests on changes in place. `packed()`
makes a copy without the dead. One index belongs to one (organization, agent); which rows an asker
may see is decided here, by the owner of each row.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import numpy as np
import numpy.typing as npt

from ibex.memory import scoring
from ibex.memory.columns import Columns, Remembered
from ibex.memory.model import (
    CATEGORY_NUMBER,
    Candidate,
    Category,
    Found,
    Ranked,
    ScoreParts,
    Vector,
)
from ibex.memory.packing import RELEVANCE_FLOOR
from ibex.memory.postings import Floats, Postings, Rows
from ibex.memory.terms import date_terms, terms_of
from ibex.memory.threads import Threads, Words, together
from ibex.memory.views import Static, View

__all__ = ["MemoryIndex", "Remembered"]
#: Dead rows, and pairs of term and row that are not packed, beyond which `packed()` pays.
GARBAGE_SHARE: Final = 0.2
LATE_PAIRS: Final = 20_000

_Halves = npt.NDArray[np.float16]
_CATEGORIES: Final = tuple(Category)
_NOBODY: Final = 0  # the owner of the agent's own memories
_VIEWS: Final = 64  # of users, kept
_STATIC_SECONDS: Final = 60.0  # how long a static score holds: half-lives are years
#: Rows beyond those wanted that are looked at exactly, because vectors as bytes are off by up to
#: 0.003 of cosine.
_SPARE: Final = 28
_DIGITS: Final = 6  # of a score and its parts; float32 has one more
# What Python's objects cost: of a row; of one that was found, with its line and digest; of an
# episode's place; of the vector of its own words.
_OBJECT_BYTES: Final = 400
_FOUND_BYTES: Final = 1200
_PLACE_BYTES: Final = 400
_OWN_BYTES: Final = 1000


class MemoryIndex:
    """Not safe for threads: `apply`, `search` and `hot` belong to one thread; `packed()` only reads
    and may run in another while nothing is applied."""

    def __init__(self, capacity: int = 64) -> None:
        """`capacity` in rows; more are made room for."""
        self._ids: list[UUID] = []
        self._contents: list[str] = []
        self._valid_from: list[datetime] = []
        self._candidates: dict[int, Candidate] = {}  # of rows that were found
        self._content_bytes = 0
        self._columns = Columns.empty(capacity)
        self._postings = Postings()
        self._threads = Threads()
        self._expires: dict[int, datetime] = {}  # of rows that do
        self._own: dict[int, _Halves] = {}  # of rows with neighbours: the vector of the own words
        self._owners: dict[UUID, int] = {}
        self._row_of: dict[UUID, int] = {}
        self._views: dict[int, View] = {}
        self._static: Static | None = None

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def nbytes(self) -> int:
        """About what it takes in memory."""
        found = _FOUND_BYTES * len(self._candidates)
        objects = _OBJECT_BYTES * len(self._ids) + self._content_bytes + found
        objects += _PLACE_BYTES * len(self._threads) + _OWN_BYTES * len(self._own)
        return self._columns.nbytes + self._postings.nbytes + objects

    @property
    def wants_packing(self) -> bool:
        rows = len(self._ids)
        dead = rows - len(self._row_of)
        return dead > max(64, rows * GARBAGE_SHARE) or self._postings.late > LATE_PAIRS

    def apply(self, changed: Iterable[Remembered], gone: Iterable[UUID] = ()) -> None:
        """Take in memories that are new or changed, and forget those that are `gone`.

        Doing it again changes nothing that a search shows.
        """
        taken: dict[UUID, Remembered] = {}
        beside: set[UUID] = set()  # neighbours of what comes or goes
        for memory_id in gone:
            beside |= self._drop(memory_id)
        for memory in changed:
            row = self._row_of.get(memory.id)
            if row is not None and self._says(row, memory):
                self._columns.set_figures(row, memory)
                self._candidates.pop(row, None)
            else:
                beside |= self._drop(memory.id)
                taken[memory.id] = memory
        for memory in taken.values():
            if memory.place is not None:
                self._threads.add(memory.id, memory.place)
                beside |= {other for _, other in self._threads.beside(memory.id)}
        words = {one.id: Words.of(one.content, one.embedding) for one in taken.values()}
        again = [self._remembered(one) for one in beside if one in self._row_of]
        for memory in (*taken.values(), *again):
            for _, other in self._threads.beside(memory.id):
                if other not in words:
                    words[other] = self._words(other)
            if memory.id not in words:
                words[memory.id] = self._words(memory.id)
        for memory in (*taken.values(), *again):
            self._forget(memory.id)
            self._add(memory, words)
        self._views.clear()
        self._static = None

    def packed(self) -> "MemoryIndex":
        """A copy without dead rows and with everything packed."""
        alive = np.fromiter(self._row_of.values(), np.int32, len(self._row_of))
        alive.sort()
        places = np.full(len(self._ids), -1, np.int32)
        places[alive] = np.arange(len(alive), dtype=np.int32)
        copy = MemoryIndex(0)
        copy._ids = [self._ids[row] for row in alive]
        copy._contents = [self._contents[row] for row in alive]
        copy._valid_from = [self._valid_from[row] for row in alive]
        copy._content_bytes = sum(map(len, copy._contents))
        copy._columns = self._columns.taken(alive)
        copy._postings = self._postings.packed(places)
        copy._threads = self._threads.copy()
        copy._expires = {int(places[row]): end for row, end in self._expires.items()}
        copy._own = {int(places[row]): vector for row, vector in self._own.items()}
        copy._owners = dict(self._owners)
        copy._row_of = {memory_id: row for row, memory_id in enumerate(copy._ids)}
        return copy

    def recall(
        self,
        user_id: UUID | None,
        question: str,
        vector: Vector | None,
        now: datetime,
        *,
        size: int,
        hot: int,
    ) -> list[Ranked]:
        """The `size` memories with the highest composite score for the question, in no order; but
        those that are relevant to it, and those that always are, before all others.

        Of the agent's own memories and the user's. Without a vector by words only. `hot`: so many
        of the highest static score are called hot, whatever the question.
        """
        view, count = self._view(user_id), len(self._ids)
        static = self._static_at(now)
        lexical = self._lexical(question, view)
        if lexical is None and question:
            lexical = np.zeros(count, np.float32)
        rows = view.rows
        if vector is not None and len(rows) > size + _SPARE:
            near = self._columns.roughly(vector, count)
            keys = static.keys(scoring.relevances(near, lexical, count))
            rows = rows[self._best(rows, keys if view.whole else keys[rows], size + _SPARE)]
        relevance = scoring.relevances(
            None if vector is None else self._columns.matrix[rows] @ vector,
            None if lexical is None else lexical[rows],
            len(rows),
        )
        found = Static(static.parts[rows], static.scores[rows], static.exempt[rows], static.at)
        best = self._best(rows, found.keys(relevance), size)
        parts = np.column_stack((relevance[best], found.parts[best])).astype(np.float64)
        scores = found.composites(relevance)[best].astype(np.float64)
        listed = self._hot(view, static, hot)
        return [
            Ranked(
                self._candidate(row),
                ScoreParts(*row_parts),
                score,
                ("both" if row_parts[0] >= RELEVANCE_FLOOR else "hot") if row in listed else "cold",
            )
            for row, row_parts, score in zip(
                rows[best].tolist(),
                parts.round(_DIGITS).tolist(),
                scores.round(_DIGITS).tolist(),
                strict=True,
            )
        ]

    def search(
        self, user_id: UUID | None, question: str, vector: Vector | None, *, width: int
    ) -> list[Found]:
        """The `width` nearest to `vector` and the `width` that meet most of the question's words.

        Of the agent's own memories and the user's, in no order. Without a vector by words only.
        """
        view = self._view(user_id)
        lexical = self._lexical(question, view)
        if lexical is None:
            worded, met = _NO_ROWS, np.zeros(len(self._ids), np.float32)
        else:
            some = np.flatnonzero(lexical).astype(np.int32)
            worded, met = some[self._best(some, lexical[some], width)], lexical
        found = worded
        if vector is not None:
            near = self._best(view.rows, self._cosines(view, vector), width)
            found = np.union1d(worded, view.rows[near])
        return [Found(self._candidate(row), float(met[row]), "cold") for row in found.tolist()]

    def _static_at(self, now: datetime) -> Static:
        """What the scores rest on before there is a question; holds for a minute."""
        moment = now.timestamp()
        static = self._static
        if static is None or not 0 <= moment - static.at < _STATIC_SECONDS:
            columns, count = self._columns, len(self._ids)
            parts = scoring.static_parts(
                columns.category[:count],
                columns.valid_from[:count],
                columns.usefulness[:count],
                columns.confidence[:count],
                columns.access_count[:count],
                moment,
            )
            static = self._static = Static(
                parts=parts.astype(np.float32),
                scores=scoring.static_scores(parts).astype(np.float32),
                exempt=columns.category[:count] == CATEGORY_NUMBER[Category.PROCEDURAL],
                at=moment,
            )
        return static

    def _hot(self, view: View, static: Static, size: int) -> frozenset[int]:
        """The rows of the `size` with the highest `scoring.static_score`."""
        if view.hot_at != static.at or view.hot_size != size:
            scores = static.scores if view.whole else static.scores[view.rows]
            view.hot = frozenset(view.rows[self._best(view.rows, scores, size)].tolist())
            view.hot_at, view.hot_size = static.at, size
        return view.hot

    def _candidate(self, row: int) -> Candidate:
        known = self._candidates.get(row)
        if known is not None:
            return known
        columns = self._columns
        candidate = self._candidates[row] = Candidate(
            id=self._ids[row],
            version=int(columns.version[row]),
            category=_CATEGORIES[columns.category[row]],
            content=self._contents[row],
            confidence=float(columns.confidence[row]),
            usefulness=float(columns.usefulness[row]),
            access_count=int(columns.access_count[row]),
            valid_from=self._valid_from[row],
            embedding=self._own_vector(row),
            expires_at=self._expires.get(row),
        )
        return candidate

    def _lexical(self, question: str, view: View) -> Floats | None:
        terms = terms_of(question)
        if not terms or not len(view.rows):
            return None
        visible = None if view.whole else view.mask
        return self._postings.scores(terms, visible, len(self._ids), len(view.rows))

    def _cosines(self, view: View, vector: Vector) -> Floats:
        matrix = self._columns.matrix
        if 4 * len(view.rows) < len(self._ids):
            return matrix[view.rows] @ vector
        return (matrix[: len(self._ids)] @ vector)[view.rows]

    def _best(self, rows: Rows, values: npt.NDArray[np.floating], count: int) -> Rows:
        """Where in `rows` the `count` with the highest of `values` stand; of equal ones those with
        lower ids."""
        if len(rows) <= count:
            return np.arange(len(rows), dtype=np.int32)
        last = np.partition(values, -count)[-count]
        best = np.flatnonzero(values > last).astype(np.int32)
        equal = np.flatnonzero(values == last).tolist()
        missing = count - len(best)
        if len(equal) > missing:
            equal.sort(key=lambda place: self._ids[rows[place]])
        return np.concatenate((best, np.array(equal[:missing], np.int32)))

    def _view(self, user_id: UUID | None) -> View:
        owner = _NOBODY if user_id is None else self._owners.get(user_id, _NOBODY)
        view = self._views.get(owner)
        if view is None:
            rows = len(self._ids)
            owners, alive = self._columns.owner[:rows], self._columns.alive[:rows]
            mask = alive & ((owners == _NOBODY) | (owners == owner))
            seen = np.flatnonzero(mask).astype(np.int32)
            view = View(mask, seen, whole=len(seen) == rows)
            if len(self._views) >= _VIEWS:
                del self._views[next(iter(self._views))]
            self._views[owner] = view
        return view

    def _says(self, row: int, memory: Remembered) -> bool:
        """The row is this memory but for what its score rests on."""
        columns, own = self._columns, self._own.get(row)
        owner = _NOBODY if memory.user_id is None else self._owners.get(memory.user_id)
        return (
            self._contents[row] == memory.content
            and self._valid_from[row] == memory.valid_from
            and columns.version[row] == memory.version
            and columns.category[row] == CATEGORY_NUMBER[memory.category]
            and columns.owner[row] == owner
            and self._threads.place(memory.id) == memory.place
            and self._expires.get(row) == memory.expires_at
            and np.array_equal(
                columns.matrix[row] if own is None else own,
                memory.embedding if own is None else memory.embedding.astype(np.float16),
            )
        )

    def _drop(self, memory_id: UUID) -> set[UUID]:
        """Forget the memory and its place; whose neighbour it was."""
        beside = {other for _, other in self._threads.beside(memory_id)}
        self._threads.drop(memory_id)
        self._forget(memory_id)
        return beside

    def _forget(self, memory_id: UUID) -> None:
        row = self._row_of.pop(memory_id, None)
        if row is not None:
            self._columns.alive[row] = False
            self._content_bytes -= len(self._contents[row])
            self._contents[row] = ""
            self._candidates.pop(row, None)
            self._own.pop(row, None)
            self._expires.pop(row, None)

    def _words(self, memory_id: UUID) -> Words:
        row = self._row_of[memory_id]
        return Words.of(self._contents[row], self._own_vector(row))

    def _own_vector(self, row: int) -> Vector:
        halves = self._own.get(row)
        return self._columns.matrix[row] if halves is None else halves.astype(np.float32)

    def _remembered(self, memory_id: UUID) -> Remembered:
        """An episode, as it was taken in."""
        row, columns = self._row_of[memory_id], self._columns
        place = self._threads.place(memory_id)
        return Remembered(
            id=memory_id,
            user_id=place.user_id if place else None,
            version=int(columns.version[row]),
            category=_CATEGORIES[columns.category[row]],
            content=self._contents[row],
            confidence=float(columns.confidence[row]),
            usefulness=float(columns.usefulness[row]),
            access_count=int(columns.access_count[row]),
            valid_from=self._valid_from[row],
            embedding=self._own_vector(row).copy(),
            place=place,
            expires_at=self._expires.get(row),
        )

    def _add(self, memory: Remembered, words: Mapping[UUID, Words]) -> None:
        """`words`: its own, and those of its neighbours."""
        row = len(self._ids)
        if row == len(self._columns.alive):
            self._columns = self._columns.grown(max(64, row // 4))
            self._candidates.clear()  # they hold the old matrix
        near = [(distance, words[other]) for distance, other in self._threads.beside(memory.id)]
        vector, amounts = together(words[memory.id], near)
        if near:
            self._own[row] = memory.embedding.astype(np.float16)
        if memory.expires_at is not None:
            self._expires[row] = memory.expires_at
        columns = self._columns
        columns.set_vector(row, vector)
        if memory.user_id is None:
            columns.owner[row] = _NOBODY
        else:
            columns.owner[row] = self._owners.setdefault(memory.user_id, len(self._owners) + 1)
        columns.set_fixed(row, memory)
        columns.set_figures(row, memory)
        self._ids.append(memory.id)
        self._contents.append(memory.content)
        self._valid_from.append(memory.valid_from)
        self._content_bytes += len(memory.content)
        self._row_of[memory.id] = row
        for term in date_terms(memory.valid_from):
            amounts[term] = amounts.get(term, 0.0) + 1
        self._postings.add(row, amounts)


_NO_ROWS: Rows = np.empty(0, np.int32)
