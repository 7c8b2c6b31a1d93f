"""What is hidden in the corpus: made from each issuer's rules, not with the redactor's code."""

import string
from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Final

from ibex.memory.redaction import Kind

Maker = Callable[[Random], str]

_HEX: Final = "0123456789abcdef"
_ALNUM: Final = string.ascii_letters + string.digits
_WORDY: Final = _ALNUM + "_-"
_NAMES: Final = (
    "anna",
    "j.smith",
    "Maria.Gonzalez",
    "o'brien",
    "li_wei",
    "bob+lists",
    "müller",
    "иван",
)
_DOMAINS: Final = (
    *("example.com", "mail.example.org", "uni-köln.de", "corp.example.co.uk", "xn--mller-kva.de"),
    *("почта.рф", "example.travel", "a-b.example.net"),
)


def _some(random: Random, letters: str, count: int) -> str:
    return "".join(random.choice(letters) for _ in range(count))


def _digits(random: Random, count: int) -> str:
    return _some(random, string.digits, count)


def _grouped(text: str, *sizes: int, by: str = " ") -> str:
    parts, start = [], 0
    for size in sizes:
        parts.append(text[start : start + size])
        start += size
    return by.join(part for part in [*parts, text[start:]] if part)


def with_luhn(body: str) -> str:
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return body + str(-total % 10)


def _card(random: Random) -> str:
    begin, length = random.choice(
        [
            *(("4", 16), ("51", 16), ("55", 16), ("2221", 16), ("34", 15), ("37", 15)),
            *(("6011", 16), ("3056", 14), ("3528", 16), ("62", 16), ("4", 19)),
            *(("65", 16), ("5018", 16)),
        ]
    )
    number = with_luhn(begin + _digits(random, length - 1 - len(begin)))
    if length == 15:
        return random.choice([number, _grouped(number, 4, 6, 5), _grouped(number, 4, 6, 5, by="-")])
    if length == 14:
        return random.choice([number, _grouped(number, 4, 6, 4)])
    if length == 16:
        return random.choice([number, *(_grouped(number, 4, 4, 4, 4, by=sign) for sign in " -.")])
    return number


