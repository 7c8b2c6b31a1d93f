import math
from datetime import UTC, datetime

import pytest

from ibex.memory.model import Category, Fact, Source
from ibex.memory.writing import content_hash
from ibex.memory.writing.redacting import redact_fact, says_something
from ibex.memory.writing.validating import MAX_CONTENT, MAX_LABEL, MAX_TAGS, is_valid, valid_from

SAID_AT = {1: datetime(2026, 3, 1, tzinfo=UTC), 2: datetime(2026, 3, 2, tzinfo=UTC)}
NOW = datetime(2026, 4, 1, tzinfo=UTC)


def fact(
    content: str = "The host is db.example.com.",
    *,
    confidence: float = 0.9,
    turns: tuple[int, ...] = (1,),
    subject: str = "",
    since: datetime | None = None,
    tags: tuple[str, ...] = (),
) -> Fact:
    return Fact(
        Category.DECLARATIVE,
        content,
        confidence,
        Source.USER,
        turns,
        subject=subject,
        valid_from=since,
        tags=tags,
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The host is db.", "  The  host\n is db. "),
        ("ﬁle ①", "file 1"),
        ("\uff21\uff22", "AB"),
    ],
)
def test_the_same_words_have_the_same_hash(one: str, other: str) -> None:
    assert content_hash(one) == content_hash(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("host DB", "host db"), ("port 5432", "port 5433"), ("I like it", "I like it not")],
)
def test_other_words_have_another_hash(one: str, other: str) -> None:
    assert content_hash(one) != content_hash(other)


@pytest.mark.parametrize(
    "wrong",
    [
        fact(" \n"),
        fact("x" * (MAX_CONTENT + 1)),
        fact(confidence=1.01),
        fact(confidence=math.nan),
        fact(turns=()),
        fact(turns=(1, 3)),
        fact(subject="x" * (MAX_LABEL + 1)),
        fact(tags=("x" * (MAX_LABEL + 1),)),
        fact(tags=("x",) * (MAX_TAGS + 1)),
    ],
)
def test_a_fact_out_of_bounds_is_not_valid(wrong: Fact) -> None:
    assert is_valid(fact(), SAID_AT)
    assert not is_valid(wrong, SAID_AT)


def test_every_text_of_a_fact_is_redacted() -> None:
    item = redact_fact(
        fact(
            "Write to ann@example.com\x00.",
            subject="ann@example.com",
            turns=(2, 1, 2),
            tags=("Mail", "mail", "bob@example.com", " "),
        )
    )
    assert item.fact.content == "Write to [EMAIL]."
    assert item.fact.subject == "[EMAIL]"
    assert item.fact.turns == (1, 2)
    assert item.fact.tags == ("[email]", "mail")
    assert item.redactions == {"EMAIL": 3}


def test_a_fact_of_placeholders_only_says_nothing() -> None:
    assert not says_something(redact_fact(fact("ann@example.com, 123-45-6789")).fact)
    assert says_something(redact_fact(fact("ann@example.com is Ann")).fact)


def test_a_fact_holds_since_it_says_so_or_since_it_was_first_said() -> None:
    since = datetime(2020, 1, 1, tzinfo=UTC)
    assert valid_from(fact(since=since), SAID_AT, NOW) == since
    assert valid_from(fact(turns=(2, 1)), SAID_AT, NOW) == SAID_AT[1]
    assert valid_from(fact(turns=(9,)), SAID_AT, NOW) == NOW
