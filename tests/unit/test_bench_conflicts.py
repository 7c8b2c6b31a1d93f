from collections import Counter

from bench.conflicts.figures import Outcome, figures, right_by_kind, scores
from bench.conflicts.pairs import load
from ibex.memory.conflicts import Resolution, judge

D, M, S, C, K, U = Resolution


def outcomes(*pairs: tuple[Resolution, Resolution]) -> list[Outcome]:
    return [Outcome("kind", expected, judged) for expected, judged in pairs]


def test_there_are_pairs_of_every_kind_and_none_is_there_twice() -> None:
    pairs = load()
    assert len(pairs) >= 200
    assert min(Counter(pair.kind for pair in pairs).values()) >= 20
    assert {pair.expected for pair in pairs} == set(Resolution) - {U}
    said = Counter((pair.older, pair.newer) for pair in pairs)
    assert said.most_common(1)[0][1] == 1
    assert 0.3 < sum(pair.held_out for pair in pairs) / len(pairs) < 0.5


def test_rates_are_shares_of_the_verdicts_that_were_wrong() -> None:
    found = figures(outcomes((D, D), (D, M), (K, D), (K, M), (S, S), (S, S), (C, S), (K, S)))
    assert (found["false_merge_rate"], found["wrong_supersession_rate"]) == (0.5, 0.5)


def test_recall_counts_a_group_and_what_is_undecided_is_kept() -> None:
    found = figures(outcomes((D, M), (M, U), (S, C), (C, S), (S, K), (S, U), (K, U)))
    assert (found["duplicate_recall"], found["conflict_recall"]) == (0.5, 0.5)
    assert found["undecided"] == round(3 / 7, 4)
    assert scores(outcomes((K, U), (S, K)))["keep"] == {"precision": 0.5, "recall": 1.0}


def test_kinds_are_counted() -> None:
    assert right_by_kind(outcomes((D, M), (D, U), (K, U))) == {"kind": (2, 2, 3)}


def test_the_rules_keep_what_was_promised_whatever_the_cosine() -> None:
    """Figures with real cosines are the benchmark's; these hold at every cosine."""
    for cosine in (0.0, 0.86, 0.99):
        found = figures(
            [
                Outcome(one.kind, one.expected, judge(one.older, one.newer, cosine).resolution)
                for one in load()
            ]
        )
        assert found["false_merge_rate"] < 0.01
        assert found["wrong_supersession_rate"] < 0.03
