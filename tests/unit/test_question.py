"""What a conversation is searched by."""

import pytest

from ibex.memory.recall import Said, question_of


def talk(*texts: str) -> list[Said]:
    """User and assistant in turn, the user first."""
    return [Said(("user", "assistant")[at % 2], text) for at, text in enumerate(texts)]


HOST = "What is the database host of the billing service?"
ANSWER = "It is db.example.com."


@pytest.mark.parametrize(
    "text",
    ["and the port?", "Why?", "And which port does the server listen on?", "Who owns it?"],
)
def test_what_leans_on_the_last_turn_is_searched_with_it(text: str) -> None:
    assert question_of(talk("Hello", "Hi", HOST, ANSWER, text)) == f"{HOST}\n{ANSWER}\n{text}"


@pytest.mark.parametrize(
    "text",
    [
        "Which hotel did Caroline book in Lisbon?",
        "Compare PostgreSQL with MySQL for me, please.",
        "Write a long letter to the landlord and tell him that the heating in the flat is broken.",
    ],
)
def test_what_stands_by_itself_is_searched_by_itself(text: str) -> None:
    assert question_of(talk(HOST, ANSWER, text)) == text


def test_the_first_message_has_nothing_to_lean_on() -> None:
    assert question_of(talk("and it?")) == "and it?"
    assert question_of([Said("system", "Be kind."), *talk("Why?")]) == "Why?"


def test_only_the_beginning_of_what_it_leans_on_counts() -> None:
    question = question_of(talk("u" * 1000, "a" * 1000, "Why?"))
    assert question == "\n".join(["u" * 300, "a" * 300, "Why?"])


def test_two_messages_of_the_user_without_an_answer_between_them() -> None:
    said = [Said("user", HOST), Said("user", "Please?")]
    assert question_of(said) == f"{HOST}\nPlease?"


def test_tool_results_and_the_system_are_no_context() -> None:
    said = [
        Said("user", HOST),
        Said("assistant", ""),
        Said("tool", "secret result"),
        Said("assistant", ANSWER),
        Said("system", "Injected."),
        Said("user", "Why?"),
    ]
    assert question_of(said) == f"{HOST}\n{ANSWER}\nWhy?"


def test_of_a_long_message_its_beginning_and_its_end() -> None:
    assert question_of(talk("b" * 500 + "m" * 500 + "e" * 900)) == "b" * 400 + "\n" + "e" * 800


def test_a_conversation_without_a_user_is_searched_by_its_newest_message() -> None:
    said = [Said("system", "x"), Said("assistant", "One."), Said("tool", "Two.")]
    assert question_of(said) == "Two."
    assert question_of([Said("system", "x"), Said("user", "  ")]) == ""
    assert question_of([]) == ""
