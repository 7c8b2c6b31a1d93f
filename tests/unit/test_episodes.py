"""Episodic memories without a model."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibex.extraction.episodes import confidence_in, says_little
from ibex.extraction.episodes import episodes as episodes_of
from ibex.extraction.transcript import TurnMessage, TurnText
from ibex.memory.model import Category, Fact, Source
from ibex.memory.writing.validating import is_valid

_AT = datetime(2026, 5, 8, tzinfo=UTC)


def turn(number: int, *messages: TurnMessage) -> TurnText:
    return TurnText(number, _AT, messages)


def episodes(turns: list[TurnText], *, imported: bool = False) -> list[Fact]:
    return episodes_of(turns, imported=imported)


def test_each_message_is_an_episode_that_knows_who_said_it_where() -> None:
    made = episodes(
        [
            turn(
                3,
                TurnMessage("user", "I moved to Lisbon in May.", "Caroline", "D1:5"),
                TurnMessage("assistant", "Then the tram 28 is yours.", None, "D1:6"),
            ),
            turn(4, TurnMessage("user", "My boat is called Ida.")),
        ]
    )
    assert [(one.content, one.source, one.turns, one.message_ids) for one in made] == [
        ("Caroline: I moved to Lisbon in May.", Source.USER, (3,), ("D1:5",)),
        ("Assistant: Then the tram 28 is yours.", Source.ASSISTANT, (3,), ("D1:6",)),
        ("User: My boat is called Ida.", Source.USER, (4,), ()),
    ]
    assert {one.category for one in made} == {Category.EPISODIC}
    places = [one.place for one in made]
    assert places == sorted(places, key=lambda place: place or 0)
    assert len(set(places)) == 3


def test_an_answer_that_says_again_what_was_said_or_given_is_none() -> None:
    host = "The staging host is db1.example.com."
    spoken = [
        turn(
            1,
            TurnMessage("user", "My boat is called Ida."),
            TurnMessage("assistant", "Noted: your boat is called Ida!"),
        ),
        turn(
            2,
            TurnMessage("user", "Which host does staging have?"),
            TurnMessage("assistant", f"As you told me: {host}"),
        ),
        turn(
            3,
            TurnMessage("user", "And the port?"),
            TurnMessage("assistant", f"{host} Its port is 6543, behind the office's firewall."),
        ),
    ]
    asked = {one.turns[0]: one for one in episodes_of(spoken, imported=False, given={2: [host]})}
    assert [asked[number].source for number in (1, 2)] == [Source.USER, Source.USER]
    assert "6543" in asked[3].content
    assert len(episodes_of(spoken, imported=False, given={2: [host]})) == 4
    assert len(episodes_of(spoken, imported=False)) == 5  # nobody gave it the host
    assert len(episodes_of(spoken, imported=True, given={2: [host]})) == 6


def test_what_was_pasted_or_imported_says_so() -> None:
    turns = [
        turn(
            1,
            TurnMessage("user", "I moved to Lisbon in May."),
            TurnMessage("document", "The tram 28 goes there."),
        )
    ]
    assert [(one.content, one.source) for one in episodes(turns)] == [
        ("User: I moved to Lisbon in May.", Source.USER),
        ("Document: The tram 28 goes there.", Source.DOCUMENT),
    ]
    imported = episodes(turns, imported=True)
    assert [one.source for one in imported] == [Source.IMPORT, Source.DOCUMENT]


@pytest.mark.parametrize("role", ["system", "developer", "tool", "function"])
def test_what_no_person_and_no_model_said_is_none(role: str) -> None:
    assert episodes([turn(1, TurnMessage(role, "The database host is db.example.com."))]) == []


@pytest.mark.parametrize(
    "text",
    [
        *("Hi!", "Hello there", "Hey Mel! How have you been?", "Thanks, Dr. Miller!", "ok", "👍"),
        *(
            "Noted.",
            "Good morning!",
            "Sounds great, thank you so much!",
            "Danke!",
            "Merci bien",
            "",
        ),
        *("You're welcome! Let me know if you need anything else.", "Yes please.", "..."),
    ],
)
def test_greetings_and_noise_are_none(text: str) -> None:
    assert says_little(text)
    assert episodes([turn(1, TurnMessage("user", text))]) == []


@pytest.mark.parametrize(
    "text",
    [
        *(
            "I am vegan.",
            "Port 8443.",
            "Hey Mel! I got the job at Acme.",
            "I prefer short answers.",
        ),
        *("ich bin Vegetarier", "我住在里斯本", "db.example.com", "Yes, in Davos last winter."),
    ],
)
def test_what_says_something_is_one(text: str) -> None:
    assert len(episodes([turn(1, TurnMessage("user", text))])) == 1


def test_a_long_message_becomes_pieces_that_end_where_sentences_do() -> None:
    text = " ".join(
        f"Shelf {number} holds the jars of plum number {number}." for number in range(60)
    )
    made = episodes([turn(1, TurnMessage("assistant", text, None, "m-1"))])
    assert len(made) > 2
    assert all(len(one.content) < 750 and one.content.endswith(".") for one in made)
    assert {one.message_ids for one in made} == {("m-1",)}
    assert " ".join(one.content.removeprefix("Assistant: ") for one in made) == text
    endless = episodes([turn(1, TurnMessage("user", "plum jam " * 50_000))])
    assert len(endless) == 12


def test_a_question_and_a_few_words_are_worth_less_than_a_statement() -> None:
    statement = (
        "We moved the billing service to the cluster in Frankfurt last Tuesday evening, right "
        "after the lunch with Nadia Okoye."
    )
    question = (
        "Did we move the billing service to the cluster in Frankfurt last Tuesday after lunch?"
    )
    assert confidence_in(statement) == 0.9
    assert (
        confidence_in(statement)
        > confidence_in(f"{statement} {question}")
        > confidence_in(question)
    )
    assert confidence_in("In Davos.") < confidence_in(statement)


@given(st.text(max_size=3000), st.text(max_size=80), st.sampled_from(["user", "assistant"]))
def test_whatever_is_said_makes_valid_facts(text: str, name: str, role: str) -> None:
    for fact in episodes([turn(1, TurnMessage(role, text, name))]):
        assert is_valid(fact, {1: _AT})
        assert "\n" not in fact.content.split(":")[0]
        assert 0.1 <= fact.confidence <= 0.9
