"""The rules, from what is sure to what is not; the first that applies judges.

They are made to be careful: a pair that no rule knows stays undecided, for a wrong merge or a wrong
supersession loses something that somebody said, and a memory too many loses nothing. No rule looks
at what is alike in meaning only; that is what the cosine and a model are for.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from ibex.memory.conflicts import lexicon
from ibex.memory.conflicts.model import Resolution, Statement, Verdict
from ibex.memory.conflicts.reading import Kind, Reading, Token
from ibex.memory.model import Category

#: Cosine from which two statements of a category are worth judging. An update shares only the words
#: around its value: of hand-written conflicts 59 % lie above 0.85 and 95 % above this.
MEET: Final = 0.6
#: Below this cosine, statements that no rule knows are different ones; above it they are undecided.
ALIKE: Final = 0.85
_UNSURE: Final = 0.5  # confidence of a newer statement that replaces nothing surer
_LONGEST: Final = 1_000  # characters; more is no single statement
_LONG_VALUE: Final = 4  # tokens of a value; where more differs, more than a value does
_VAGUE: Final = frozenset({"user", "project", "account", "custom", "client", "compani"})


@dataclass(frozen=True)
class _Pair:
    """Two statements of one category, and what one of them says and the other does not."""

    older: Statement
    newer: Statement
    cosine: float

    @property
    def a(self) -> Reading:
        return self.older.reading

    @property
    def b(self) -> Reading:
        return self.newer.reading

    @cached_property
    def gone(self) -> list[Token]:
        return _without(self.a, self.b)

    @cached_property
    def added(self) -> list[Token]:
        return _without(self.b, self.a)

    @property
    def several(self) -> bool:
        return self.a.several or self.b.several

    @cached_property
    def same_values(self) -> bool:
        """They give the same names, numbers and times: one may be a paraphrase of the other."""
        return bool(self.a.values) and self.a.values == self.b.values

    @property
    def subjects(self) -> tuple[frozenset[str], frozenset[str]]:
        return self.older.subject_keys, self.newer.subject_keys

    @property
    def attributes(self) -> tuple[frozenset[str], frozenset[str]]:
        return self.older.attribute_keys, self.newer.attribute_keys

    @cached_property
    def subjects_differ(self) -> bool:
        mine, other = self.subjects
        if "user" in mine & other:
            return mine != other  # the user, and somebody or something of the user's
        return _exclusive(mine - _VAGUE, other - _VAGUE)

    @cached_property
    def same_topic(self) -> bool:
        """Their labels name the same subject and the same attribute."""
        mine, other = self.attributes
        return bool(mine) and mine == other and not self.subjects_differ

    @cached_property
    def near_topic(self) -> bool:
        """The same subject, and one attribute is the other with a word more."""
        mine, other = self.attributes
        return bool(mine & other) and not _exclusive(mine, other) and not self.subjects_differ

    @cached_property
    def topics_differ(self) -> bool:
        mine, other = (self.subjects[which] | self.attributes[which] for which in (0, 1))
        return self.subjects_differ or (_exclusive(mine, other) and not self.same_topic)


def judge(older: Statement, newer: Statement, cosine: float) -> Verdict:
    """What becomes of `older` now that `newer` has been said by or to the same agent and user.

    `cosine` is that of the vectors of their own words, in [-1, 1]. Where `newer` holds from the
    same moment as `older`, or is much less sure, it contradicts and does not supersede. The same
    arguments always get the same verdict.
    """
    if older.category is not newer.category:
        return Verdict(Resolution.KEEP, "They are of different categories.", "category")
    pair = _Pair(older, newer, cosine)
    for rule in _RULES:
        verdict = rule(pair)
        if verdict is not None:
            return verdict
    return _alike(pair)


def keeps_figures(kept: Statement, dropped: Statement) -> bool:
    """Whether `kept` has every number, date and time of `dropped`, and denies where that does: what
    holds of any two that are one, whoever says so."""
    a, b = kept.reading, dropped.reading
    return a.denied == b.denied and b.figures <= a.figures


def _alike(pair: _Pair) -> Verdict:
    """What no rule knows."""
    if pair.cosine < ALIKE and not pair.same_topic:
        return Verdict(Resolution.KEEP, "They say different things.", "different")
    return Verdict(
        Resolution.UNDECIDED, "They are alike, and no rule knows the difference.", "alike"
    )


def _same_text(pair: _Pair) -> Verdict | None:
    if pair.older.content != pair.newer.content:
        return None
    return Verdict(Resolution.DUPLICATE, "They are the same, letter by letter.", "same-text")


def _unreadable(pair: _Pair) -> Verdict | None:
    """Too long for one statement, or nothing but what says nothing."""
    longest = max(len(pair.older.content), len(pair.newer.content))
    if longest <= _LONGEST and pair.a.tokens and pair.b.tokens:
        return None
    return _alike(pair)


def _same_words(pair: _Pair) -> Verdict | None:
    if pair.gone or pair.added or not _same_sense(pair):
        return None
    if pair.a.keys == pair.b.keys and not _other_roles(pair):
        return Verdict(Resolution.DUPLICATE, "They say the same in the same words.", "same-words")
    if not pair.several and _may_turn(pair) and not _other_roles(pair):
        return Verdict(Resolution.DUPLICATE, "They say the same in another order.", "turned")
    return Verdict(
        Resolution.UNDECIDED, "The same words in another order may say another thing.", "order"
    )


def _several(pair: _Pair) -> Verdict | None:
    """What the other rules know of one statement does not hold for several at once."""
    return _alike(pair) if pair.several else None


def _same_letters(pair: _Pair) -> Verdict | None:
    if pair.a.joined != pair.b.joined or not _same_sense(pair):
        return None
    return Verdict(
        Resolution.DUPLICATE, "They say the same in words spelt otherwise.", "same-letters"
    )


def _denied(pair: _Pair) -> Verdict | None:
    if pair.gone or pair.added or pair.a.denied == pair.b.denied:
        return None
    return _conflict(pair, "One says that it is so, the other that it is not.", "negation")


def _fuller(pair: _Pair) -> Verdict | None:
    procedural = pair.older.category is Category.PROCEDURAL
    if pair.a.denials != pair.b.denials:
        return None
    if not _same_sense(pair) or not (procedural or (pair.a.has_verb and pair.b.has_verb)):
        return None
    if any(one.changed or one.by_now for one in (pair.a, pair.b)):
        return None
    if not pair.gone and _continues(pair.b, pair.a):
        return Verdict(Resolution.MERGE, "The newer says the same and more.", "fuller")
    if not pair.added and _continues(pair.a, pair.b):
        return Verdict(Resolution.DUPLICATE, "The older says the same and more.", "contained")
    return None


def _other_topic(pair: _Pair) -> Verdict | None:
    if not pair.topics_differ or (pair.same_values and pair.cosine >= ALIKE):
        return None  # words say it better than labels
    return Verdict(Resolution.KEEP, "They are about different things.", "topic")


def _events(pair: _Pair) -> Verdict | None:
    """What happened stays so, whatever happened later."""
    if pair.older.category is not Category.EPISODIC:
        return None
    if (pair.gone and pair.added) or pair.a.values != pair.b.values:
        return Verdict(Resolution.KEEP, "They are different events.", "events")
    return _alike(pair)


def _other_head(pair: _Pair) -> Verdict | None:
    """What stands before the verb differs, and so does what stands behind it or the label."""
    if not (_in_head(pair.a, pair.gone) and _in_head(pair.b, pair.added)) or pair.same_values:
        return None
    if not pair.same_topic or _in_tail(pair.a, pair.gone) or _in_tail(pair.b, pair.added):
        return Verdict(Resolution.KEEP, "They are about different things.", "subject")
    return None


def _change_told(pair: _Pair) -> Verdict | None:
    """The newer says that something took another's place, and is about the older's topic or says
    all that the older says."""
    if not pair.added or pair.b.denied or pair.subjects_differ:
        return None
    about_it = pair.same_topic or pair.near_topic
    told = pair.b.changed and not {token.key for token in pair.gone} - lexicon.IMPLIED
    if (about_it and (pair.b.changed or pair.b.by_now)) or (told and pair.a.has_verb):
        return _conflict(pair, "The newer tells of the change.", "change")
    return None


def _changed_value(pair: _Pair) -> Verdict | None:
    if not (pair.gone and pair.added) or not _same_sense(pair) or pair.same_values:
        return None
    if not _one_place(pair):
        return None
    if _may_be_many(pair):
        return Verdict(Resolution.KEEP, "One may have both.", "many")
    if pair.a.denied or not _holds_one(pair):
        return None
    return _conflict(pair, "The newer gives another value of the same.", "value")


_RULES: Final = (
    _same_text,
    _unreadable,
    _same_words,
    _several,
    _same_letters,
    _denied,
    _fuller,
    _events,
    _change_told,
    _other_topic,
    _other_head,
    _changed_value,
)


def _conflict(pair: _Pair, reason: str, rule: str) -> Verdict:
    """Superseding, where time and confidence allow it."""
    if pair.older.category is Category.EPISODIC or lexicon.FIXED & {*pair.a.keys, *pair.b.keys}:
        return Verdict(Resolution.CONTRADICT, f"{reason} It never changes.", f"{rule}-fixed")
    if pair.newer.valid_from <= pair.older.valid_from:
        return Verdict(Resolution.CONTRADICT, f"{reason} Neither is newer.", f"{rule}-same-time")
    if pair.newer.confidence < _UNSURE <= pair.older.confidence:
        return Verdict(Resolution.CONTRADICT, f"{reason} It is unsure.", f"{rule}-unsure")
    return Verdict(Resolution.SUPERSEDE, reason, rule)


def _same_sense(pair: _Pair) -> bool:
    return pair.a.denied == pair.b.denied and pair.a.past == pair.b.past


def _other_roles(pair: _Pair) -> bool:
    """Something is done to one in the one statement, and by or to another in the other."""
    return any(
        (key == other_key) != (word == other_word)
        for word, key in pair.a.roles - pair.b.roles
        for other_word, other_key in pair.b.roles - pair.a.roles
    )


def _may_turn(pair: _Pair) -> bool:
    """Whether the order of the words makes no difference."""
    a, b = pair.a, pair.b
    if a.core == b.core and a.owners == b.owners:
        return True
    if _moved(a, b) or _moved(b, a):
        return True
    if pair.older.category is Category.PROCEDURAL:
        return not a.ordered and not b.ordered and len(a.names | b.names) < 2
    if not (a.light and b.light) or a.owners != b.owners:
        return False
    same_value = a.keys[a.head :] == b.keys[b.head :]
    return same_value or _turned(a) == b.keys or _turned(b) == a.keys


def _turned(reading: Reading) -> tuple[str, ...]:
    """Around its first verb."""
    return reading.keys[reading.head :] + reading.keys[: reading.head]


def _moved(a: Reading, b: Reading) -> bool:
    """Whether `b` is `a` with its end, which a preposition opens, moved to the front."""
    return any(
        a.keys[place:] + a.keys[:place] == b.keys
        and bool(lexicon.PLACES & {*a.tokens[place].gap} & {*b.tokens[0].gap})
        for place in range(1, len(a.tokens))
    )


def _continues(more: Reading, less: Reading) -> bool:
    """Whether `more` begins as `less` and goes on where a sentence may end."""
    count = len(less.tokens)
    if not 1 < count < len(more.tokens) or more.keys[:count] != less.keys:
        return False
    following = more.tokens[count]
    return bool(lexicon.GOES_ON & {*following.gap, following.key})


def _holds_one(pair: _Pair) -> bool:
    """Whether there is but one value at a time."""
    if _all_are(pair, Kind.NUMBER, Kind.TIME):
        return True
    if pair.older.category is Category.PROCEDURAL and pair.same_topic:
        return True
    attribute = pair.attributes[0] if pair.same_topic else frozenset()
    both = {*pair.a.keys} & {*pair.b.keys}
    return bool(lexicon.ONE & (both | attribute)) or _is_named(pair)


def _may_be_many(pair: _Pair) -> bool:
    if pair.older.category is Category.PROCEDURAL:
        return False
    if _all_are(pair, Kind.NUMBER):
        return bool(lexicon.NUMBERED & {_before(pair.a, pair.gone), _before(pair.b, pair.added)})
    attribute = pair.attributes[0] | pair.attributes[1]
    several = bool(lexicon.MANY & {*pair.a.keys, *pair.b.keys, *attribute})
    return (several or (pair.a.having and pair.b.having)) and not (lexicon.ONE & attribute)


def _is_named(pair: _Pair) -> bool:
    """By the label, and by a verb that gives the value of it: "X's Y is Z"."""
    is_said = pair.a.light and pair.b.light and not pair.a.having and not pair.b.having
    return pair.same_topic and is_said


def _all_are(pair: _Pair, *kinds: Kind) -> bool:
    return all(token.kind in kinds for token in (*pair.gone, *pair.added))


def _before(reading: Reading, tokens: list[Token]) -> str:
    """The key before the first of `tokens`."""
    place = reading.tokens.index(tokens[0])
    return reading.keys[place - 1] if place > 0 and place - 1 != reading.head else ""


def _one_place(pair: _Pair) -> bool:
    """Whether they differ in one place only, which is not the verb's: the rest is the same."""
    a, b = pair.a.keys, pair.b.keys
    before = 0
    while before < min(len(a), len(b)) and a[before] == b[before]:
        before += 1
    behind = 0
    while behind < min(len(a), len(b)) - before and a[-1 - behind] == b[-1 - behind]:
        behind += 1
    one, other = a[before : len(a) - behind], b[before : len(b) - behind]
    inside = (
        *pair.a.tokens[before + 1 : len(a) - behind],
        *pair.b.tokens[before + 1 : len(b) - behind],
    )
    verbs = [reading.head for reading in (pair.a, pair.b) if not reading.light]
    return (
        before + behind > 0
        and not set(one) & set(other)
        and 0 < len(one) <= _LONG_VALUE
        and 0 < len(other) <= _LONG_VALUE
        and before not in verbs
        and (
            _all_are(pair, Kind.NUMBER, Kind.TIME)
            or _is_named(pair)
            or not any((lexicon.PLACES | lexicon.ROLES) & {*token.gap} for token in inside)
        )
    )


def _without(one: Reading, other: Reading) -> list[Token]:
    left = Counter(other.keys)
    missing = []
    for token in one.tokens:
        if left[token.key]:
            left[token.key] -= 1
        else:
            missing.append(token)
    return missing


def _in_head(reading: Reading, tokens: list[Token]) -> bool:
    return any(token in reading.tokens[: reading.head] for token in tokens)


def _in_tail(reading: Reading, tokens: list[Token]) -> bool:
    return any(token in reading.tokens[reading.head :] for token in tokens)


def _exclusive(one: frozenset[str], other: frozenset[str]) -> bool:
    """Each has something that the other lacks."""
    return bool(one - other) and bool(other - one)
