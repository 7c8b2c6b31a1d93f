"""Two requests of a session whose client messages continue each other: a prefix, byte for byte."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibex.conversation import chain
from ibex.memory.model import Category, ScoredMemory
from ibex.memory.packing import RELEVANCE_FLOOR
from ibex.memory.pinning import (
    FRONT,
    MINIMUM_GAIN,
    NAMED_DROPS,
    Composition,
    Decision,
    Spoken,
    Terms,
    anchor_of,
    compose,
    pinned,
    remembered,
)
from ibex.memory.rendering import EXPLANATION, LATER_EXPLANATION
from tests.unit.candidates import scored

Dict = dict[str, Any]
DIRECTIVE = "Be kind."


def user(text: str) -> Dict:
    return {"role": "user", "content": text}


def assistant(text: str, *calls: str) -> Dict:
    said: Dict = {"role": "assistant", "content": text}
    if calls:
        said["tool_calls"] = [{"id": call, "type": "function"} for call in calls]
    return said


def tool(call: str) -> Dict:
    return {"role": "tool", "tool_call_id": call, "content": f"result of {call}"}


def spoken(messages: Sequence[Dict]) -> list[Spoken]:
    return [
        Spoken(
            one["role"],
            anchor_of(link) if one["role"] == "user" else b"",
            bool(one.get("tool_calls")),
        )
        for one, link in zip(messages, chain(messages), strict=True)
    ]


TERMS = Terms(
    budget=400,
    room=100_000,
    first_limit=240,
    later_limit=100,
    count=lambda text: len(text) // 8,
)


@dataclass
class Session:
    """What assembler and proxy do, without any of the two."""

    log: dict[bytes, Decision] = field(default_factory=dict)
    requests: list[tuple[list[Dict], list[Dict]]] = field(default_factory=list)

    def ask(
        self,
        messages: list[Dict],
        memories: Sequence[ScoredMemory] = (),
        directive: str | None = DIRECTIVE,
        **terms: Any,
    ) -> Composition:
        changed = replace(TERMS, **{"sent_before": bool(self.requests), **terms})
        done = compose(self.log, spoken(messages), memories, directive, changed)
        for decision in done.new:
            self.log.setdefault(decision.anchor, decision)
        self.log.update({one.anchor: one for one in done.corrected})
        sent: list[Dict] = []
        for place, message in enumerate(messages):
            sent += [
                {"role": "system", "content": block.content}
                for block in done.blocks
                if block.place == place
            ]
            sent.append(message)
        self.requests.append((messages, sent))
        return done


def given_ids(done: Composition) -> list[int]:
    return [memory.id.int for block in done.blocks for memory in block.memories]


def reasons(done: Composition) -> dict[int, str]:
    return {one.id.int: one.reason for one in done.dropped}


ONE, TWO = [user("one")], [user("one"), assistant("1"), user("two")]
HOST, CAT = scored(1, 0.9, 5), scored(2, 0.8, 5)


def test_the_first_memories_stand_in_front_and_later_ones_before_the_newest_user_message() -> None:
    session = Session()
    first = session.ask(ONE, [HOST])
    second = session.ask(TWO, [HOST, CAT])
    front, later = second.blocks
    assert front == first.blocks[0]
    assert front.content.startswith(DIRECTIVE)
    assert EXPLANATION in front.content
    assert (later.place, [one.id.int for one in later.memories]) == (2, [2])
    assert LATER_EXPLANATION in later.content
    assert DIRECTIVE not in later.content
    assert [one["content"] for one in session.requests[-1][1]] == [
        front.content,
        "one",
        "1",
        later.content,
        "two",
    ]


def test_the_same_request_again_is_the_same_bytes_whatever_was_learned_meanwhile() -> None:
    session = Session()
    session.ask(TWO, [HOST])
    again = session.ask(TWO, [HOST, CAT])
    assert session.requests[0][1] == session.requests[1][1]
    assert reasons(again) == {2: "settled"}
    assert again.new == ()


def test_a_branch_of_the_conversation_finds_its_own_insertions_again() -> None:
    session = Session()
    edited = [*TWO[:2], user("two, but different")]
    session.ask(ONE, [])
    session.ask(TWO, [CAT])
    branch = session.ask(edited, [HOST, CAT])
    assert set(given_ids(branch)) == {1, 2}
    assert all(block.place in (0, 2) for block in branch.blocks)
    session.ask([*TWO, assistant("2"), user("three")], [HOST, CAT])
    first, second = session.requests[1][1], session.requests[3][1]
    assert second[: len(first)] == first


def test_a_memory_is_never_given_twice_nor_what_says_the_same() -> None:
    session = Session()
    session.ask(ONE, [HOST])
    twin = scored(3, 0.9, 5, content=HOST.candidate.content)
    done = session.ask(TWO, [HOST, twin])
    assert given_ids(done) == [1]
    assert reasons(done) == {3: "duplicate"}


@pytest.mark.parametrize(
    ("relevance", "category", "given", "why"),
    [
        (0.31, Category.DECLARATIVE, True, None),
        (0.29, Category.DECLARATIVE, False, "gain"),
        (RELEVANCE_FLOOR - 0.01, Category.PROCEDURAL, False, "relevance"),
    ],
)
def test_an_insertion_must_pay(
    relevance: float, category: Category, given: bool, why: str | None
) -> None:
    assert pytest.approx(0.30 * 0.40) == MINIMUM_GAIN
    session = Session()
    memory = scored(2, 0.9, 5, relevance, category=category)
    session.ask(ONE, [])
    done = session.ask(TWO, [memory])
    assert given_ids(done) == ([2] if given else [])
    assert reasons(done).get(2) == why


def test_what_does_not_exist_any_more_vanishes_and_does_not_come_back_in_its_place() -> None:
    session = Session()
    session.ask(ONE, [HOST, CAT])
    done = session.ask(TWO, [CAT])
    assert given_ids(done) == [2]
    assert reasons(done) == {1: "gone"}
    (corrected,) = done.corrected
    assert [one.id.int for one in corrected.memories] == [2]
    back = session.ask([*TWO, assistant("2"), user("three")], [HOST, CAT])
    front, later = back.blocks
    assert [one.id.int for one in front.memories] == [2]
    assert ([one.id.int for one in later.memories], later.place) == ([1], 4)


def test_a_memory_that_says_something_else_now_is_not_the_one_that_was_given() -> None:
    session = Session()
    session.ask(ONE, [HOST])
    changed = scored(1, 0.9, 5, content="Something else.", version=2)
    done = session.ask(TWO, [changed])
    assert reasons(done) == {1: "gone"}
    (directive,) = (block for block in done.blocks if block.anchor == FRONT)
    assert directive.content == DIRECTIVE
    confirmed = scored(2, 0.9, 5, version=2, confidence=1.0)
    assert pinned(confirmed.candidate).digest == pinned(CAT.candidate).digest


def test_what_cannot_be_looked_up_is_left_out_and_not_forgotten() -> None:
    session = Session()
    session.ask(ONE, [HOST, CAT])
    done = session.ask(TWO, [CAT], verified=False, may_add=False)
    assert (given_ids(done), reasons(done)) == ([2], {1: "unknown"})
    assert (done.new, done.corrected) == ((), ())
    session.ask(TWO, [HOST, CAT])
    assert session.requests[2][1][0] == session.requests[0][1][0]


def test_a_changed_directive_applies_at_once_and_breaks_the_prefix_once() -> None:
    session = Session()
    session.ask(ONE, [HOST])
    session.ask(TWO, [HOST], directive="Be brief.")
    session.ask([*TWO, assistant("2"), user("three")], [HOST], directive="Be brief.")
    before, changed, after = (sent for _, sent in session.requests)
    assert before[0]["content"].replace(DIRECTIVE, "Be brief.") == changed[0]["content"]
    assert after[: len(changed)] == changed


def test_a_session_that_went_without_memories_gets_them_where_nothing_was_sent_yet() -> None:
    session = Session(requests=[(ONE, [{"role": "system", "content": DIRECTIVE}, *ONE])])
    done = session.ask(TWO, [HOST])
    assert [(block.place, len(block.memories)) for block in done.blocks] == [(0, 0), (2, 1)]
    assert session.requests[1][1][:2] == session.requests[0][1]


@pytest.mark.parametrize(
    "messages",
    [
        [user("one"), assistant("", "a"), tool("a")],
        [user("one"), assistant("", "a"), user("wait"), tool("a")],
        [user("one"), assistant("", "a", "b"), tool("a"), user("wait"), tool("b")],
        [user("one"), assistant("", "a"), user("wait")],
    ],
)
def test_nothing_comes_between_a_call_and_its_results(messages: list[Dict]) -> None:
    session = Session()
    session.ask(ONE, [])
    done = session.ask(messages, [HOST])
    assert given_ids(done) == []
    assert reasons(done) == {1: "settled"}


def test_a_session_s_memories_share_one_budget() -> None:
    session = Session()
    said: list[Dict] = []
    sizes = []
    for number in range(12):
        said += [user(f"question {number}")]
        many = [scored(number * 20 + one, 0.9, 6) for one in range(1, 20)]
        known = [scored(one.int, 0.9, 6) for one in remembered(session.log, spoken(said))]
        done = session.ask(list(said), [*known, *many], directive=None)
        sizes.append(sum(TERMS.count(block.content) for block in done.blocks))
        said += [assistant("yes")]
    assert sizes == sorted(sizes)
    assert 0 < sizes[0] <= TERMS.first_limit < sizes[-1] <= TERMS.budget
    assert all(after - before <= TERMS.later_limit for before, after in pairwise(sizes))


def test_what_the_window_has_no_room_for_goes_the_latest_first_and_comes_back() -> None:
    session = Session()
    session.ask(ONE, [HOST])
    session.ask(TWO, [HOST, CAT])
    both = session.requests[-1][1]
    front = TERMS.count(session.requests[-1][1][0]["content"])
    tight = session.ask(TWO, [HOST, CAT], room=front)
    assert (given_ids(tight), reasons(tight)) == ([1], {2: "window"})
    assert given_ids(session.ask(TWO, [HOST, CAT], room=0)) == []
    session.ask(TWO, [HOST, CAT])
    assert session.requests[-1][1] == both


def test_not_more_than_twenty_that_were_dropped_are_named_the_best_first() -> None:
    done = Session().ask(ONE, [scored(one, one / 100, 5, relevance=0.0) for one in range(1, 90)])
    assert [one.id.int for one in done.dropped] == list(range(89, 89 - NAMED_DROPS, -1))


def test_without_a_user_message_only_the_front_is_decided() -> None:
    done = Session().ask([{"role": "system", "content": "x"}], [HOST])
    assert [one.anchor for one in done.new] == [FRONT]
    assert given_ids(done) == [1]


# --- any session ---

_MEMORIES = st.lists(
    st.builds(
        lambda number, score, relevance, category: scored(
            number, score, 1 + number % 9, relevance, category=category
        ),
        st.integers(1, 40),
        st.floats(0, 1),
        st.floats(0, 1),
        st.sampled_from(Category),
    ),
    max_size=25,
    unique_by=lambda one: one.candidate.id,
)
_STEPS = st.lists(
    st.tuples(st.sampled_from(["turn", "tools", "again", "edit", "trim", "twice"]), _MEMORIES),
    min_size=2,
    max_size=12,
)


def _next(kind: str, said: list[Dict], number: int) -> list[Dict]:
    if not said:
        return [user(f"u{number}")]
    newest = max(at for at, one in enumerate(said) if one["role"] == "user")
    call = f"c{number}"
    steps = {
        "turn": [*said, assistant(f"a{number}"), user(f"u{number}")],
        "tools": [*said, assistant("", call, f"{call}b"), tool(call), tool(f"{call}b")],
        "edit": [*said[:newest], user(f"edited {number}")],
        "trim": said[newest:],
        "twice": [*said, user(f"first {number}"), user(f"second {number}")],
    }
    return steps.get(kind, said)


@given(_STEPS, st.booleans())
def test_the_earlier_request_is_a_prefix_of_every_later_one_that_continues_it(
    steps: list[tuple[str, list[ScoredMemory]]], directed: bool
) -> None:
    session = Session()
    world: dict[UUID, ScoredMemory] = {}
    said: list[Dict] = []
    for number, (kind, memories) in enumerate(steps):
        said = _next(kind, said, number)
        for memory in memories:
            world.setdefault(memory.candidate.id, memory)
        # Recall finds some; what the log has is looked up.
        found = {one.candidate.id: world[one.candidate.id] for one in memories}
        found |= {one: world[one] for one in remembered(session.log, spoken(said))}
        done = session.ask(said, list(found.values()), DIRECTIVE if directed else None)
        assert len(given_ids(done)) == len(set(given_ids(done)))
        assert not done.corrected
        for before, after in pairwise(session.requests[-1][1]):
            assert not (before.get("tool_calls") and after["role"] == "system")
            assert not (before["role"] == "system" and after["role"] == "tool")
    for at, (messages, sent) in enumerate(session.requests):
        for later, sent_later in session.requests[at + 1 :]:
            if later[: len(messages)] == messages:
                assert orjson.dumps(sent_later).startswith(orjson.dumps(sent)[:-1])
