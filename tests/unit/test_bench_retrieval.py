"""The benchmark of recall counts what it says."""

from uuid import UUID

import pytest

from bench.retrieval.asking import Hit, hit
from bench.retrieval.questions import Question, session_of, talk_of
from bench.retrieval.report import by_category, figures, line_of
from ibex.memory.model import Ranked, ScoreParts
from tests.unit.candidates import candidate

SAMPLE = {
    "sample_id": "c-1",
    "conversation": {
        "speaker_a": "Ann",
        "speaker_b": "Ben",
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": [
            {"speaker": "Ann", "dia_id": "D1:1", "text": "I ski."},
            {"speaker": "Ben", "dia_id": "D1:2", "text": "I sail."},
        ],
    },
    "qa": [
        {"question": "Who skis?", "answer": "Ann", "evidence": ["D1:1"], "category": 4},
        {"question": "Who does what?", "answer": "", "evidence": ["D1:1; D1:2"], "category": 1},
        {"question": "Who flies?", "answer": "", "evidence": ["D9:9"], "category": 5},
        {"question": "Who drives?", "answer": "", "evidence": [], "category": 3},
    ],
}


def ranked(number: int, score: float, relevance: float = 0.9) -> Ranked:
    parts = ScoreParts(relevance, 1.0, 0.5, 0.9, 0.0)
    return Ranked(
        candidate(number, content=f"Fact {number}. " + "word " * 60), parts, score, "cold"
    )


def test_questions_whose_evidence_is_there_are_asked() -> None:
    talk = talk_of(SAMPLE)
    assert [(one.text, one.evidence, one.category) for one in talk.questions] == [
        ("Who skis?", frozenset({"D1:1"}), "single-hop"),
        ("Who does what?", frozenset({"D1:1", "D1:2"}), "multi-hop"),
    ]
    assert [said["id"] for said in talk.lines[0]["messages"]] == ["D1:1", "D1:2"]
    assert session_of("D12:3") == "D12"


def test_a_hit_is_a_memory_that_rests_on_the_evidence_among_what_is_injected() -> None:
    said = {UUID(int=number): frozenset({f"D{number}:1"}) for number in range(1, 40)}
    evidence = frozenset({"D7:1", "D30:1"})
    found = [ranked(number, 1 - number / 100) for number in range(1, 31)]
    measured = hit(Question("?", evidence, "multi-hop"), found, said)
    assert measured.at == {5: 0, 10: 0.5, 20: 0.5}
    assert measured.sessions == 0.5
    # Each takes some 70 tokens: the seventh comes in a thousand of them, the thirtieth in none.
    assert measured.within == {500: 0, 1_000: 0.5, 2_000: 0.5}
    under = hit(
        Question("?", evidence, "multi-hop"),
        [ranked(7, 0.9, relevance=0.1), ranked(30, 0.1)],
        said,
    )
    assert under.at[5] == 0.5  # what is irrelevant is not injected


def test_a_line_is_a_mean_and_the_figures_are_the_served_one() -> None:
    hits = [
        Hit("a", {5: 0, 10: 1, 20: 1}, {500: 0, 1_000: 0.5, 2_000: 1}, 1, 4.0, 1.0),
        Hit("b", {5: 1, 10: 0, 20: 1}, {500: 0, 1_000: 0.0, 2_000: 1}, 0, 8.0, 2.0),
    ]
    line = line_of("x", hits)
    assert (line.questions, line.at[10], line.within[1_000], line.sessions) == (2, 0.5, 0.25, 0.5)
    assert [one.name for one in by_category(hits)] == ["a", "b"]
    made = figures(line, {"search": {"p50": 6.0, "p95": 7.8}, "index": {"p95": 2.0}})
    assert made["recall_at_10"] == 0.5
    assert made["recall_in_1000_tokens"] == 0.25
    assert made["session_recall_at_10"] == 0.5
    assert made["search_p95_ms"] == pytest.approx(7.8)
