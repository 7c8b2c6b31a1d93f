from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ibex.ids import new_id
from ibex.memory.conflicts import Resolution, Statement
from ibex.memory.model import Category, Source
from ibex.memory.settling import Held, OpenPair, settlement

DAY = timedelta(days=1)
START = datetime(2026, 5, 7, tzinfo=UTC)
WORDS = Statement("User is a nurse.", Category.DECLARATIVE, "User", "job", 0.9, START)
OLDER = Held(new_id(), 1, WORDS, Source.USER, START)
NEWER = Held(new_id(), 1, replace(WORDS, valid_from=START + DAY), Source.USER, START + DAY)
PAIR = OpenPair(new_id(), OLDER, NEWER)


@pytest.mark.parametrize(
    ("resolution", "kind", "ended"),
    [
        (Resolution.SUPERSEDE, "supersedes", OLDER),
        (Resolution.MERGE, "supersedes", OLDER),
        (Resolution.DUPLICATE, "supports", NEWER),
        (Resolution.CONTRADICT, "contradicts", None),
        (Resolution.KEEP, "related", None),
    ],
)
def test_a_verdict_ends_at_most_one(resolution: Resolution, kind: str, ended: Held | None) -> None:
    made = settlement(PAIR, resolution)
    assert (made.kind, made.ended) == (kind, ended)
    assert made.by is ({OLDER.id: NEWER, NEWER.id: OLDER}[ended.id] if ended else None)


@pytest.mark.parametrize(
    ("resolution", "kind"),
    [(Resolution.SUPERSEDE, "contradicts"), (Resolution.MERGE, "related")],
)
def test_what_was_said_again_later_or_is_believed_more_does_not_end(
    resolution: Resolution, kind: str
) -> None:
    again = replace(PAIR, older=replace(OLDER, last_said=START + 2 * DAY))
    from_tool = replace(PAIR, newer=replace(NEWER, source=Source.TOOL))
    for pair in (again, from_tool):
        made = settlement(pair, resolution)
        assert (made.kind, made.ended) == (kind, None)


def test_of_a_duplicate_the_one_that_is_believed_more_stays() -> None:
    pair = replace(PAIR, older=replace(OLDER, source=Source.TOOL))
    made = settlement(pair, Resolution.DUPLICATE)
    assert (made.kind, made.ended, made.by) == ("supersedes", pair.older, NEWER)
