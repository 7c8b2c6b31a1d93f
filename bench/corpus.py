"""What the agent knows and what it is asked: as many different sentences as wanted, always the same
ones, so that two runs compare. Pure; nothing here is anybody's data."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from ibex.memory.model import Category, Fact, Source

_SEED = 1
NOW = datetime(2026, 11, 1, tzinfo=UTC)
_DAYS = 180  # over which the memories were said

_PEOPLE = (
    *("Amara", "Bram", "Chiara", "Dmitri", "Elif", "Farid", "Greta", "Hiro", "Ines", "Jonas"),
    *("Kavya", "Lucia", "Mateo", "Nadia", "Oskar", "Priya", "Quentin", "Rosa", "Sven", "Tomoko"),
    *(
        "Ulla",
        "Viktor",
        "Wanjiru",
        "Xavier",
        "Yara",
        "Zeynep",
        "Anton",
        "Beatriz",
        "Cem",
        "Delphine",
    ),
)
_THINGS = (
    *("billing service", "checkout page", "search index", "mobile app", "data warehouse"),
    *(
        "login flow",
        "invoice export",
        "payment gateway",
        "recommendation engine",
        "staging cluster",
    ),
    *("nightly backup", "customer portal", "message queue", "image resizer", "fraud detector"),
    *("release pipeline", "audit log", "pricing table", "support inbox", "onboarding tour"),
    *("warehouse scanner", "delivery planner", "chat widget", "loyalty programme", "tax report"),
    *("office network", "sales forecast", "design system", "feature flags", "load balancer"),
    *("partner API", "translation memory", "error dashboard", "coffee machine", "meeting room"),
    *("travel budget", "training plan", "incident runbook", "status page", "marketing site"),
)
_PLACES = (
    *(
        "Lisbon",
        "Nairobi",
        "Osaka",
        "Toronto",
        "Gdansk",
        "Lima",
        "Tallinn",
        "Pune",
        "Lyon",
        "Bergen",
    ),
    *("Austin", "Perth", "Accra", "Bilbao", "Graz", "Tampere"),
)
_VALUES = (
    *("every Monday morning", "after the second review", "with two replicas", "without a cache"),
    *("in dark mode", "in British English", "behind a feature flag", "on port 8443"),
    *("with a limit of 500 rows", "before the monthly close", "only for new customers"),
    *("through the Lisbon office", "by the on-call engineer", "with a thirty-second time-out"),
    *("in metric units", "as a short bulleted list", "at three in the morning", "without weekends"),
    *("using PostgreSQL", "using a queue", "on the smallest instance", "with a paper trail"),
)
_FACTS = (
    (Category.DECLARATIVE, "{person} owns the {thing} and runs it {value}."),
    (Category.DECLARATIVE, "The {thing} is hosted in {place} since {person} moved it there."),
    (Category.DECLARATIVE, "{person}'s team in {place} is responsible for the {thing}."),
    (Category.DECLARATIVE, "The {thing} costs {number} euros a month, paid from {place}."),
    (Category.DECLARATIVE, "The {thing} handles {number} requests a minute, {value}."),
    (Category.PROCEDURAL, "{person} wants answers about the {thing} {value}."),
    (Category.PROCEDURAL, "Always ask {person} before changing the {thing}; do it {value}."),
    (Category.PROCEDURAL, "Deploy the {thing} {value}, and tell {person} in {place}."),
    (Category.EPISODIC, "{person} reported that the {thing} failed {number} times in {place}."),
    (Category.EPISODIC, "Ticket {number}: {person} fixed the {thing} {value}."),
    (Category.EPISODIC, "{person} visited {place} to present the {thing} to {number} customers."),
)
_QUESTIONS = (
    "How does {person} want the {thing} to be run, and since when?",
    "Where is the {thing} hosted, and did {person} move it to {place}?",
    "What does the {thing} cost us a month?",
    "Who should I ask in {place} before I change the {thing}?",
    "Please write a short note to {person} about the state of the {thing}.",
    "What happened with the {thing} in {place} last time?",
    "I am preparing for a meeting with {person}: what do I need to know about the {thing}?",
    "Can the {thing} take more load, and what did {person} decide about it?",
)
# Prime to the number of questions, so that the steps meet every one before the first comes again.
_STEP = 75_011
QUESTIONS = len(_PEOPLE) * len(_THINGS) * len(_PLACES) * len(_QUESTIONS)


def memories(count: int) -> list[Fact]:
    """`count` different facts."""
    chance = random.Random(_SEED)
    made: dict[str, Fact] = {}
    while len(made) < count:
        category, template = chance.choice(_FACTS)
        content = template.format(
            person=chance.choice(_PEOPLE),
            thing=chance.choice(_THINGS),
            place=chance.choice(_PLACES),
            value=chance.choice(_VALUES),
            number=chance.randrange(100, 9_999),
        )
        made.setdefault(
            content,
            Fact(
                category=category,
                content=content,
                confidence=round(chance.uniform(0.5, 1.0), 3),
                source=Source.USER,
                turns=(1,),
                valid_from=NOW - timedelta(days=chance.uniform(0, _DAYS)),
            ),
        )
    return list(made.values())


def questions(first: int) -> Iterator[str]:
    """From the `first` on, each different from the `QUESTIONS` before it: a reference number says
    how often all of them have been asked."""
    number = first
    while True:
        turn, place = divmod(number, QUESTIONS)
        rest = place * _STEP % QUESTIONS
        rest, template = divmod(rest, len(_QUESTIONS))
        rest, where = divmod(rest, len(_PLACES))
        person, thing = divmod(rest, len(_THINGS))
        asked = _QUESTIONS[template].format(
            person=_PEOPLE[person], thing=_THINGS[thing], place=_PLACES[where]
        )
        # Not every template names all three, so two numbers may make the same words.
        yield f"{asked} (reference {turn}-{place})"
        number += 1
