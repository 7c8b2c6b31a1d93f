"""What every asset works with: the stores, opened once a run, and a way to wait for them."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ibex.embedding import EmbedderClient
from ibex.settings import Settings
from ibex.stores.archive import SessionArchive
from ibex.stores.hot import HotCache
from ibex.stores.jobs import JobStore
from ibex.stores.model_slots import ModelSlots
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.sessions import SessionStore
from ibex.stores.turns import TurnReader
from ibex.stores.usage import UsageStore

GROUP = "learning"
USE = "use"
KEEPING = "keeping"
SNAPSHOTS = "snapshots"
LAKE = "lake"
OWNERS = ("team:data-platform",)

T = TypeVar("T")


class Wait(Protocol):
    def __call__(self, work: Coroutine[Any, Any, T]) -> T: ...


@dataclass(frozen=True)
class Stores:
    settings: Settings
    database: Database
    jobs: JobStore
    sessions: SessionStore
    hot: HotCache
    embedder: EmbedderClient
    objects: ObjectStore
    archive: SessionArchive
    turns: TurnReader
    model_slots: ModelSlots
    usage: UsageStore
    wait: Wait  # runs a coroutine to its end; assets themselves are plain functions
