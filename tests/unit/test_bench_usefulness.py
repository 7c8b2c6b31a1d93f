"""The benchmark of usefulness measures what it says: its scenes, its season and its sums."""

from bench.usefulness.report import Counted, counted, figures
from bench.usefulness.scenes import Kind, scenes
from bench.usefulness.season import IN_USE, Judged, Season, in_use, plan


def test_every_scene_has_a_memory_of_its_own_and_four_different_answers() -> None:
    every = scenes()
    assert len(every) >= 40
    assert len({scene.memory for scene in every}) == len(every)
    for scene in every:
        assert scene.question
        assert len(set(scene.answers.values())) == len(Kind)
        assert all(scene.answers.values())


def test_answers_rest_on_every_second_scene_s_memory_and_on_no_other() -> None:
    asked = plan(40, 30)
    assert asked == plan(40, 30)
    assert sorted(one.scene for one in asked[:40]) == list(range(40))
    assert not any(one.kind.rests for one in asked if not in_use(one.scene))
    used = [one.kind.rests for one in asked if in_use(one.scene)]
    assert abs(sum(used) / len(used) - IN_USE) < 0.05
    assert {one.kind for one in asked} == set(Kind)


def test_figures_are_the_shares_that_they_name() -> None:
    judged = [
        Judged(Kind.SAID, rests=True, support=0.9),
        Judged(Kind.SAID, rests=True, support=0.5),
        Judged(Kind.PARAPHRASED, rests=True, support=0.4),
        Judged(Kind.SAID, rests=False, support=0.6),
        *[Judged(Kind.GENERAL, rests=False, support=0.1)] * 3,
    ]
    assert counted(judged) == Counted(resting=3, found=2, others=4, mistaken=1)
    assert counted(judged, Kind.SAID) == Counted(resting=2, found=2, others=1, mistaken=1)
    found = figures(Season(judged, [0.6, 0.2, 0.3, 0.4], answers=50, seconds=2.0))
    assert found == {
        "precision": round(2 / 3, 4),
        "recall_said": 1.0,
        "recall_paraphrased": 0.0,
        "mistaken_share": 0.25,
        "usefulness_in_use": 0.45,
        "usefulness_idle": 0.3,
        "in_order": 0.75,
        "answers": 50,
        "answers_per_second": 25.0,
    }
