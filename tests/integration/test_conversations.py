"""Which session a request without a name belongs to, and which turn a request sent again is."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotpath.proxy.availability import Availability
from hotpath.proxy.background import Background
from hotpath.proxy.caller import Caller
from hotpath.proxy.known import KnownSessions
from hotpath.proxy.recorder import Recorder
from hotpath.proxy.retries import read_retry
from hotpath.proxy.sessions import FoundSession, SessionFinder
from hotpath.proxy.users import UserDirectory
from hotpath.proxy.wishes import read_wishes
from ibex.ids import new_id
from ibex.rpc import VerifiedAgent, VerifiedToken
from ibex.sessions import NewTurn
from ibex.spool import Spool
from ibex.stores.identity import IdentityStore
from ibex.stores.postgres import Database
from ibex.stores.sessions import SessionStore

Dict = dict[str, Any]
AGAIN = {"x-stainless-retry-count": "1"}


def user(text: str) -> Dict:
    return {"role": "user", "content": text}


def assistant(text: str) -> Dict:
    return {"role": "assistant", "content": text}


def system(text: str) -> Dict:
    return {"role": "system", "content": text}


class Process:
    """What one proxy process knows, without its HTTP."""

    def __init__(self, database: Database, folder: Path, org_id: UUID, agent_id: UUID) -> None:
        self.store = SessionStore(database)
        self.identity = IdentityStore(database)
        self.org_id, self.agent_id = org_id, agent_id
        known, availability = KnownSessions(), Availability(database)
        spool = Spool(folder, 2**20)
        users = UserDirectory(self.identity, 30)
        self.finder = SessionFinder(self.store, users, known, availability, spool)
        self.recorder = Recorder(self.store, known, availability, spool, Background())

    async def find(
        self, messages: Sequence[Mapping[str, Any]], headers: Mapping[str, str]
    ) -> FoundSession:
        token = VerifiedToken(self.org_id, new_id(), self.agent_id, frozenset({"chat"}), None)
        agent = VerifiedAgent(self.agent_id, "assistant", None, frozenset())
        caller = Caller(token, agent, read_wishes(headers))
        return await self.finder.find(caller, messages, read_retry(headers))

    async def record(
        self, found: FoundSession, messages: Sequence[Dict], answer: str | None, *, cut: bool
    ) -> None:
        await self.recorder.begin(
            NewTurn(
                org_id=self.org_id,
                session_id=found.session.id,
                request_id=f"r-{new_id()}",
                messages=messages,
                response=assistant(answer) if answer else None,
                model="m",
                resent=True,
                complete=not cut,
                opened=found.session,
                found_by_content=found.by_content,
                retried=found.retry.retried,
                request_key=found.retry.key,
                outline=found.asked,
            )
        )

    async def ask(
        self,
        *messages: Dict,
        answer: str | None = "yes",
        cut: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> UUID:
        """A request and its answer; the session it was said to be of."""
        found = await self.find(messages, headers or {})
        await self.record(found, messages, answer, cut=cut)
        return found.session.id

    async def sessions(self, external_user: str | None = None) -> list[UUID]:
        """The user's, the oldest first."""
        user_id = await self.identity.user(self.org_id, external_user) if external_user else None
        async with self.store._database.tenant(self.org_id) as connection:
            rows = await connection.fetch(
                "SELECT id FROM ibex_core.sessions WHERE agent_id = $1"
                " AND user_id IS NOT DISTINCT FROM $2::uuid ORDER BY id",
                self.agent_id,
                user_id,
            )
        return [row["id"] for row in rows]

    async def said(self, session_id: UUID) -> list[tuple[tuple[Dict, ...] | None, Dict | None]]:
        turns = await self.store.turns(self.org_id, session_id)
        return [(turn.messages, turn.response) for turn in turns]


@pytest.fixture
def process(database: Database, tmp_path: Path, org_id: UUID, agent_id: UUID) -> Process:
    return Process(database, tmp_path / "spool", org_id, agent_id)


@pytest.fixture
def other(database: Database, tmp_path: Path, org_id: UUID, agent_id: UUID) -> Process:
    return Process(database, tmp_path / "spool", org_id, agent_id)


# --- a conversation grows ---

SPEAKERS = ((None, "a"), ("u-1", "b"), ("u-2", "b"))  # two users say and hear the same
tries = st.lists(st.sampled_from(["cut", "silent", "lost"]), max_size=2)
steps = st.lists(
    st.tuples(
        st.integers(0, len(SPEAKERS) - 1),
        st.sampled_from(["one", "two"]),  # what is said
        st.booleans(),  # with the time in the system message
        tries,
        st.booleans(),  # each try meets another process
    ),
    max_size=8,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps)
