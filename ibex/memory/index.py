"""The memories of one agent in the process, for the exact search of the request's path.

A matrix of unit vectors for the meaning, `Postings` for the words, and columns for what else a
candidate needs. The vectors stand there twice: as bytes, a quarter of the memory to go through for
every question, and as they are, for the few rows that the bytes bring near.

Rows are only ever appended: a memory that says something else gets a new row, and the old one dies;
only what its score rests on changes in place. `packed()`
makes a copy without the dead. One index belongs to one (organization, agent); which rows an asker
may see is decided here, by the owner of each row.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

import numkong
import numpy as np
import numpy.typing as npt

from ibex.memory import scoring
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
from ibex.memory.postings import Floats, Mask, Postings, Rows
from ibex.memory.terms import terms_of

DIMENSIONS: Final = 384
#: Dead rows, and pairs of term and row that are not packed, beyond which `packed()` pays.
GARBAGE_SHARE: Final = 0.2
LATE_PAIRS: Final = 20_000

_CATEGORIES: Final = tuple(Category)
_NOBODY: Final = 0  # the owner of the agent's own memories
_VIEWS: Final = 64  # of users, kept
_STATIC_SECONDS: Final = 60.0  # how long a static score holds: half-lives are years
#: Rows beyond those wanted that are looked at exactly, because vectors as bytes are off by up to
#: 0.003 of cosine.
_SPARE: Final = 28
_DIGITS: Final = 6  # of a score and its parts; float32 has one more
# What Python's objects of a row cost, beside its columns: two UUIDs' worth, a date, dictionary;
# and those of a row that was found once: the candidate, its line and digest.
_OBJECT_BYTES: Final = 400
_FOUND_BYTES: Final = 1200


@dataclass(frozen=True)
class Remembered:
    """A memory in force, as an index takes it."""

    id: UUID
    user_id: UUID | None  # None: the agent's own
    version: int
    category: Category
    content: str = field(repr=False)
    confidence: float
    usefulness: float
    access_count: int
    valid_from: datetime
    embedding: Vector = field(repr=False)


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
        self._columns = _Columns.empty(capacity)
        self._postings = Postings()
        self._owners: dict[UUID, int] = {}
        self._row_of: dict[UUID, int] = {}
        self._views: dict[int, _View] = {}
        self._static: _Static | None = None

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def nbytes(self) -> int:
        """About what it takes in memory."""
        found = _FOUND_BYTES * len(self._candidates)
        objects = _OBJECT_BYTES * len(self._ids) + self._content_bytes + found
        return self._columns.nbytes + self._postings.nbytes + objects

    @property
    def wants_packing(self) -> bool:
        rows = len(self._ids)
        dead = rows - len(self._row_of)
        return dead > max(64, rows * GARBAGE_SHARE) or self._postings.late > LATE_PAIRS

    def ids(self) -> frozenset[UUID]:
        return frozenset(self._row_of)

    def apply(self, changed: Iterable[Remembered], gone: Iterable[UUID] = ()) -> None:
        """Take in memories that are new or changed, and forget those that are `gone`.

        Doing it again changes nothing that a search shows.
        """
        for memory_id in gone:
            self._drop(memory_id)
        for memory in changed:
            row = self._row_of.get(memory.id)
            if row is not None and self._says(row, memory):
                self._refigure(row, memory)
            else:
                self._drop(memory.id)
                self._add(memory)
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
        found = _Static(static.parts[rows], static.scores[rows], static.exempt[rows], static.at)
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

    def _static_at(self, now: datetime) -> "_Static":
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
            static = self._static = _Static(
                parts=parts.astype(np.float32),
                scores=scoring.static_scores(parts).astype(np.float32),
                exempt=columns.category[:count] == CATEGORY_NUMBER[Category.PROCEDURAL],
                at=moment,
            )
        return static

    def _hot(self, view: "_View", static: "_Static", size: int) -> frozenset[int]:
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
            embedding=columns.matrix[row],
        )
        return candidate

    def _lexical(self, question: str, view: "_View") -> Floats | None:
        terms = terms_of(question)
        if not terms or not len(view.rows):
            return None
        visible = None if view.whole else view.mask
        return self._postings.scores(terms, visible, len(self._ids), len(view.rows))

    def _cosines(self, view: "_View", vector: Vector) -> Floats:
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

    def _view(self, user_id: UUID | None) -> "_View":
        owner = _NOBODY if user_id is None else self._owners.get(user_id, _NOBODY)
        view = self._views.get(owner)
        if view is None:
            rows = len(self._ids)
            owners, alive = self._columns.owner[:rows], self._columns.alive[:rows]
            mask = alive & ((owners == _NOBODY) | (owners == owner))
            seen = np.flatnonzero(mask).astype(np.int32)
            view = _View(mask, seen, whole=len(seen) == rows)
            if len(self._views) >= _VIEWS:
                del self._views[next(iter(self._views))]
            self._views[owner] = view
        return view

    def _says(self, row: int, memory: Remembered) -> bool:
        """The row is this memory but for what its score rests on."""
        columns = self._columns
        owner = _NOBODY if memory.user_id is None else self._owners.get(memory.user_id)
        return (
            self._contents[row] == memory.content
            and self._valid_from[row] == memory.valid_from
            and columns.version[row] == memory.version
            and columns.category[row] == CATEGORY_NUMBER[memory.category]
            and columns.owner[row] == owner
            and bool((columns.matrix[row] == memory.embedding).all())
        )

    def _refigure(self, row: int, memory: Remembered) -> None:
        """Usefulness and accesses change with the answers: no reason for a new row."""
        columns = self._columns
        columns.confidence[row] = memory.confidence
        columns.usefulness[row] = memory.usefulness
        columns.access_count[row] = memory.access_count
        self._candidates.pop(row, None)

    def _drop(self, memory_id: UUID) -> None:
        row = self._row_of.pop(memory_id, None)
        if row is not None:
            self._columns.alive[row] = False
            self._content_bytes -= len(self._contents[row])
            self._contents[row] = ""
            self._candidates.pop(row, None)

    def _add(self, memory: Remembered) -> None:
        row = len(self._ids)
        if row == len(self._columns.alive):
            self._columns = self._columns.grown(max(64, row // 4))
            self._candidates.clear()  # they hold the old matrix
        terms = terms_of(memory.content)
        owner = _NOBODY
        if memory.user_id is not None:
            owner = self._owners.setdefault(memory.user_id, len(self._owners) + 1)
        columns = self._columns
        columns.matrix[row] = memory.embedding
        columns.codes[row], columns.step[row] = _coded(memory.embedding)
        columns.owner[row] = owner
        columns.category[row] = CATEGORY_NUMBER[memory.category]
        columns.version[row] = memory.version
        columns.confidence[row] = memory.confidence
        columns.usefulness[row] = memory.usefulness
        columns.access_count[row] = memory.access_count
        columns.valid_from[row] = memory.valid_from.timestamp()
        columns.alive[row] = True
        self._ids.append(memory.id)
        self._contents.append(memory.content)
        self._valid_from.append(memory.valid_from)
        self._content_bytes += len(memory.content)
        self._row_of[memory.id] = row
        self._postings.add(row, terms)


@dataclass
class _View:
    """What one user, or nobody, may see."""

    mask: Mask
    rows: Rows  # where the mask is true
    whole: bool  # every row is seen
    hot: frozenset[int] = frozenset()  # rows
    hot_size: int = 0
    hot_at: float = float("-inf")  # seconds since 1970


@dataclass(frozen=True)
class _Static:
    """Of every row, the dead ones included."""

    parts: Floats  # shape (rows, 4): all parts of the score but the relevance
    scores: Floats  # shape (rows,)
    exempt: Mask  # relevant to every question
    at: float  # seconds since 1970

    def composites(self, relevance: Floats) -> Floats:
        """The score of each row."""
        return self.scores + relevance * np.float32(scoring.WEIGHTS.relevance)

    def keys(self, relevance: Floats) -> Floats:
        """As `composites`, and all that are relevant before all that are not."""
        return self.composites(relevance) + ((relevance >= RELEVANCE_FLOOR) | self.exempt)


@dataclass(frozen=True)
class _Columns:
    matrix: npt.NDArray[np.float32]
    codes: npt.NDArray[np.int8]  # the matrix in whole steps, shape (rows, 384)
    step: npt.NDArray[np.float32]  # of each row's codes
    owner: npt.NDArray[np.int32]
    category: npt.NDArray[np.int8]
    version: npt.NDArray[np.int32]
    confidence: npt.NDArray[np.float64]
    usefulness: npt.NDArray[np.float64]
    access_count: npt.NDArray[np.int32]
    valid_from: npt.NDArray[np.float64]  # seconds since 1970
    alive: Mask

    @classmethod
    def empty(cls, capacity: int) -> "_Columns":
        return cls(
            matrix=np.empty((capacity, DIMENSIONS), np.float32),
            codes=np.empty((capacity, DIMENSIONS), np.int8),
            step=np.empty(capacity, np.float32),
            owner=np.empty(capacity, np.int32),
            category=np.empty(capacity, np.int8),
            version=np.empty(capacity, np.int32),
            confidence=np.empty(capacity, np.float64),
            usefulness=np.empty(capacity, np.float64),
            access_count=np.empty(capacity, np.int32),
            valid_from=np.empty(capacity, np.float64),
            alive=np.zeros(capacity, np.bool_),
        )

    @property
    def nbytes(self) -> int:
        return sum(column.nbytes for column in vars(self).values())

    def roughly(self, vector: Vector, count: int) -> Floats:
        """The cosines of the first `count` rows with `vector`, from codes."""
        code, step = _coded(vector)
        dots = numkong.cdist(code.reshape(1, -1), self.codes[:count], metric="dot")
        cosines = np.asarray(dots).reshape(count).astype(np.float32)
        cosines *= self.step[:count]
        cosines *= step
        return cosines

    def taken(self, rows: Rows) -> "_Columns":
        return _Columns(**{name: column[rows] for name, column in vars(self).items()})

    def grown(self, by: int) -> "_Columns":
        return _Columns(
            **{
                name: np.concatenate((column, np.zeros((by, *column.shape[1:]), column.dtype)))
                for name, column in vars(self).items()
            }
        )


def _coded(vector: Vector) -> tuple[npt.NDArray[np.int8], np.float32]:
    """In whole steps from -127 to 127, and the step."""
    step = np.float32(max(float(np.abs(vector).max()), _LEAST_STEP) / 127)
    return np.rint(vector / step).astype(np.int8), step


_LEAST_STEP: Final = 1e-12
_NO_ROWS: Rows = np.empty(0, np.int32)
