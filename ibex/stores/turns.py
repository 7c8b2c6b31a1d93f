"""What was said in a session, wherever it is by now: PostgreSQL first, its archive when the content
of a turn is gone from there. Whoever reads does not notice."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar
from uuid import UUID

from ibex.errors import ArchiveDamagedError, NotFoundError
from ibex.sessions import StoredTurn
from ibex.settings import Settings
from ibex.stores.archive import SessionArchive
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from ibex.stores.sessions import SessionStore


class _Turn(Protocol):
    """A dataclass of a turn. `messages` is None when PostgreSQL has its content no longer."""

    @property
    def number(self) -> int: ...
    @property
    def messages(self) -> Sequence[Mapping[str, Any]] | None: ...


AnyTurn = TypeVar("AnyTurn", bound=_Turn)


class TurnReader:
    """Raises DatabaseUnavailableError from every method; when the content is in the archive only,
    ObjectStoreUnavailableError, and ArchiveDamagedError when that is not what was written."""

    def __init__(self, database: Database, archive: SessionArchive) -> None:
        self._sessions = SessionStore(database)
        self._archive = archive

    @classmethod
    def of(cls, database: Database, objects: ObjectStore, settings: Settings) -> "TurnReader":
        return cls(database, SessionArchive(database, objects, settings))

    async def turns(self, org_id: UUID, session_id: UUID, after: int = 0) -> list[StoredTurn]:
        """Those with a number above `after`, in order, with their content."""
        return await self.filled(
            org_id, session_id, await self._sessions.turns(org_id, session_id, after)
        )

    async def filled(
        self, org_id: UUID, session_id: UUID, turns: Sequence[AnyTurn]
    ) -> list[AnyTurn]:
        """These turns of the session, with the content that PostgreSQL no longer has."""
        if all(turn.messages is not None for turn in turns):
            return list(turns)
        try:
            archive = await self._archive.read(org_id, session_id)
        except NotFoundError:
            raise ArchiveDamagedError("What was said in the session is gone.") from None
        archived = {turn.number: turn for turn in archive}
        return [
            turn if turn.messages is not None else _filled(turn, archived.get(turn.number))
            for turn in turns
        ]


def _filled(turn: AnyTurn, archived: StoredTurn | None) -> AnyTurn:
    if archived is None:
        raise ArchiveDamagedError("The session's archive is shorter than the session.")
    content: dict[str, Any] = {"messages": archived.messages, "response": archived.response}
    filled: AnyTurn = replace(turn, **content)  # type: ignore[type-var]
    return filled