def _iban(random: Random) -> str:
    country, shape = random.choice(
        [
            *(("DE", "d" * 18), ("GB", "AAAA" + "d" * 14), ("FR", "d" * 10 + "a" * 11 + "dd")),
            *(("NL", "AAAA" + "d" * 10), ("NO", "d" * 11), ("MT", "AAAA" + "d" * 5 + "a" * 18)),
            *(("PL", "d" * 24), ("ES", "d" * 20), ("CH", "d" * 5 + "a" * 12)),
            ("SA", "dd" + "a" * 18),
        ]
    )
    letters = {"d": string.digits, "A": string.ascii_uppercase}
    body = "".join(
        random.choice(letters.get(one, string.digits + string.ascii_uppercase)) for one in shape
    )
    rest = 0
    for sign in body + country + "00":
        for digit in str(string.digits.find(sign) if sign.isdigit() else ord(sign) - 55):
            rest = (rest * 10 + int(digit)) % 97
    number = f"{country}{98 - rest:02}{body}"
    fours = [4] * (len(number) // 4)
    return random.choice(
        [number, number.lower(), *(_grouped(number, *fours, by=one) for one in " -")]
    )


def _ssn(random: Random) -> str:
    area = random.choice([*range(1, 666), *range(667, 900)])
    parts = f"{area:03}", f"{random.randint(1, 99):02}", f"{random.randint(1, 9999):04}"
    return random.choice("- ").join(parts)


def _ipv4(random: Random) -> str:
    first = random.choice([one for one in range(1, 224) if one != 127])
    return ".".join(str(one) for one in (first, *(random.randint(0, 255) for _ in range(3))))


def _ipv6(random: Random) -> str:
    groups = [f"{random.randint(0, 0xFFFF):x}" for _ in range(7)]
    first = random.choice(["2001", "2a02", "fe80", "fd12"])
    return random.choice(
        [
            ":".join([first, *groups]),
            f"{first}:{groups[0]}::{groups[1]}",
            f"{first}::1",
            f"::ffff:{_ipv4(random)}",
            ":".join([first, *groups]).upper(),
        ]
    )


def _email(random: Random) -> str:
    name = random.choice(_NAMES) + random.choice(["", _digits(random, 2)])
    return f"{name}@{random.choice(_DOMAINS)}"


def _email_spelled(random: Random) -> str:
    name, domain = random.choice(["ann.lee", "bob", "c-d"]), random.choice(["example", "mail"])
    return random.choice(
        [
            f"{name} [at] {domain} [dot] com",
            f"{name}(at){domain}.org",
            f"{name}[at]{domain}[dot]net",
        ]
    )


def _phone_international(random: Random) -> str:
    digit = random.choice
    return digit(
        [
            f"+1 {_nanp(random, ' ')}",
            f"+1{_nanp(random, '')}",
            f"+1 ({_nanp(random, ' ')[:3]}) {_nanp(random, '-')[4:]}",
            f"+49 {digit(['30', '89', '171'])} {_digits(random, 7)}",
            f"+49 (0){digit(['30', '40'])} {_digits(random, 4)} {_digits(random, 4)}",
            f"+44 20 {_digits(random, 4)} {_digits(random, 4)}",
            f"+447{_digits(random, 9)}",
            f"+33 6 {' '.join(_digits(random, 2) for _ in range(4))}",
            f"+86 13{_digits(random, 1)} {_digits(random, 4)} {_digits(random, 4)}",
            f"+91 9{_digits(random, 4)} {_digits(random, 5)}",
            f"+7 9{_digits(random, 2)} {_grouped(_digits(random, 7), 3, 2, by='-')}",
            f"+55 11 9{_digits(random, 4)}-{_digits(random, 4)}",
            f"+81-90-{_digits(random, 4)}-{_digits(random, 4)}",
            f"0049 30 {_digits(random, 7)}",
        ]
    )


def _nanp(random: Random, by: str) -> str:
    area, exchange = (str(random.randint(2, 9)) + _digits(random, 2) for _ in range(2))
    return by.join((area, exchange, _digits(random, 4)))


def _phone_national(random: Random) -> str:
    return random.choice(
        [
            _nanp(random, "-"),
            _nanp(random, "."),
            f"({_nanp(random, '')[:3]}) {_nanp(random, '-')[4:]}",
            f"020 7{_digits(random, 3)} {_digits(random, 4)}",
            f"0{random.randint(1, 9)} {' '.join(_digits(random, 2) for _ in range(4))}",
            f"0171/{_digits(random, 7)}",
            f"090-{_digits(random, 4)}-{_digits(random, 4)}",
            f"(11) 9{_digits(random, 4)}-{_digits(random, 4)}",
        ]
    )


def _phone_bare(random: Random) -> str:
    return random.choice(
        [
            _nanp(random, ""),
            _nanp(random, " "),
            f"030 {_digits(random, 7)}",
            f"13{_digits(random, 9)}",
            f"9{_digits(random, 9)}",
            f"{random.randint(200, 999)}-{_digits(random, 4)}",
            f"06{_digits(random, 8)}",
        ]
    )


def _key(random: Random) -> str:
    return random.choice(
        [
            f"sk-{_some(random, _ALNUM, 48)}",
            f"sk-proj-{_some(random, _WORDY, 60)}",
            f"sk-ant-api03-{_some(random, _WORDY, 93)}AA",
            f"AKIA{_some(random, string.ascii_uppercase + '234567', 16)}",
            f"ghp_{_some(random, _ALNUM, 36)}",
            f"github_pat_{_some(random, _ALNUM, 22)}_{_some(random, _ALNUM, 59)}",
            f"glpat-{_some(random, _WORDY, 20)}",
            f"AIza{_some(random, _WORDY, 35)}",
            f"GOCSPX-{_some(random, _WORDY, 28)}",
            f"xoxb-{_digits(random, 12)}-{_digits(random, 13)}-{_some(random, _ALNUM, 24)}",
            f"sk_live_{_some(random, _ALNUM, 24)}",
            f"whsec_{_some(random, _ALNUM, 32)}",
            f"SG.{_some(random, _ALNUM, 22)}.{_some(random, _ALNUM, 43)}",
            f"key-{_some(random, _HEX, 32)}",
            f"SK{_some(random, _HEX, 32)}",
            f"hf_{_some(random, string.ascii_letters, 34)}",
            f"npm_{_some(random, _ALNUM, 36)}",
            f"pypi-AgEIcHlwaS5vcmc{_some(random, _WORDY, 70)}",
            f"dckr_pat_{_some(random, _ALNUM, 27)}",
            f"dop_v1_{_some(random, _HEX, 64)}",
            f"shpat_{_some(random, _HEX, 32)}",
            f"{_digits(random, 10)}:AA{_some(random, _ALNUM, 33)}",
            f"M{_some(random, _ALNUM, 23)}.{_some(random, _ALNUM, 6)}.{_some(random, _ALNUM, 27)}",
            f"glsa_{_some(random, _ALNUM, 32)}_{_some(random, _HEX, 8)}",
            f"hvs.{_some(random, _ALNUM, 24)}",
            f"lin_api_{_some(random, _ALNUM, 40)}",
            f"ntn_{_some(random, _ALNUM, 46)}",
            f"gsk_{_some(random, _ALNUM, 52)}",
            f"NRAK-{_some(random, string.ascii_uppercase + string.digits, 27)}",
            f"dapi{_some(random, _HEX, 32)}",
        ]
    )


def _jwt(random: Random) -> str:
    return f"eyJhbGciOiJIUzI1NiJ9.eyJ{_some(random, _WORDY, 60)}.{_some(random, _WORDY, 43)}"


def _private_key(random: Random) -> str:
    label = random.choice(["RSA ", "EC ", "", "OPENSSH ", "ENCRYPTED "])
    by = random.choice(["\n", "\\n", "\r\n"])
    rows = by.join(_some(random, _ALNUM + "+/", 64) for _ in range(random.randint(2, 12)))
    return f"-----BEGIN {label}PRIVATE KEY-----{by}{rows}{by}-----END {label}PRIVATE KEY-----"


def _password(random: Random) -> str:
    word = random.choice(["sommer", "Tiger", "letmein", "correct-horse", "Pa55w", "qwertz"])
    return (
        word + _some(random, "!$#%+?", random.randint(0, 2)) + _digits(random, random.randint(1, 4))
    )


#: By kind, the forms that it is written in.
FORMS: Final[Mapping[Kind, Mapping[str, Maker]]] = MappingProxyType(
    {
        Kind.EMAIL: {"plain": _email, "spelled": _email_spelled},
        Kind.PHONE: {
            "international": _phone_international,
            "national": _phone_national,
            "bare": _phone_bare,
        },
        Kind.SSN: {"plain": _ssn},
        Kind.CARD: {"plain": _card},
        Kind.IBAN: {"plain": _iban},
        Kind.IP: {"v4": _ipv4, "v6": _ipv6},
        Kind.API_KEY: {"plain": _key},
        Kind.JWT: {"plain": _jwt},
        Kind.PRIVATE_KEY: {"plain": _private_key},
        Kind.SECRET: {"plain": _password},
    }
)
