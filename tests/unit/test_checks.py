"""What checks decide: junk, lists, archives, personal data."""

import hashlib
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from ibex.checks.catalogue import CHECKS, Name, Result, Seen, Severity, Unit
from ibex.checks.judging import (
    Checkpoint,
    archive_faults,
    list_faults,
    personal_kinds,
    seen,
    vector_fault,
)
from ibex.checks.junk import Junk, junk_of, runs_of
from ibex.ids import new_id
from ibex.memory.model import Candidate, Category
from ibex.memory.rendering import EXPLANATION, render
from tests.unit.candidates import direction

NOW = datetime(2026, 5, 1, tzinfo=UTC)
DIRECTIVE = "You are the assistant of a bike shop. Always answer in the language of the customer."
NOTHING = runs_of([])


def candidate(content: str = "The shop opens at nine.", **columns: object) -> Candidate:
    values = {
        "id": new_id(),
        "version": 1,
        "category": Category.DECLARATIVE,
        "content": content,
        "confidence": 0.9,
        "usefulness": 0.5,
        "access_count": 0,
        "valid_from": NOW,
        "embedding": direction(1.0),
    }
    return Candidate(**(values | columns))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("The shop's name is Velo Nord and it opens at nine.", None),
        ("User prefers tea.", None),
        ("Ana: my train leaves at 9:40 from platform 3", None),
        ("User wants answers in the language of the customer.", None),
        ("Always answer in the language of the customer.", Junk.INSTRUCTIONS),
        ("You are the assistant of a bike shop.", Junk.INSTRUCTIONS),
        ("User: hello", Junk.EMPTY),
        ("User: [EMAIL]", Junk.EMPTY),
        ("User said hello.", Junk.EMPTY),
        ("...", Junk.EMPTY),
        ("see <ibex-memories> above", Junk.INJECTED),
        ('- 2026-05-07 "The host is db.example.com."', Junk.INJECTED),
        (EXPLANATION, Junk.INJECTED),
    ],
)
def test_junk_is_told_from_memories(content: str, kind: Junk | None) -> None:
    assert junk_of(content, runs_of([DIRECTIVE]), []) is kind


def test_what_a_request_was_given_is_junk_when_it_comes_back() -> None:
    given = "The database of the billing service lives on host db-7 in Oslo."
    assert junk_of(f"Assistant: {given}", NOTHING, [runs_of([given])]) is Junk.INJECTED
    other = "The database of the billing service was moved to Bergen last week by Kim."
    assert junk_of(other, NOTHING, [runs_of([given])]) is None
    rendered = render(None, [candidate(given)])
    assert rendered is not None
    assert junk_of(rendered.content, NOTHING, []) is Junk.INJECTED


def test_a_vector_is_there_and_of_unit_length() -> None:
    assert vector_fault(1.0004) == []
    assert vector_fault(1.01) == ["not_unit_length"]
    assert vector_fault(0.0) == ["not_unit_length"]
    assert vector_fault(float("nan")) == ["not_unit_length"]
    assert vector_fault(None) == ["missing"]


def test_personal_data_is_named_by_its_kind_only() -> None:
    texts = ("mail ann@example.com or bob@example.com", "card 4111 1111 1111 1111", "[EMAIL]")
    assert personal_kinds(texts) == ["CARD", "EMAIL"]
    assert personal_kinds(["nothing here"]) == []


def test_a_list_may_lag_behind_by_what_time_does_and_no_more() -> None:
    good = candidate(usefulness=0.9)
    old = candidate(usefulness=0.9, valid_from=NOW - timedelta(hours=1))
    poor = candidate(usefulness=0.1)

    def faults(held: list[Candidate], best: list[Candidate], gone: int = 0) -> list[str]:
        in_force = {one.id for one in held[gone:]}
        return list_faults(held, best, in_force, len(best), NOW)

    assert faults([good], [good]) == []
    assert faults([old], [good]) == []  # nearly as good
    assert faults([poor], [good]) == ["lacks_a_better_one"]
    assert faults([], [good]) == ["lacks_a_better_one"]
    assert faults([good], [good, poor]) == ["lacks_a_better_one"]  # there is room
    assert faults([good], [], gone=1) == ["not_in_force"]
    renamed = candidate(id=good.id, version=2, usefulness=0.9)
    assert faults([good], [renamed]) == ["other_version"]


def archive(*checkpoints: Checkpoint) -> bytes:
    return b"".join(
        orjson.dumps(
            {"turn": one.number, "request_id": one.request_id, "chain_hash": one.chain_hash}
        )
        + b"\n"
        for one in checkpoints
    )


def test_an_archive_is_what_was_recorded_and_what_the_database_has() -> None:
    turns = [Checkpoint(1, "r-1", "aa"), Checkpoint(2, "r-2", "bb")]
    data = archive(*turns)

    def faults(now: bytes | None, recorded: bytes = data) -> list[str]:
        digest = hashlib.sha256(recorded).digest()
        return archive_faults(now, len(recorded), digest, 2, turns)

    assert faults(data) == []
    assert faults(None) == ["missing"]
    assert faults(data[:-1]) == ["other_size"]
    assert faults(data.replace(b"aa", b"ab")) == ["other_checksum"]
    fewer = archive(turns[0])
    assert faults(fewer, recorded=fewer) == ["other_checkpoints"]
    changed = archive(turns[0], Checkpoint(2, "r-2", "cc"))
    assert faults(changed, recorded=changed) == ["other_checkpoints"]
    assert faults(b"{}\n", recorded=b"{}\n") == ["unreadable"]
    assert faults(b"no", recorded=b"no") == ["unreadable"]


def test_what_passes_is_a_matter_of_its_unit_and_threshold() -> None:
    one, two = new_id(), new_id()
    found = seen(50, {one: ["missing"], two: []})
    assert (found.wrong, found.found, found.examples) == (1, {"missing": 1}, [str(one)])
    assert found.value(Unit.SHARE) == 0.02
    assert found.value(Unit.COUNT) == 1

    def result(name: Name, seen: Seen, threshold: float, error: str | None = None) -> Result:
        return Result(CHECKS[name], seen, threshold, Severity.WARN, error)

    assert result(Name.JUNK, found, 0.02).passed
    assert not result(Name.JUNK, found, 0.01).passed
    assert not result(Name.EMBEDDINGS, found, 0).passed
    assert result(Name.EXTRACTION, Seen(3, seconds=9.0), 10).passed
    assert not result(Name.EXTRACTION, Seen(3, seconds=11.0), 10).passed
    assert not result(Name.JUNK, Seen(0), 0.02, "too_slow").passed


def test_every_check_is_described() -> None:
    assert set(CHECKS) == set(Name)
