"""Which days are written together, and which files are merged: decided without a store."""

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ibex.ids import new_id
from ibex.lake.compaction import ENOUGH, plan
from ibex.lake.export import spans
from ibex.lake.files import PartWriter, to_arrow
from ibex.lake.manifest import Day, LakeFile
from ibex.lake.schemas import TABLES
from ibex.lake.sources import SourceDays, words
from tests.lake_files import example

START = date(2026, 1, 20)


def file(first: date, last: date, size: int = 10) -> LakeFile:
    return LakeFile(
        id=new_id(),
        table="turns",
        bucket="ibex-lake",
        key=str(new_id()),
        first=first,
        last=last,
        rows=1,
        size=size,
        sha256=bytes(32),
        schema_version=1,
        min_time=None,
        max_time=None,
    )


@st.composite
def manifests(draw: st.DrawFn) -> list[LakeFile]:
    """Live files as swaps leave them: no two share a day but parts of one swap."""
    files: list[LakeFile] = []
    day = START
    for _ in range(draw(st.integers(0, 12))):
        day += timedelta(draw(st.integers(1, 9)))
        last = day + timedelta(draw(st.integers(0, 3)))
        if last.month != day.month:
            last = day
        sizes = draw(st.lists(st.integers(1, 60), min_size=1, max_size=2))
        files += [file(day, last, size) for size in sizes]
        day = last
    return draw(st.permutations(files))


@given(manifests())
def test_a_merged_file_shares_no_day_with_one_that_stays(live: list[LakeFile]) -> None:
    groups = plan(live, file_bytes=100)
    merged = [one for group in groups for one in group]
    assert len({one.id for one in merged}) == len(merged)
    newest = max((one.last for one in live), default=START)
    for group in groups:
        first, last = min(one.first for one in group), max(one.last for one in group)
        assert (first.year, first.month) == (last.year, last.month)
        assert last < newest
        assert len({one.first for one in group}) >= 2  # else it would be merged again and again
        assert sum(one.size for one in group) <= 100
        inside = {one.id for one in live if one.first <= last and one.last >= first}
        assert inside == {one.id for one in group}


def test_a_month_that_is_growing_is_merged_when_it_is_worth_it() -> None:
    days = [file(day := START + timedelta(n), day) for n in range(ENOUGH)]
    assert plan(days) == []  # the newest stays
    more = [*days, file(START + timedelta(ENOUGH), START + timedelta(ENOUGH))]
    assert plan(more) == [days]
    assert plan([]) == plan(days[:1]) == []
    later = file(date(2026, 3, 1), date(2026, 3, 1))
    assert plan([*days[:2], later]) == [days[:2]]  # its month is over
    assert plan([*days[:2], later], file_bytes=15) == []


@given(manifests(), st.sets(st.integers(0, 90)))
def test_every_changed_day_is_in_one_span_with_all_its_files(
    live: list[LakeFile], offsets: set[int]
) -> None:
    changed = [Day(START + timedelta(n), n, 1) for n in sorted(offsets)]
    found = spans(changed, live)
    assert sorted(day.date for span in found for day in span.days) == [d.date for d in changed]
    for span in found:
        touched = {one.id for one in live if one.first <= span.last and one.last >= span.first}
        assert touched == {one.id for one in span.files}
        assert all(span.first <= day.date <= span.last for day in span.days)


def test_a_day_has_changed_when_its_rows_have_or_are_gone() -> None:
    one, two, three = (Day(START + timedelta(n), n, 1) for n in range(3))
    found = SourceDays([one, two], since=START)
    assert found.changed({}) == [one, two]
    assert found.changed({one.date: one, two.date: Day(two.date, 9, 1)}) == [two]
    assert found.changed({day.date: day for day in (one, two, three)}) == [Day(three.date, 0, 0)]
    forgotten = SourceDays([two], since=two.date)
    assert forgotten.changed({one.date: one, two.date: two}) == []
    assert forgotten.changed({two.date: two}, lambda day: day == two.date) == [two]


def test_a_file_that_is_full_is_followed_by_another() -> None:
    table = TABLES["turns"]
    writer = PartWriter(table, file_bytes=20_000, row_group=100)
    at = datetime(2026, 3, 1, tzinfo=UTC)
    parts, written = [], 0
    for n in range(20):
        batch = [
            example(table) | {"turn_id": str(new_id()), "started_at": at + timedelta(minutes=n)}
            for _ in range(60)
        ]
        written += len(batch)
        parts.append(writer.add(to_arrow(table, START, batch)))
    parts.append(writer.close())
    whole = [part for part in parts if part is not None]
    assert len(whole) > 1
    assert sum(part.rows for part in whole) == written
    bounds = [(part.min_time, part.max_time) for part in whole]
    assert bounds[0][0] == at
    assert bounds[-1][1] == at + timedelta(minutes=19)
    assert bounds == sorted(bounds)
    assert PartWriter(table).close() is None


def test_the_words_of_a_turn() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}
    asked: list[dict[str, object]] = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "name": "Ada",
            "content": [{"type": "text", "text": "What is it?"}, image],
        },
        {"role": "user", "content": "Well?"},
    ]
    row = words(asked, {"role": "assistant", "content": None, "tool_calls": []})
    assert (row["said"], row["answer"]) == ("What is it?\nWell?", "")
    assert row["roles"] == ["system", "user", "user", "assistant"]
    assert row["messages"][1] == {"role": "user", "name": "Ada", "text": "What is it?"}
    assert words([], None) == {"roles": [], "messages": [], "said": None, "answer": None}
