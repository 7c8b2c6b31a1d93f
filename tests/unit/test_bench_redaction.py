"""The benchmark of redaction hides what it says, and counts what is missed and mistaken."""

from itertools import islice

from bench.redaction.__main__ import Tally
from bench.redaction.corpus import PLAIN, Planted, Sample, harmless, secrets
from bench.redaction.values import FORMS, with_luhn
from ibex.memory.redaction import Kind


def test_the_same_seed_makes_the_same_corpus_with_every_form() -> None:
    made = list(secrets(3, 1))
    assert made == list(secrets(3, 1)) != list(secrets(3, 2))
    planted = [one.planted for one in made if one.planted]
    assert {(one.kind, one.form) for one in planted} == {
        (kind, form) for kind, forms in FORMS.items() for form in forms
    }
    assert set(FORMS) == set(Kind)
    for sample in made:
        assert sample.planted is not None
        assert 0 <= sample.planted.start < sample.planted.end <= len(sample.text)
    assert list(islice(harmless(9, 1), 3)) == list(islice(harmless(9, 1), 3))


def test_a_value_counts_only_when_all_of_it_is_found() -> None:
    tally = Tally()
    text = "mail ann@example.com now"
    for end in (20, 24):
        tally.add(Sample(text, "en", PLAIN, Planted(Kind.EMAIL, "plain", 5, end)))
    assert tally.recall(Kind.EMAIL) == 0.5
    assert tally.missed == [f"EMAIL, {PLAIN}: {text}"]
    assert not tally.false_hits


def test_what_is_found_beside_a_value_or_in_a_harmless_text_is_a_false_hit() -> None:
    tally = Tally()
    text = "ann@example.com and bob@example.com"
    tally.add(Sample(text, "en", PLAIN, Planted(Kind.EMAIL, "plain", 0, 15)))
    tally.add(Sample("ann@example.com", "order", PLAIN, None))
    tally.add(Sample("nothing here", "order", PLAIN, None))
    assert tally.recall(Kind.EMAIL) == 1.0
    assert tally.false_hits == {Kind.EMAIL: 2}
    assert tally.harmless_hit == 1


def test_the_corpus_has_a_checksum_of_its_own() -> None:
    assert with_luhn("411111111111111") == "4111111111111111"
