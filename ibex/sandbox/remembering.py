"""The sandbox's answer to the extraction request: statements found by plain rules.

It reads the JSON lines of `ibex.extraction.transcript` and answers in the schema of
`ibex.extraction.schema`. First-person sentences are quoted with their speaker ("User: I moved to
Berlin."), because rules cannot rewrite English; only "My X is Y" becomes "User's X is Y".
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from ibex.sandbox.language import is_question, sentences

_SMALL_TALK = re.compile(
    r"(?:hi|hello|hey|thanks|thank you|ok|okay|yes|no|sure|great|cool|nice|bye|goodbye|"
    r"good (?:morning|evening|night)|you're welcome|sounds good|got it|wow|awesome|perfect)"
    r"\b[^a-z]*",
    re.IGNORECASE,
)
_OPENING = re.compile(
    r"\A(?:(?:yeah|yep|yes|no|well|oh|ah|wow|btw|by the way|anyway|actually)[,!] |"
    r"(?:so|and|but|also|actually|btw),? )+",
    re.IGNORECASE,
)
_WISH = re.compile(
    r"(?:please\s+)?(?:always|never|from now on|in (?:the )?future|(?:whenever|every time) you|"
    r"call me|address me|"
    r"(?:answer|reply|respond|write|speak|talk|format|keep|use|avoid|do not|don't|stop|"
    r"remember to|make sure)\b.*\b(?:answers?|repl(?:y|ies)|respon\w+|always|never|me|language|"
    r"english|german|french|spanish|bullet|short|brief|concise|metric|units?|emojis?|code|examples?)"
    r")\b|(?:i|we) (?:would |'d )?(?:prefer|like you to|want you to|would like you to)\b"
    r"|i'd (?:prefer|like you to)\b",
    re.IGNORECASE,
)
_TIME = re.compile(
    r"\b(?:yesterday|today|tonight|this (?:morning|afternoon|evening|week|month|weekend)|"
    r"last (?:night|week|weekend|month|year|spring|summer|autumn|fall|winter|\w+day)|"
    r"\w+ (?:days?|weeks?|months?|years?) ago|the other day|recently|in (?:19|20)\d\d|"
    r"on (?:\w+day)|(?:19|20)\d\d-\d\d-\d\d|"
    r"(?:\d{1,2} )?(?:january|february|march|april|may|june|july|august|september|october|november|"
    r"december) \d{1,4})\b",
    re.IGNORECASE,
)
_HAPPENED = re.compile(
    r"\b(?:went|met|saw|was|were|had|did|got|came|took|gave|made|bought|sold|moved|started|"
    r"finished|found|lost|broke|failed|told|said|decided|learned|learnt|visited|joined|left|read|"
    r"wrote|ran|won|ate|drove|flew|taught|felt|fell|held|kept|spent|sent|\w{3,}ed)\b",
    re.IGNORECASE,
)
_FIRST_PERSON = re.compile(r"(?:i|i'm|i've|i'd|i'll|we|we're|we've|my|our|me)\b", re.IGNORECASE)
_MY_IS = re.compile(
    r"(?:my|our) (?P<attribute>(?:[\w'-]+ ){0,5}?[\w'-]+) "
    r"(?P<rest>(?:is|are|was|were|has|have)\b.+)",
    re.IGNORECASE | re.DOTALL,
)
_NAMED = re.compile(
    r"(?P<subject>(?:the |an? )?(?:[\w'./@-]+ ){0,6}?[\w'./@-]+) (?P<verb>is|are|was|were|has|have|"
    r"uses?|runs?|lives?|works?|belongs?|needs?|starts?|ends?|costs?|takes?|listens?|stands?)\b .+",
    re.IGNORECASE | re.DOTALL,
)
_PRONOUN = re.compile(
    r"(?:it|this|that|these|those|there|here|he|she|they|you|your|what|which|who|if|when|let|"
    r"nothing|something|everything|everyone|one|all)\b",
    re.IGNORECASE,
)
_PASSING = re.compile(
    r"(?:i|we) (?:need (?:help|you|to know)|want to (?:know|ask)|have (?:a|one|another) question|"
    r"wonder|don't (?:know|understand|get)|do not (?:know|understand)|am not sure|guess|hope|see\b)"
    r"|i'm (?:not sure|wondering|asking|looking for)",
    re.IGNORECASE,
)
_SINCE = re.compile(r"\bsince ((?:19|20)\d\d-\d\d-\d\d)\b")
_MIN_WORDS: Final = 3
_MAX_CHARACTERS: Final = 2000


@dataclass(frozen=True)
class Said:
    """One line of the transcript."""

    turn: int
    role: str
    text: str
    speaker: str | None

    @property
    def who(self) -> str:
        return self.speaker or ("Document" if self.role == "document" else "User")


def remember(transcript: str) -> str:
    """The answer as JSON text."""
    statements = [found for said in _read(transcript) for found in _statements(said)]
    reasoning = f"The sandbox model's rules found {len(statements)} statements."
    return orjson.dumps({"reasoning": reasoning, "statements": statements}).decode()


def _read(transcript: str) -> Iterator[Said]:
    """What the user wrote or pasted, and the lines of an assistant that has a name of its own."""
    for line in transcript.splitlines():
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        said = Said(value["turn"], value["role"], value["text"], value.get("name"))
        if said.role in {"user", "document"} or (said.role == "assistant" and said.speaker):
            yield said


def _statements(said: Said) -> Iterator[dict[str, Any]]:
    for sentence in sentences(said.text):
        category = categorise(sentence)
        if category and len(sentence) <= _MAX_CHARACTERS - 100:
            yield _statement(said, category, sentence)


def categorise(sentence: str) -> str | None:
    """procedural, declarative or episodic; None for what is not worth keeping."""
    sentence = _OPENING.sub("", sentence, count=1)
    if (
        len(sentence.split()) < _MIN_WORDS
        or is_question(sentence)
        or _SMALL_TALK.fullmatch(sentence)
        or _PASSING.match(sentence)
    ):
        return None
    if _WISH.match(sentence):
        return "procedural"
    first_person = _FIRST_PERSON.match(sentence)
    if (first_person or not _PRONOUN.match(sentence)) and (
        _TIME.search(sentence) and _HAPPENED.search(sentence)
    ):
        return "episodic"
    if first_person:
        happened = _HAPPENED.match(sentence.split(maxsplit=1)[1])
        return "episodic" if happened and not _MY_IS.match(sentence) else "declarative"
    if not _PRONOUN.match(sentence) and _NAMED.fullmatch(sentence):
        return "declarative"
    return None


def _statement(said: Said, category: str, sentence: str) -> dict[str, Any]:
    subject, attribute, content = said.who, "", f"{said.who}: {sentence}"
    mine, named = _MY_IS.fullmatch(sentence), _NAMED.fullmatch(sentence)
    if category == "declarative" and mine:
        attribute = mine["attribute"]
        content = f"{said.who}'s {attribute} {mine['rest']}"
    elif category == "declarative" and named and not _FIRST_PERSON.match(sentence):
        subject, attribute, content = named["subject"], named["verb"], sentence
    since = _SINCE.search(sentence)
    return {
        "category": category,
        "content": content,
        "subject": subject[:200],
        "attribute": attribute[:200],
        "confidence": 0.7 if category == "episodic" else 0.9,
        "source": said.role,
        "turns": [said.turn],
        "valid_from": since[1] if since else None,
    }
