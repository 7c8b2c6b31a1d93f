from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibex.memory.conflicts import Resolution, Statement, Verdict, judge
from ibex.memory.conflicts.reading import read
from ibex.memory.model import Category

SAID_AT = datetime(2026, 5, 7, tzinfo=UTC)
SAME = {Resolution.DUPLICATE, Resolution.MERGE}


def said(
    content: str,
    subject: str = "",
    attribute: str = "",
    *,
    days: int = 0,
    category: Category = Category.DECLARATIVE,
    confidence: float = 0.9,
) -> Statement:
    valid_from = SAID_AT + timedelta(days=days)
    return Statement(content, category, subject, attribute, confidence, valid_from)


def verdict(
    older: str,
    newer: str,
    subject: str = "User",
    attribute: str = "",
    cosine: float = 0.95,
    category: Category = Category.DECLARATIVE,
) -> Verdict:
    return judge(
        said(older, subject, attribute, category=category),
        said(newer, subject, attribute, category=category, days=30),
        cosine,
    )


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("User lives in Berlin.", "user lives in Berlin"),
        ("User has two children.", "User has 2 children."),
        ("The budget is $40k.", "The budget is 40,000 dollars."),
        ("The sync is at 2:30 pm.", "The sync is at 14:30."),
        ("The lease ends on July 4th, 2027.", "The lease ends on 2027-07-04."),
        ("Backups are kept for two weeks.", "Backups are kept for 14 days."),
        ("User's manager is Dana Whitfield.", "Dana Whitfield is User's boss."),
        ("In May 2025, User moved to Rome.", "User moved to Rome in May 2025."),
        ("User doesn't eat meat.", "User does not eat meat."),
    ],
)
def test_what_is_written_otherwise_is_the_same(older: str, newer: str) -> None:
    assert verdict(older, newer).resolution is Resolution.DUPLICATE


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("The port is 8080.", "The port is 8081."),
        ("The port is 12345678901234567890123456789012.", "The port is " + "9" * 32 + "."),
        ("Uploads may be at most 10 MB.", "Uploads may be at most 10 GB."),
        ("The target is 5 degrees.", "The target is -5 degrees."),
        ("The service runs version 3.1.", "The service runs version 3.10."),
        ("User's manager is Dana.", "User's manager is Omar."),
        ("The release is on 4 May.", "The release is on 5 May."),
        ("The release is on 4 May 2026.", "The release is on 4 May 2027."),
        ("User knows C.", "User knows C++."),
        ("User likes C.", "User likes C#."),
        ("User drinks coffee.", "User does not drink coffee."),
        ("User drinks coffee.", "User drinks no coffee."),
        ("Dark mode is enabled.", "Dark mode is disabled."),
        ("Arsenal beat Chelsea.", "Chelsea beat Arsenal."),
        ("Anna is Paul's sister.", "Paul is Anna's sister."),
        ("Anna is taller than Ben.", "Ben is taller than Anna."),
        ("Anna is angry at Ben.", "Ben is angry at Anna."),
        ("The invoice was sent to Acme.", "The invoice was sent by Acme."),
        ("User lives in Berlin.", "User used to live in Berlin."),
        ("User works at Bosch.", "User worked at Bosch."),
        ("User has a car.", "User has a car loan."),
        ("用户喝咖啡。", "用户不喝咖啡。"),
        ("ユーザーは大阪に住んでいる。", "ユーザーは東京に住んでいる。"),
        ("User is in the US.", "User is in the UK."),
        ("Prefer tabs over spaces.", "Prefer spaces over tabs."),
        ("Use tabs, not spaces.", "Use spaces, not tabs."),
        ("Translate from German to French.", "Translate from French to German."),
        ("Forward mails of Anna to Paul.", "Forward mails of Paul to Anna."),
        ("User is allergic to nuts.", "User might be allergic to nuts."),
        ("User has paid 50 euros.", "User has to pay 50 euros."),
        ("User's friend is Anna Bell.", "User's friend is Annabell."),
        ("x" * 2_000 + " 1", "x" * 2_000 + " 2"),
    ],
)
def test_a_difference_that_counts_is_never_merged(older: str, newer: str) -> None:
    for category in Category:
        for subject, attribute in (("", ""), ("User", "something")):
            found = verdict(older, newer, subject, attribute, 0.99, category)
            turned = verdict(newer, older, subject, attribute, 0.99, category)
            assert not {found.resolution, turned.resolution} & SAME


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("Ulla makes a strong team.", "Ulla makes jam and cake."),
        ("Ulla bets on a good time.", "Ulla bets on red."),
        ("Ulla: Agreed!", "Ulla: Agreed! The move made me sell the old shop now."),
        ("Ulla goes on painting and never rests.", "Ulla goes on painting, come what may."),
        ("Ada knows his brother.", "Ada knows her brother."),
        ("User owns a boat.", "User moved to Oslo."),
    ],
)
def test_what_has_little_to_do_with_each_other_stays(older: str, newer: str) -> None:
    found = verdict(older, newer, "", "", 0.8)
    assert found.resolution in {Resolution.KEEP, Resolution.UNDECIDED}


def test_another_value_of_what_there_is_one_of_supersedes() -> None:
    found = verdict("User lives in Berlin.", "User lives in Hamburg.", "User", "city", 0.7)
    assert (found.resolution, found.rule) == (Resolution.SUPERSEDE, "value")


