"""Plain rules about English sentences, for the sandbox model and nothing else."""

import re
from typing import Final

# A full stop inside a host name or a number is followed by no blank.
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|\n+")
_ABBREVIATIONS: Final = (
    "e.g.",
    "i.e.",
    "dr.",
    "mr.",
    "mrs.",
    "ms.",
    "st.",
    "vs.",
    "etc.",
    "approx.",
)
_WORD = re.compile(r"[a-z0-9]+(?:[._:/@'-][a-z0-9]+)*")
_QUESTION_START = re.compile(
    r"(?:and |so |but |ok(?:ay)?,? |hey,? |hi,? )?(?:"
    r"(?:what|which|who|whose|where|why|how)\b(?! an?\b)|"
    r"when (?:is|are|was|were|do|does|did|will|should|can)\b|"
    r"(?:do|does|did|should|can|could|would|will) (?:i|we|you)\b|(?:is|are) there\b|"
    r"(?:tell|remind|give) me\b)",
    re.IGNORECASE,
)
_STOP_WORDS: Final = frozenset(
    re.findall(
        r"\w+",
        """
        a about again am an and any are as at be been but by can could did do does for from get had
        has have he her him his how i if in into is it its let like may me might my now of on or
        our out please remind s said say she should so some tell than that the their them then
        there they this to too up us use used user was we were what when where which who whom
        whose why will with would you your
        """,
    )
)


def sentences(text: str) -> list[str]:
    """Split at the ends of sentences and lines; list marks are taken off."""
    parts: list[str] = []
    for piece in _SENTENCE_END.split(text):
        sentence = piece.strip().lstrip("-*•> ").strip()
        if parts and parts[-1].lower().endswith(_ABBREVIATIONS):
            parts[-1] = f"{parts[-1]} {sentence}"
        elif sentence:
            parts.append(sentence)
    return parts


def is_question(sentence: str) -> bool:
    if sentence.rstrip("\"')]").endswith("?"):
        return True
    return bool(_QUESTION_START.match(sentence))


def content_words(text: str) -> frozenset[str]:
    """The words that carry meaning, cut to a rough stem."""
    return frozenset(_stem(word) for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS)


def token_count(text: str) -> int:
    """Words and marks: what the sandbox calls a token."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def _stem(word: str) -> str:
    word = word.removesuffix("'s")
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word
