"""What an index keeps of its memories as columns of numbers: a row a memory."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

import numkong
import numpy as np
import numpy.typing as npt

from ibex.memory.model import CATEGORY_NUMBER, Category, Vector
from ibex.memory.postings import Floats, Mask, Rows
from ibex.memory.threads import Place

DIMENSIONS: Final = 384
_LEAST_STEP: Final = 1e-12


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
    embedding: Vector = field(repr=False)  # of its own words
    place: Place | None = None  # of an episode
    expires_at: datetime | None = None  # None: never


@dataclass(frozen=True)
class Columns:
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
    def empty(cls, capacity: int) -> "Columns":
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

    def set_figures(self, row: int, memory: Remembered) -> None:
        """What changes with the answers that rest on the memory: no reason for a new row."""
        self.confidence[row] = memory.confidence
        self.usefulness[row] = memory.usefulness
        self.access_count[row] = memory.access_count

    def set_fixed(self, row: int, memory: Remembered) -> None:
        self.category[row] = CATEGORY_NUMBER[memory.category]
        self.version[row] = memory.version
        self.valid_from[row] = memory.valid_from.timestamp()
        self.alive[row] = True

    def set_vector(self, row: int, vector: Vector) -> None:
        self.matrix[row] = vector
        self.codes[row], self.step[row] = _coded(vector)

    def roughly(self, vector: Vector, count: int) -> Floats:
        """The cosines of the first `count` rows with `vector`, from codes."""
        code, step = _coded(vector)
        dots = numkong.cdist(code.reshape(1, -1), self.codes[:count], metric="dot")
        cosines = np.asarray(dots).reshape(count).astype(np.float32)
        cosines *= self.step[:count]
        cosines *= step
        return cosines

    def taken(self, rows: Rows) -> "Columns":
        return Columns(**{name: column[rows] for name, column in vars(self).items()})

    def grown(self, by: int) -> "Columns":
        return Columns(
            **{
                name: np.concatenate((column, np.zeros((by, *column.shape[1:]), column.dtype)))
                for name, column in vars(self).items()
            }
        )


def _coded(vector: Vector) -> tuple[npt.NDArray[np.int8], np.float32]:
    """In whole steps from -127 to 127, and the step."""
    step = np.float32(max(float(np.abs(vector).max()), _LEAST_STEP) / 127)
    return np.rint(vector / step).astype(np.int8), step
