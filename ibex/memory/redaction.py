"""Takes personal data and secrets out of a text, before anything else sees it.

    redact("mail ann@example.com") == Redacted("mail [EMAIL]", {"EMAIL": 1})

Each kind is a pattern and, where one exists, the checksum its issuer prescribes, so that a version,
a date, an id or a host name is left alone. What is found becomes the kind in brackets. Pure, and
doing it twice changes nothing.

Sources: Luhn, ISO/IEC 7812-1; IBAN, ISO 13616 (ISO 7064 MOD 97-10); SSN ranges, Social Security
Administration; JWT, RFC 7519; PEM, RFC 7468.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Check = Callable[[str], bool]


@dataclass(frozen=True)
class Redacted:
    text: str = field(repr=False)
    counts: Mapping[str, int]  # findings by kind, e.g. {"EMAIL": 1}


def redact(text: str) -> Redacted:
    """`text` with typed placeholders. Linear in its length but for what the patterns look at."""
    counts: Counter[str] = Counter()
    for kind, pattern, check in _KINDS:

        def replace(match: re.Match[str], kind: str = kind, check: Check = check) -> str:
            if not check(match.group()):
                return match.group()
            counts[kind] += 1
            return f"[{kind}]"

        text = pattern.sub(replace, text)
    return Redacted(text, dict(counts))


def _luhn(text: str) -> bool:
    digits = [int(letter) for letter in text if letter.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _iban(text: str) -> bool:
    compact = text.replace(" ", "").upper()
    if not 15 <= len(compact) <= 34:
        return False
    rearranged = compact[4:] + compact[:4]
    return int("".join(str(int(letter, 36)) for letter in rearranged)) % 97 == 1


def _ssn(text: str) -> bool:
    area, group, serial = re.split(r"[- ]", text)
    return area not in {"000", "666"} and area < "900" and group != "00" and serial != "0000"


def _phone(text: str) -> bool:
    """Conservative: a telephone number is written as one, with a + or an area code."""
    digits = re.sub(r"\D", "", text)
    return 10 <= len(digits) <= 15 or (text.startswith("+") and 8 <= len(digits) <= 15)


def _secret(text: str) -> bool:
    """Random text has digits or both cases in it; `sk-learn-contrib-project` has not."""
    return any(letter.isdigit() for letter in text) or not (text.islower() or text.isupper())


def _always(_: str) -> bool:
    return True


# The order counts: what contains another kind comes first (a key block holds what looks like
# tokens, an IBAN what looks like a card). \b does not do before or after a sign, hence the looks.
_KINDS: tuple[tuple[str, re.Pattern[str], Check], ...] = (
    (
        "PRIVATE_KEY",
        re.compile(
            r"-----BEGIN (?P<label>(?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?)-----"
            r".*?(?:-----END (?P=label)-----|\Z)",
            re.DOTALL,
        ),
        _always,
    ),
    (
        "JWT",
        re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}(?![\w-])", re.ASCII),
        _always,
    ),
    (
        "API_KEY",
        re.compile(
            r"(?<![\w-])(?:"
            r"sk-[\w-]{20,}"  # OpenAI, Anthropic
            r"|[sr]k_(?:live|test)_[0-9A-Za-z]{16,}"  # Stripe
            r"|gh[pousr]_[0-9A-Za-z]{36,}|github_pat_\w{22,}"
            r"|glpat-[\w-]{20,}"
            r"|(?:AKIA|ASIA)[0-9A-Z]{16}"  # AWS
            r"|AIza[\w-]{35}"  # Google
            r"|xox[abprs]-[\w-]{10,}"  # Slack
            r"|hf_[0-9A-Za-z]{30,}"
            r"|ibex_pat_[0-9A-Za-z]{20,}"
            r")(?![\w-])",
            re.ASCII,
        ),
        _secret,
    ),
    (
        "EMAIL",
        re.compile(
            r"(?<![\w.+%-])[\w+%-]+(?:\.[\w+%-]+)*@(?:[\w-]{1,63}\.)+[^\W\d_]{2,24}(?![\w-])"
        ),
        _always,
    ),
    (
        "IBAN",
        re.compile(
            r"(?<!\w)[A-Z]{2}\d{2}"
            r"(?:(?: [0-9A-Z]{4}){2,7}(?: [0-9A-Z]{1,3})?|[0-9A-Z]{11,30})(?!\w)",
            re.ASCII | re.IGNORECASE,
        ),
        _iban,
    ),
    (
        "CARD",
        re.compile(
            r"(?<![\w.+-])"
            r"(?:\d{13,19}|\d{4}(?:[ -]\d{4}){3}(?:[ -]\d{1,3})?|\d{4}[ -]\d{6}[ -]\d{5})"
            r"(?![\w-]|\.\d)",
            re.ASCII,
        ),
        _luhn,
    ),
    ("SSN", re.compile(r"(?<![\w.-])\d{3}([- ])\d{2}\1\d{4}(?![\w-]|\.\d)", re.ASCII), _ssn),
    (
        "PHONE",
        re.compile(
            r"(?<![\w.+/-])(?:"
            r"\+\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,6}"  # international, +49 30 1234567
            r"|\(\d{3}\) ?\d{3}[ .-]\d{4}"  # (415) 555-2671
            r"|\d{3}([.-])\d{3}\1\d{4}"  # 415-555-2671
            r")(?![\w-]|\.\d)",
            re.ASCII,
        ),
        _phone,
    ),
)