async def test_a_conversation_is_one_session_and_a_request_one_turn(
    database: Database,
    identity: IdentityStore,
    tmp_path: Path,
    org_id: UUID,
    script: list[tuple[int, str, bool, list[str], bool]],
) -> None:
    agent_id = await identity.create_agent(org_id, f"agent-{new_id()}")
    processes = [Process(database, tmp_path / "spool", org_id, agent_id) for _ in range(2)]
    histories: list[list[Dict]] = [[] for _ in SPEAKERS]
    expected: list[list[tuple[Dict, Dict]]] = [[] for _ in SPEAKERS]
    for number, (who, text, timed, outcomes, wanders) in enumerate(script):
        name, voice = SPEAKERS[who]
        history = histories[who]
        said = user(f"{text} {voice}")
        request = [system(f"It is {number}.")] * timed + [*history, said]
        answer = f"{voice} {len(history)}"
        for attempt, outcome in enumerate([*outcomes, "heard"]):
            headers = {"x-stainless-retry-count": str(attempt)}
            if name:
                headers["x-ibex-user-id"] = name
            process = processes[attempt % 2 if wanders else 0]
            found = await process.find(request, headers)
            partial = {"cut": "a b", "silent": None}.get(outcome, f"{answer} {attempt}")
            await process.record(found, request, partial, cut=outcome in ("cut", "silent"))
        last = assistant(f"{answer} {len(outcomes)}")
        histories[who] = [*history, said, last]
        expected[who].append((said, last))
    for (name, _), turns in zip(SPEAKERS, expected, strict=True):
        sessions = await processes[0].sessions(name)
        assert len(sessions) == (1 if turns else 0)
        for session_id in sessions:
            stored = await processes[0].said(session_id)
            assert [((m or ())[-1], r) for m, r in stored] == turns


async def test_the_first_message_alone_goes_on_with_nothing(process: Process) -> None:
    first = await process.ask(user("Hi"), answer="Hello")
    assert await process.ask(user("Hi"), answer="Hello") != first
    assert len(await process.sessions()) == 2


async def test_of_two_alike_the_later_one_goes_on(process: Process) -> None:
    await process.ask(user("Hi"), answer="Hello")
    later = await process.ask(user("Hi"), answer="Hello")
    conversation = [user("Hi"), assistant("Hello")]
    assert await process.ask(*conversation, user("one")) == later
    # What the other has said since makes no difference: it is the only one that ends so.
    assert await process.ask(*conversation, user("two")) == (await process.sessions())[0]
    assert len(await process.sessions()) == 2


async def test_a_fork_is_a_session_of_its_own_with_the_whole_conversation(
    process: Process,
) -> None:
    first = await process.ask(user("one"), answer="a1")
    common = [user("one"), assistant("a1")]
    assert await process.ask(*common, user("two"), answer="a2") == first
    edited = await process.ask(*common, user("two, but better"), answer="a3")
    assert edited != first
    assert await process.said(edited) == [
        ((*common, user("two, but better")), assistant("a3")),
    ]
    # Each goes on for itself.
    assert await process.ask(*common, user("two"), assistant("a2"), user("x")) == first
    further = [*common, user("two, but better"), assistant("a3"), user("x")]
    assert await process.ask(*further) == edited
    # To have the answer written anew is a fork as well.
    assert await process.ask(*further) not in (first, edited)


async def test_what_goes_on_two_ways_at_once_is_two_sessions(process: Process) -> None:
    first = await process.ask(user("one"), answer="a1")
    common = [user("one"), assistant("a1")]
    requests = [[*common, user(text)] for text in ("left", "right")]
    found = await asyncio.gather(*(process.find(request, {}) for request in requests))
    assert {one.session.id for one in found} == {first}
    await asyncio.gather(
        *(
            process.record(one, request, "yes", cut=False)
            for one, request in zip(found, requests, strict=True)
        )
    )
    sessions = await process.sessions()
    assert len(sessions) == 2
    assert sorted([len(await process.said(one)) for one in sessions]) == [1, 2]


async def test_what_clients_change_on_the_way_back_makes_no_difference(process: Process) -> None:
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "f", "arguments": '{"b": 1, "a": [2]}'},
    }
    messages: list[Dict] = [system("It is 9:00."), user("one")]
    found = await process.find(messages, {})
    turn = NewTurn(
        org_id=process.org_id,
        session_id=found.session.id,
        request_id=f"r-{new_id()}",
        messages=messages,
        response=assistant("") | {"content": None, "tool_calls": [call], "refusal": None},
        model="m",
        resent=True,
        opened=found.session,
        found_by_content=True,
        outline=found.asked,
    )
    await process.recorder.begin(turn)
    first = found.session.id
    sent_back = {
        "role": "assistant",
        "tool_calls": [
            {
                "id": "c1",
                "index": 0,
                "type": "function",
                "function": {"name": "f", "arguments": '{"a":[2],"b":1}'},
            }
        ],
    }
    tool = {"role": "tool", "tool_call_id": "c1", "content": "3"}
    more = [system("It is 9:01."), user("one"), sent_back, tool]
    assert await process.ask(*more, answer=" done\n") == first
    parts = {"role": "assistant", "content": [{"type": "text", "text": "done"}]}
    assert await process.ask(*more, parts, user("two")) == first
    assert [len(messages or ()) for messages, _ in await process.said(first)] == [2, 1, 1]


