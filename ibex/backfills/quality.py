"""Figures by which two sets of statements about the same session are told apart, without a model.

Each is a plain count, so that those of many sessions add up.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import chain
from typing import Final, Self

import numpy as np

from ibex.checks.junk import junk_of, runs_of
from ibex.extraction.sources import ADDED
from ibex.extraction.transcript import TurnText
from ibex.memory.model import Vector
from ibex.memory.terms import terms_of
from ibex.memory.writing.planning import NEAR_DUPLICATE

_PLACEHOLDER: Final = re.compile(r"\[[A-Z_]+\]")
_SYSTEM: Final = frozenset({"system", "developer"})


@dataclass(frozen=True)
class Quality:
    statements: int = 0
    junk: int = 0  # ibex.checks.junk: near-empty, or an echo of instructions
    duplicates: int = 0  # that another statement of the session says already
    terms: int = 0
    grounded: int = 0  # of these terms, those that were said in the session

    @classmethod
    def of(
        cls,
        contents: Sequence[str],
        vectors: Sequence[Vector],
        turns: Sequence[TurnText],
        prompt: str,
    ) -> Self:
        """`vectors` are of unit length; `prompt` is what the model was told."""
        messages = [message for turn in turns for message in turn.messages]
        system = [one.text for one in messages if one.role in _SYSTEM]
        instructions = runs_of([prompt, *system])
        said = frozenset(
            chain.from_iterable(terms_of(one.text) for one in messages if one.role not in _SYSTEM)
        )
        terms = [frozenset(terms_of(_PLACEHOLDER.sub(" ", one))) - ADDED for one in contents]
        return cls(
            statements=len(contents),
            junk=sum(junk_of(one, instructions, ()) is not None for one in contents),
            duplicates=_duplicates(vectors),
            terms=sum(map(len, terms)),
            grounded=sum(len(one & said) for one in terms),
        )

    @classmethod
    def from_figures(cls, figures: Mapping[str, int]) -> Self:
        """Of what `figures` gave; a figure that is not there is 0."""
        return cls(**{one.name: int(figures.get(one.name, 0)) for one in fields(cls)})

    @classmethod
    def total(cls, all_of: Iterable["Quality"]) -> Self:
        listed = list(all_of)
        return cls(
            **{one.name: sum(getattr(each, one.name) for each in listed) for one in fields(cls)}
        )

    def figures(self) -> dict[str, int]:
        return asdict(self)

    @property
    def junk_share(self) -> float:
        """Of the statements, in [0, 1]."""
        return self.junk / max(1, self.statements)

    @property
    def duplicate_share(self) -> float:
        return self.duplicates / max(1, self.statements)

    @property
    def grounded_share(self) -> float:
        """Of their words, in [0, 1]."""
        return self.grounded / max(1, self.terms)

    def summary(self) -> dict[str, float]:
        """What people compare: a count, and shares in [0, 1]."""
        return {
            "statements": self.statements,
            "junk_share": round(self.junk_share, 4),
            "duplicate_share": round(self.duplicate_share, 4),
            "grounded_share": round(self.grounded_share, 4),
        }


def _duplicates(vectors: Sequence[Vector]) -> int:
    """Those with an earlier one nearby."""
    if len(vectors) < 2:
        return 0
    rows = np.stack(list(vectors))
    near = np.tril(rows @ rows.T > NEAR_DUPLICATE, k=-1)
    return int(near.any(axis=1).sum())
