"""What compares many memories with many: duplicates and clusters across agents, the drift between
two days, two models. By a snapshot, so that no request waits for it.

Of more than `MOST` memories about so many are taken, by a hash of their ids: of two snapshots, or
of two models, the same ones.
"""

from dataclasses import dataclass, field, replace
from math import isqrt
from typing import TYPE_CHECKING, Final
from uuid import UUID
from zlib import crc32

import numpy as np

from ibex.embedding import DIMENSIONS, Matrix
from ibex.vectors.nearness import Places, alike, nearest, rank_correlation
from ibex.vectors.nearness import clusters as clustered
from ibex.vectors.rows import VECTOR, vectors_of
from ibex.vectors.searching import quoted

if TYPE_CHECKING:
    from lancedb.table import AsyncTable

MOST: Final = 50_000
NEAR_DUPLICATE: Final = 0.92  # the write pipeline's (ibex/memory/conflicts)
NEW: Final = 0.6  # nearest of all that were known before: what is said is about something else
NEIGHBOURS: Final = 10
_QUESTIONS: Final = 1_000
_SHOWN: Final = 20  # memories of one group
_COLUMNS: Final = ("memory_id", "version", "agent_id", "user_id", "content", VECTOR)


@dataclass(frozen=True)
class Memories:
    """Memories that are believed, of a snapshot; row i of `vectors` is number i's."""

    ids: tuple[str, ...]
    versions: tuple[int, ...]
    agents: tuple[str, ...]
    users: tuple[str | None, ...]
    contents: tuple[str, ...] = field(repr=False)
    vectors: Matrix = field(repr=False)
    of: int  # how many there are
    share: float  # of them that these are; below 1: a sample

    def __len__(self) -> int:
        return len(self.ids)

    def thinned(self, share: float) -> "Memories":
        """The sample of this share, which is no larger than its own."""
        if share == self.share:
            return self
        rows = [row for row, one in enumerate(self.ids) if _place(one) < share]
        return replace(
            self,
            ids=tuple(self.ids[row] for row in rows),
            versions=tuple(self.versions[row] for row in rows),
            agents=tuple(self.agents[row] for row in rows),
            users=tuple(self.users[row] for row in rows),
            contents=tuple(self.contents[row] for row in rows),
            vectors=self.vectors[rows],
            share=share,
        )


@dataclass(frozen=True)
class Group:
    size: int
    agents: int
    users: int
    nearness: float  # the mean cosine of its members and its middle
    typical: str  # the memory nearest to its middle
    members: tuple[str, ...]  # the first ones, the nearest first
    contents: tuple[str, ...] = field(repr=False)  # theirs


@dataclass(frozen=True)
class Drift:
    agent_id: str
    before: int
    after: int
    added: int
    gone: int  # ended, quarantined, rejected or deleted
    changed: int  # another version
    moved: float | None  # 1 - cosine of the middles of before and after; None: one is empty
    new: float | None  # share of what was added that is about something else; None: nothing was


@dataclass(frozen=True)
class Agreement:
    """How far two models find the same."""

    first: int  # memories with a vector of each
    second: int
    both: int
    questions: int
    neighbours: float | None  # mean share of a memory's ten nearest that both models name
    same_nearest: float | None  # how often the nearest is the same
    correlation: float | None  # of the cosines of pairs, by rank
    spread: tuple[float, float] | None  # standard deviation of each model's cosines


async def load(
    table: "AsyncTable", model: str, agent_id: UUID | None = None, *, most: int = MOST
) -> Memories:
    """The active memories that are believed and have a vector of the model; of one agent or all."""
    import pyarrow as pa  # noqa: PLC0415

    condition = f"status = 'active' AND valid_to IS NULL AND embedding_model = {quoted(model)}"
    if agent_id is not None:
        condition += f" AND agent_id = '{agent_id}'"
    count = await table.count_rows(condition)
    share = min(1.0, most / max(1, count))
    columns: dict[str, list[object]] = {name: [] for name in _COLUMNS if name != VECTOR}
    parts = []
    async for batch in await table.query().where(condition).select(list(_COLUMNS)).to_batches():
        chosen = batch
        if share < 1:
            ids = batch.column("memory_id").to_pylist()
            chosen = batch.filter(pa.array([_place(one) < share for one in ids], pa.bool_()))
        for name, values in columns.items():
            values.extend(chosen.column(name).to_pylist())
        parts.append(vectors_of(chosen.column(VECTOR)))
    vectors = np.concatenate(parts) if parts else np.empty((0, DIMENSIONS), np.float32)
    ids, versions, agents, users, contents = (tuple(columns[name]) for name in _COLUMNS[:-1])
    return Memories(ids, versions, agents, users, contents, vectors, count, share)  # type: ignore[arg-type]


def duplicates(memories: Memories, threshold: float = NEAR_DUPLICATE) -> list[Group]:
    """Groups of memories that say nearly the same, largest first."""
    return [_group(memories, rows) for rows in alike(memories.vectors, threshold)]