async def test_a_client_that_cuts_the_beginning_off_stays_in_its_session(
    process: Process,
) -> None:
    conversation: list[Dict] = []
    sessions = set()
    for number in range(8):
        asked = [*conversation, user(f"q{number}")]
        window = [system("s"), *asked[-5:]]
        sessions.add(await process.ask(*window, answer=f"a{number}"))
        conversation = [*asked, assistant(f"a{number}")]
    (session,) = sessions
    turns = await process.said(session)
    assert [(messages or ())[-1] for messages, _ in turns] == [user(f"q{n}") for n in range(8)]
    assert [len(messages or ()) for messages, _ in turns] == [2] + [1] * 7
    # Only as long as the conversation lasts, and not by less than two exchanges.
    await process.store.complete(process.org_id, session)
    window = [*conversation[-4:], user("late")]
    assert await process.ask(*window) != session


async def test_a_completed_session_comes_back(process: Process) -> None:
    first = await process.ask(user("one"), answer="a1")
    await process.store.complete(process.org_id, first)
    assert await process.ask(user("one"), assistant("a1"), user("two")) == first
    session = await process.store.session(process.org_id, first)
    assert (session.status, session.turn_count) == ("active", 2)


async def test_a_name_wins_over_what_was_said(process: Process) -> None:
    first = await process.ask(user("one"), answer="a1")
    more = [user("one"), assistant("a1"), user("two")]
    named = await process.ask(*more, headers={"x-ibex-session-id": "s-1"})
    assert named != first
    assert await process.ask(*more, headers={"x-ibex-session-id": str(first)}) == first


async def test_an_answer_stopped_halfway_is_gone_on_from(process: Process) -> None:
    first = await process.ask(user("one"), answer="Half an", cut=True)
    seen = [user("one"), assistant("Half"), user("two")]  # less than the proxy saw
    assert await process.ask(*seen) == first
    assert len(await process.said(first)) == 2


# --- the same request again ---


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("turn", [1, 2])
async def test_a_retry_replaces_what_the_client_did_not_get(
    process: Process, other: Process, named: bool, turn: int
) -> None:
    headers = {"x-ibex-session-id": "s-1"} if named else {}
    request = [user("one")]
    if turn == 2:
        await process.ask(*request, answer="a1", headers=headers)
        request += [assistant("a1"), user("two")]
    first = await process.ask(*request, answer="lost", headers=headers)
    again = {**headers, **AGAIN}
    assert await other.ask(*request, answer="heard", headers=again) == first
    turns = await process.said(first)
    assert len(turns) == turn
    assert turns[-1][1] == assistant("heard")
    # A try that broke off later is nothing.
    assert await process.ask(*request, answer="hea", cut=True, headers=again) == first
    assert await process.said(first) == turns
    goes_on = [*request, assistant("heard"), user("more")]
    assert await process.ask(*goes_on, headers=headers) == first
    assert len(await process.sessions()) == 1


async def test_an_idempotency_key_makes_one_turn(process: Process, other: Process) -> None:
    first = await process.ask(user("one"), answer="a1", headers={"idempotency-key": "k"})
    assert await other.ask(user("one"), answer="a2", headers={"idempotency-key": "k"}) == first
    assert await other.ask(user("one"), answer="a2", headers={"idempotency-key": "other"}) != first
    assert await other.ask(user("another"), answer="a2", headers={"idempotency-key": "k"}) != first
    assert len(await process.said(first)) == 1


@pytest.mark.parametrize("headers", [{}, {"x-ibex-session-id": "s"}, {"x-ibex-user-id": "u"}])
async def test_two_at_once_are_one_turn(process: Process, headers: dict[str, str]) -> None:
    request = [user("one")]
    if not headers:
        await process.ask(*request, answer="a1")
        request += [assistant("a1"), user("two")]
    found = [await process.find(request, headers) for _ in range(3)]
    assert len({one.session.id for one in found}) == 1
    await asyncio.gather(
        *(process.record(one, request, f"x{n}", cut=n == 1) for n, one in enumerate(found))
    )
    turns = await process.said(found[0].session.id)
    assert len(turns) == (1 if headers else 2)
    assert turns[-1][1] != assistant("x1")


async def test_what_the_pipeline_has_seen_is_not_replaced(
    process: Process, database: Database
) -> None:
    first = await process.ask(user("one"), answer="a1")
    async with database.tenant(process.org_id) as connection:
        await connection.execute("UPDATE ibex_core.sessions SET last_extracted_turn = 1")
    assert await process.ask(user("one"), answer="a2", headers=AGAIN) == first
    assert [answer for _, answer in await process.said(first)] == [
        assistant("a1"),
        assistant("a2"),
    ]