def test_a_second_one_of_what_there_may_be_many_of_is_kept() -> None:
    found = verdict("User likes coffee.", "User likes tea.", "User", "likes", 0.9)
    assert (found.resolution, found.rule) == (Resolution.KEEP, "many")


def test_the_same_of_another_subject_is_kept() -> None:
    older = said("The checkout service listens on port 8080.", "checkout service", "port")
    newer = said("The billing service listens on port 9090.", "billing service", "port", days=1)
    assert judge(older, newer, 0.9).resolution is Resolution.KEEP
    unlabelled = verdict(older.content, newer.content, "", "", 0.9)
    assert unlabelled.resolution is Resolution.KEEP


def test_what_says_more_takes_the_place_and_what_says_less_adds_nothing() -> None:
    short, long = "User has a dog named Rex.", "User has a dog named Rex, a beagle."
    assert verdict(short, long).resolution is Resolution.MERGE
    assert verdict(long, short).resolution is Resolution.DUPLICATE


def test_an_end_supersedes_what_ended() -> None:
    for newer in ("User no longer smokes.", "User has stopped smoking.", "User quit smoking."):
        assert verdict("User smokes.", newer).resolution is Resolution.SUPERSEDE


def test_of_the_same_moment_or_unsure_it_contradicts() -> None:
    older = said("The port is 8080.", "service", "port")
    newer = said("The port is 9090.", "service", "port", days=1)
    assert judge(older, newer, 0.9).resolution is Resolution.SUPERSEDE
    at_once = replace(newer, valid_from=older.valid_from)
    assert judge(older, at_once, 0.9).resolution is Resolution.CONTRADICT
    assert judge(at_once, older, 0.9).resolution is Resolution.CONTRADICT
    assert judge(older, replace(newer, confidence=0.3), 0.9).resolution is Resolution.CONTRADICT


def test_a_birthday_does_not_change() -> None:
    found = verdict("User was born in 1991.", "User was born in 1992.", "User", "birth year")
    assert found.resolution is Resolution.CONTRADICT


def test_events_and_categories_are_kept_apart() -> None:
    first = said("User phoned Anna on 3 May.", category=Category.EPISODIC)
    second = said("User phoned Anna on 10 May.", category=Category.EPISODIC, days=7)
    assert judge(first, second, 0.97).resolution is Resolution.KEEP
    denied = replace(second, content="User did not phone Anna on 3 May.")
    assert judge(first, denied, 0.9).resolution is Resolution.CONTRADICT
    other = replace(first, category=Category.DECLARATIVE)
    assert judge(first, other, 1.0).resolution is Resolution.KEEP


def test_what_no_rule_knows_is_undecided_when_alike_and_kept_when_not() -> None:
    older, newer = "User is quite fond of opera.", "Opera means a great deal to User."
    assert verdict(older, newer, "", "", 0.9).resolution is Resolution.UNDECIDED
    assert verdict(older, newer, "", "", 0.5).resolution is Resolution.KEEP


WORDS = """
    User Anna Paul Berlin lives works likes not no in at of the a 5 12 3.2 kg May 2026 port has is
    now never manager city dog, 's $40k 10:30 住 café
"""
words = st.sampled_from(WORDS.split())
statements = st.builds(
    said,
    st.one_of(st.text(max_size=80), st.lists(words, max_size=12).map(" ".join)),
    st.sampled_from(["", "User", "service"]),
    st.sampled_from(["", "city", "likes"]),
    days=st.integers(0, 3),
    category=st.sampled_from(Category),
    confidence=st.floats(0, 1),
)


@given(statements, statements, st.floats(-1, 1))
def test_every_pair_has_one_verdict(older: Statement, newer: Statement, cosine: float) -> None:
    assert judge(older, newer, cosine) == judge(older, newer, cosine)


@given(statements, st.floats(-1, 1))
def test_a_statement_is_its_own_duplicate(one: Statement, cosine: float) -> None:
    assert judge(one, one, cosine).resolution is Resolution.DUPLICATE


@given(statements, statements, st.floats(-1, 1))
def test_of_one_moment_nothing_supersedes(one: Statement, other: Statement, cosine: float) -> None:
    other = replace(other, valid_from=one.valid_from)
    found, turned = judge(one, other, cosine), judge(other, one, cosine)
    assert Resolution.SUPERSEDE not in (found.resolution, turned.resolution)
    if Resolution.MERGE is found.resolution:
        assert turned.resolution is Resolution.DUPLICATE


@given(
    st.lists(words, min_size=1, max_size=8),
    st.integers(0, 99),
    st.integers(100, 9_999),
    st.lists(words, max_size=4),
)
def test_a_changed_number_is_never_merged(
    before: list[str], number: int, other: int, behind: list[str]
) -> None:
    first, second = (" ".join([*before, str(one), *behind]) for one in (number, other))
    found = judge(said(first), said(second, days=1), 0.99)
    assert found.resolution not in SAME


@pytest.mark.parametrize(
    "hostile", ["1" * 900, "a-" * 450, "1." * 450, "'s " * 300, "$1," * 300, "May 1 " * 150]
)
def test_hostile_text_is_read(hostile: str) -> None:
    assert read(hostile) == read(hostile)