def clusters(memories: Memories, count: int | None = None) -> list[Group]:
    """What the memories are about, largest first; `count` clusters, by default as many as the
    square root of half of the memories, 50 at most."""
    if not len(memories):
        return []
    wanted = count or max(1, min(50, isqrt(len(memories) // 2)))
    made = clustered(memories.vectors, wanted)
    groups = [np.flatnonzero(made.labels == label) for label in range(len(made.centres))]
    found = [_group(memories, rows) for rows in groups if len(rows)]
    return sorted(found, key=lambda group: -group.size)


def drift(before: Memories, after: Memories) -> list[Drift]:
    """What has changed of each agent, the most changed first. Of samples the counts are estimates
    of the whole, too."""
    share = min(before.share, after.share)
    before, after = before.thinned(share), after.thinned(share)
    known = dict(zip(before.ids, before.versions, strict=True))
    now = dict(zip(after.ids, after.versions, strict=True))
    agents = sorted({*before.agents, *after.agents})
    rows_before, rows_after = _by_agent(before), _by_agent(after)
    made = []
    for agent in agents:
        old, new = rows_before.get(agent, []), rows_after.get(agent, [])
        added = [row for row in new if after.ids[row] not in known]
        made.append(
            Drift(
                agent,
                before=round(len(old) / share),
                after=round(len(new) / share),
                added=round(len(added) / share),
                gone=round(sum(before.ids[row] not in now for row in old) / share),
                changed=round(
                    sum(
                        known.get(after.ids[row], after.versions[row]) != after.versions[row]
                        for row in new
                    )
                    / share
                ),
                moved=_moved(before.vectors[old], after.vectors[new]),
                new=_new(before.vectors[old], after.vectors[added]),
            )
        )
    return sorted(made, key=lambda one: -(one.added + one.gone + one.changed))


def agreement(first: Memories, second: Memories) -> Agreement:
    """Of memories that have a vector of both models."""
    share = min(first.share, second.share)
    first, second = first.thinned(share), second.thinned(share)
    place = {memory_id: row for row, memory_id in enumerate(second.ids)}
    pairs = [(row, place[one]) for row, one in enumerate(first.ids) if one in place]
    counts = len(first), len(second), len(pairs)
    if len(pairs) < 2:
        return Agreement(*counts, 0, None, None, None, None)
    one, other = (
        side.vectors[[pair[number] for pair in pairs]]
        for number, side in enumerate((first, second))
    )
    random = np.random.default_rng(0)
    asked = random.permutation(len(pairs))[:_QUESTIONS]
    count = min(NEIGHBOURS, len(pairs) - 1)
    near = [_others(side, asked, count) for side in (one, other)]
    shared = [len(np.intersect1d(*both)) / count for both in zip(*near, strict=True)]
    left, right = random.integers(len(pairs), size=(2, 20_000))
    apart = left != right
    cosines = [np.sum(side[left[apart]] * side[right[apart]], axis=1) for side in (one, other)]
    return Agreement(
        *counts,
        questions=len(asked),
        neighbours=float(np.mean(shared)),
        same_nearest=float(np.mean(near[0][:, 0] == near[1][:, 0])),
        correlation=rank_correlation(*cosines),
        spread=(float(np.std(cosines[0])), float(np.std(cosines[1]))),
    )


def _others(vectors: Matrix, asked: Places, count: int) -> Places:
    """The nearest rows of each that is asked, without itself: shape (asked, count)."""
    places, _ = nearest(vectors[asked], vectors, count + 1)
    return np.stack([near[near != own][:count] for near, own in zip(places, asked, strict=True)])


def _place(memory_id: str) -> float:
    """In [0, 1), by chance, and the same one always."""
    return crc32(memory_id.encode()) / 2**32


def _group(memories: Memories, rows: Places) -> Group:
    vectors = memories.vectors[rows]
    middle = vectors.mean(axis=0)
    middle /= max(float(np.linalg.norm(middle)), 1e-12)
    cosines = vectors @ middle
    order = [rows[place] for place in np.argsort(-cosines, kind="stable")]
    return Group(
        size=len(rows),
        agents=len({memories.agents[row] for row in rows}),
        users=len({memories.users[row] for row in rows} - {None}),
        nearness=float(cosines.mean()),
        typical=memories.ids[order[0]],
        members=tuple(memories.ids[row] for row in order[:_SHOWN]),
        contents=tuple(memories.contents[row] for row in order[:_SHOWN]),
    )


def _by_agent(memories: Memories) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, agent in enumerate(memories.agents):
        rows.setdefault(agent, []).append(row)
    return rows


def _moved(before: Matrix, after: Matrix) -> float | None:
    if not len(before) or not len(after):
        return None
    first, second = before.mean(axis=0), after.mean(axis=0)
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return 1.0 - float(first @ second) / lengths if lengths else None


def _new(before: Matrix, added: Matrix) -> float | None:
    if not len(added):
        return None
    if not len(before):
        return 1.0
    _, cosines = nearest(added, before, 1)
    return float(np.mean(cosines[:, 0] < NEW))
