"""Brings history in: one conversation a line, recorded as completed sessions at their own times.

    {"agent": "support", "session_id": "c-17", "user": "u-4", "started_at": "2026-01-31T12:00:00Z",
     "messages": [{"role": "user", "content": "…", "id": "m1", "created_at": "…"}, …]}

`agent` is a name or an id; `user` and the messages' `id` and `created_at` are optional. A turn is
what was said up to and including an answer of the assistant. Importing a line again changes
nothing; a line whose conversation has grown adds the turns that are new.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from ibex.conversation import chain
from ibex.errors import AgentNotFoundError, ConflictError, InvalidRequestError
from ibex.stores.identity import IdentityStore
from ibex.stores.sessions import NewTurn, SessionStore

MAX_LINE_BYTES = 64 * 2**20
_IMPORTED_MODEL = "imported"

Name = Annotated[str, Field(min_length=1, max_length=200)]


class ImportedMessage(BaseModel):
    """One message in OpenAI form; fields we do not know are kept."""

    model_config = ConfigDict(extra="allow", frozen=True)

    role: Annotated[str, Field(pattern="^(system|developer|user|assistant|tool|function)$")]
    content: str | list[dict[str, Any]] | None = None
    id: Name | None = None
    created_at: AwareDatetime | None = None


class Conversation(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    agent: Name
    session_id: Name
    user: Name | None = None
    started_at: AwareDatetime
    messages: Annotated[tuple[ImportedMessage, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Line:
    number: int  # from 1
    end: int  # offset in the file after this line, bytes
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class LineError:
    line: int
    reason: str  # never what the line says


@dataclass(frozen=True)
class ImportSummary:
    sessions: int = 0
    turns: int = 0
    unchanged: int = 0  # sessions that were there already, whole
    errors: tuple[LineError, ...] = ()


@dataclass(frozen=True)
class ImportedTurn:
    number: int  # from 1
    messages: tuple[ImportedMessage, ...]
    response: ImportedMessage | None
    started_at: datetime
    ended_at: datetime


def read_lines(path: Path) -> Iterator[Line]:
    """Every line that is not blank, one at a time: the file may be larger than the memory."""
    offset = 0
    with path.open("rb") as file:
        for number, data in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), 1):
            offset += len(data)
            if data.strip():
                yield Line(number, offset, data)


def parse_line(data: bytes) -> Conversation:
    """Raises InvalidRequestError that names the field and never its value."""
    if len(data) > MAX_LINE_BYTES:
        raise InvalidRequestError(f"The line is longer than {MAX_LINE_BYTES // 2**20} MiB.")
    try:
        return Conversation.model_validate(orjson.loads(data))
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"Not JSON (at character {error.pos}).") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "line"
        raise InvalidRequestError(f"{place}: {first['msg']}.") from None


def split_turns(conversation: Conversation) -> list[ImportedTurn]:
    """Messages without a time of their own happen when the one before them did."""
    turns: list[ImportedTurn] = []
    pending: list[ImportedMessage] = []
    now = started = conversation.started_at.astimezone(UTC)
    for message in conversation.messages:
        now = max(now, (message.created_at or now).astimezone(UTC))
        if not pending:
            started = now
        if message.role == "assistant":
            turns.append(ImportedTurn(len(turns) + 1, tuple(pending), message, started, now))
            pending = []
        else:
            pending.append(message)
    if pending:
        turns.append(ImportedTurn(len(turns) + 1, tuple(pending), None, started, now))
    return turns


class Importer:
    """Records conversations for one organization."""

    def __init__(
        self,
        org_id: UUID,
        identity: IdentityStore,
        sessions: SessionStore,
        *,
        create_agents: bool = False,
    ) -> None:
        self._org_id = org_id
        self._identity = identity
        self._sessions = sessions
        self._create_agents = create_agents
        self._agents: dict[str, UUID] = {}
        self._users: dict[str, UUID] = {}

    async def add(self, line: Line, summary: ImportSummary) -> ImportSummary:
        """The summary with this line in it: a wrong line is counted, and the rest goes on.

        Raises DatabaseUnavailableError and the like: those are not the line's fault.
        """
        try:
            conversation = parse_line(line.data)
            recorded = await self._record(conversation)
        except (InvalidRequestError, AgentNotFoundError, ConflictError) as error:
            wrong = LineError(line.number, error.message)
            return replace(summary, errors=(*summary.errors, wrong))
        if recorded == 0:
            return replace(summary, unchanged=summary.unchanged + 1)
        return replace(summary, sessions=summary.sessions + 1, turns=summary.turns + recorded)

    async def _record(self, conversation: Conversation) -> int:
        """The number of turns that are new."""
        agent_id = await self._agent(conversation.agent)
        user_id = await self._user(conversation.user)
        turns = split_turns(conversation)
        session = await self._sessions.open_session(
            self._org_id,
            agent_id,
            user_id,
            conversation.session_id,
            origin="import",
            started_at=turns[0].started_at,
        )
        if session.origin != "import":
            raise ConflictError("A live session has this session_id; it was left as it is.")
        self._check_unchanged(turns, session.turn_count, session.chain_hash)
        new = turns[session.turn_count :]
        for turn in new:
            await self._sessions.record_turn(
                NewTurn(
                    org_id=self._org_id,
                    session_id=session.id,
                    request_id=f"import-{session.id}-{turn.number}",
                    messages=[_as_dict(message) for message in turn.messages],
                    response=_as_dict(turn.response) if turn.response else None,
                    model=_IMPORTED_MODEL,
                    started_at=turn.started_at,
                    created_at=turn.ended_at,
                )
            )
        if new or session.status != "completed":
            await self._sessions.complete(self._org_id, session.id, at=turns[-1].ended_at)
        return len(new)

    @staticmethod
    def _check_unchanged(
        turns: Sequence[ImportedTurn], recorded: int, chain_hash: bytes | None
    ) -> None:
        if recorded == 0:
            return
        before = [
            _as_dict(message)
            for turn in turns[:recorded]
            for message in (*turn.messages, *((turn.response,) if turn.response else ()))
        ]
        if recorded > len(turns) or chain(before)[-1] != chain_hash:
            raise ConflictError(
                "This session was imported before with other messages; it was left as it is."
            )

    async def _agent(self, name: str) -> UUID:
        if name not in self._agents:
            try:
                self._agents[name] = (await self._identity.agent(self._org_id, name)).id
            except AgentNotFoundError:
                if not self._create_agents:
                    raise AgentNotFoundError(
                        "The agent does not exist; add --create-agents to make it."
                    ) from None
                self._agents[name] = await self._identity.create_agent(self._org_id, name)
        return self._agents[name]

    async def _user(self, external_id: str | None) -> UUID | None:
        if external_id is None:
            return None
        if external_id not in self._users:
            self._users[external_id] = await self._identity.user(self._org_id, external_id)
        return self._users[external_id]


def _as_dict(message: ImportedMessage) -> dict[str, Any]:
    return message.model_dump(mode="json", exclude_unset=True)
