"""Texts to embed: made up, seeded, and as uneven as what people write."""

import random
from typing import Final

_NAMES: Final = ("Ana", "Björn", "Chidi", "Dilnoza", "Elif", "Françoise", "Goran", "Hye-jin")
_PLACES: Final = ("Lisbon", "Malmö", "Nairobi", "Ōsaka", "São Paulo", "Łódź", "Quito", "İzmir")
_THINGS: Final = (
    *("the staging cluster", "a violin lesson", "the tax return", "two tickets to the opera"),
    *("an allergy test", "the quarterly report", "her grandmother's recipe", "a new bicycle"),
)
_FRAMES: Final = (
    "{name} asked about {thing} on {day} March {year}.",
    "Which colleague in {place} takes care of {thing}?",
    "remind {name} to book {thing} b4 {hour}:30, pls!!",
    "User's database host is db-{number}.{name}.example.com.",
    "INVOICE {number}-{year}: {thing}, {hour}{number:03}.50 EUR, {place}.",
    "SELECT * FROM orders WHERE id = {number} AND city = '{place}' LIMIT {hour};",
    "{name} moved from {place} in {year} and never went back, although {thing} was waiting there.",
    "No, not {place}! I said that {name} does NOT want {thing} any more.",
    "{name} wohnt seit {year} in {place} und hat {thing} vergessen.",
    "{name} habite à {place} depuis {year} ; elle préfère le thé.",
    "{name} переехала из города {place} в {year} году.",
    "{name}在{place}住了{hour}年。",
    "{name}さんは{year}年に{place}へ引っ越しました。",
    "{name} 🎉 {place} 🥳 {year} 👍🏽",
    "{thing}",
    "{number}",
)


def varied(count: int, seed: int = 20) -> list[str]:
    """Every tenth is long, some longer than the model reads."""
    source = random.Random(seed)
    return [_text(source, number) for number in range(count)]


def queries(count: int, seed: int) -> list[str]:
    """Questions of about 16 tokens, each different, so that no cache knows them."""
    source = random.Random(seed)
    return [
        f"Which {source.choice(_THINGS)} did {source.choice(_NAMES)} mention in "
        f"{source.choice(_PLACES)} at {source.randrange(10**6)}?"
        for _ in range(count)
    ]


def _text(source: random.Random, number: int) -> str:
    sentences = source.randrange(5, 60) if number % 10 == 9 else 1
    return " ".join(
        source.choice(_FRAMES).format(
            name=source.choice(_NAMES),
            place=source.choice(_PLACES),
            thing=source.choice(_THINGS),
            day=source.randrange(1, 29),
            year=source.randrange(1990, 2026),
            hour=source.randrange(1, 13),
            number=source.randrange(1000),
        )
        for _ in range(sentences)
    )
