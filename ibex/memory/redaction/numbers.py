"""Numbers that an issuer gives: cards, IBANs, social security numbers.

Sources: Luhn, ISO/IEC 7812-1, and the networks' published ranges; IBAN, ISO 13616 (ISO 7064
MOD 97-10) and its registry's lengths; SSN ranges, Social Security Administration.
"""

import re
from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Final

from ibex.memory.redaction.context import Context
from ibex.memory.redaction.spans import FILLER, Span, matching

_CARD_DIGITS: Final = range(12, 20)

# The first digit comes first, so that the search skips to it.
_DIGIT_GROUPS: Final = re.compile(r"\d(?<![\w.+-]\d)\d*+(?>(?:[ .-]\d++)*)", re.ASCII)
_GOES_ON: Final = re.compile(r"\w|-\w|\.\d", re.ASCII)
_GROUP: Final = re.compile(r"\d+", re.ASCII)
_CARD_CONTEXT: Final = Context(
    words="card cards karte karten carte tarjeta carta cartão cartao kaart visa mastercard "
    "amex maestro pan карта карты карту",
    against="order invoice tracking id ids ticket",
    parts="kreditkarte creditcard カード 卡 카드",
)
#: By network: first digits, from and to, and how many digits there are.
_NETWORKS: Final[tuple[tuple[str, str, Sequence[int]], ...]] = (
    ("4", "4", (16, 19)),  # Visa; with 13 digits no longer, and articles' numbers look like them
    ("51", "55", (16,)),  # Mastercard
    ("2221", "2720", (16,)),
    ("34", "34", (15,)),  # American Express
    ("37", "37", (15,)),
    ("300", "305", (14,)),  # Diners Club
    ("36", "36", (14,)),
    ("38", "39", (14, 16)),
    ("6011", "6011", (16, 19)),  # Discover
    ("644", "659", (16, 19)),
    ("3528", "3589", (16, 19)),  # JCB
    ("1800", "1800", (15,)),
    ("2131", "2131", (15,)),
    ("62", "62", (16, 17, 18, 19)),  # UnionPay
    ("2200", "2204", (16, 17, 18, 19)),  # Mir
    ("508", "508", (16,)),  # RuPay
    ("60", "60", (16,)),
    ("81", "82", (16,)),
    ("9792", "9792", (16,)),  # Troy
    ("5018", "5018", range(12, 20)),  # Maestro
    ("5020", "5020", range(12, 20)),
    ("5038", "5038", range(12, 20)),
    ("5893", "5893", range(12, 20)),
    ("6304", "6304", range(12, 20)),
    ("6759", "6763", range(12, 20)),
)
#: How cards are printed: all groups of these lengths, or in fours with a rest.
_PRINTED: Final = frozenset({(4, 6, 5), (4, 6, 4), (4, 5, 6), (6, 13)})

_IBAN_BEGIN: Final = re.compile(r"(?<![A-Za-z0-9-])[A-Za-z]{2}\d{2}(?=[ .-]?[A-Za-z0-9])", re.ASCII)
_IBAN_LETTER: Final = re.compile(r"[ .-]?([A-Za-z0-9])", re.ASCII)
_IBAN_COUNTRIES: Final = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 "
    "DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 "
    "IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 "
    "MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 "
    "SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30 "
)
_IBAN_LENGTHS: Final = MappingProxyType({one[:2]: int(one[2:]) for one in _IBAN_COUNTRIES.split()})

_SSN_GROUPED: Final = re.compile(
    r"\d(?<![\w.+/-]\d)\d{2}([- ])\d{2}\1\d{4}(?!\w|-\w|\.\d)", re.ASCII
)
_SSN_NAMED: Final = re.compile(
    r"(?:\bssn\b|social security)[^\d\n" + FILLER + r"]{0,24}(\d{9}|\d{3}[.]\d{2}[.]\d{4})"
    r"(?!\w|\.\d)",
    re.ASCII | re.IGNORECASE,
)


def cards(text: str) -> Iterator[Span]:
    """A number in one piece must be one that a network gives; printed in groups, or after a word
    that says so, the checksum is enough."""
    for match in _DIGIT_GROUPS.finditer(text):
        if match.end() - match.start() < _CARD_DIGITS.start:
            continue
        groups = [group.span() for group in _GROUP.finditer(text, *match.span())]
        first = 0
        while first < len(groups):
            last = _card_from(text, groups, first)
            if last is None:
                first += 1
            else:
                yield groups[first][0], groups[last][1]
                first = last + 1


def _card_from(text: str, groups: Sequence[Span], first: int) -> int | None:
    """The last group of the longest card that begins with `first`."""
    digits, found = "", None
    for last in range(first, len(groups)):
        digits += text[slice(*groups[last])]
        if len(digits) >= _CARD_DIGITS.stop:
            break
        ends = not _GOES_ON.match(text, groups[last][1])
        if ends and len(digits) in _CARD_DIGITS and luhn(digits):
            lengths = tuple(end - start for start, end in groups[first : last + 1])
            if (
                _is_printed(lengths)
                or (len(lengths) == 1 and _has_network(digits))
                or (min(lengths) > 2 and _CARD_CONTEXT.before(text, groups[first][0]))
            ):
                found = last
    return found


def _is_printed(lengths: tuple[int, ...]) -> bool:
    in_fours = len(lengths) > 2 and set(lengths[:-1]) == {4} and lengths[-1] <= 4
    return lengths in _PRINTED or in_fours


def _has_network(digits: str) -> bool:
    return any(
        len(digits) in lengths and low <= digits[: len(low)] <= high
        for low, high, lengths in _NETWORKS
    )


def luhn(digits: str) -> bool:
    if len(set(digits)) == 1:
        return False
    numbers = [int(digit) for digit in digits]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in numbers[-2::-2]]
    return (sum(numbers[-1::-2]) + sum(doubled)) % 10 == 0


def ibans(text: str) -> Iterator[Span]:
    """As long as its country's are, whatever stands between its letters."""
    end = 0
    for match in _IBAN_BEGIN.finditer(text):
        length = _IBAN_LENGTHS.get(match.group()[:2].upper())
        if length is None or match.start() < end:
            continue
        letters, place = list(match.group()), match.end()
        while len(letters) < length and (letter := _IBAN_LETTER.match(text, place)):
            letters.append(letter.group(1))
            place = letter.end()
        whole = not _GOES_ON.match(text, place)
        if len(letters) == length and whole and mod_97("".join(letters)):
            end = place
            yield match.start(), end


def mod_97(letters: str) -> bool:
    rearranged = letters[4:] + letters[:4]
    return int("".join(str(int(letter, 36)) for letter in rearranged)) % 97 == 1


def _is_ssn(text: str) -> bool:
    digits = "".join(letter for letter in text if letter.isdigit())
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in {"000", "666"} and area < "900" and group != "00" and serial != "0000"


_grouped = matching(_SSN_GROUPED, _is_ssn)


def social_security(text: str) -> Iterator[Span]:
    """Grouped as they are printed; in one piece only after their name."""
    spans = set(_grouped(text))
    for match in _SSN_NAMED.finditer(text):
        if _is_ssn(match.group(1)):
            spans.add(match.span(1))
    yield from sorted(spans)
