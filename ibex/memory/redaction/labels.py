"""Secrets that only their name gives away: `password=…`, `Authorization: Bearer …`, `user:…@host`.

What is taken is the value; its name stays. "The password is required", a type or a variable in code
are no secrets, so a plain word counts only where it can hardly be anything else.

Sources: RFC 3986, 3.2.1 (credentials in an address), RFC 6750 and 7617 (in a header).
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from ibex.memory.redaction.folding import fold, lowered
from ibex.memory.redaction.spans import FILLER, UNSPACED, Span

_SHORTEST: Final = 4  # characters of a value after a name that says what it is
_SHORTEST_WORD: Final = 6  # of one that is a plain word
_SHORTEST_WEAK: Final = 12  # of one after a name that means other things too

_STRONG: Final = (
    *("password", "passwort", "kennwort", "passphrase", "passcode", "passwd", "secret", "pwd"),
    *("api key", "api-key", "api_key", "apikey", "access key", "access-key", "access_key"),
    *("accesskey", "account_key", "accountkey", "private_key", "privatekey", "signing_key"),
    *("encryption_key", "mot de passe", "contraseña", "senha", "wachtwoord", "hasło", "lösenord"),
    *(
        "adgangskode",
        "passord",
        "salasana",
        "şifre",
        "пароль",
        "密码",
        "密碼",
        "パスワード",
        "비밀번호",
    ),
    *("كلمة المرور", "पासवर्ड", "รหัสผ่าน", "κωδικός"),
)
_WEAK: Final = ("token", "credentials", "credential", "session_id", "sessionid", "cookie")
_CODE: Final = ("cvv2", "cvv", "cvc", "otp", "security code", "pin")

_NAMES: Final = tuple(fold(name).text for name in (*_STRONG, *_WEAK, *_CODE))
_NAME: Final = re.compile(
    rf"(?P<strong>{'|'.join(_NAMES[: len(_STRONG)])})"
    rf"|(?<![a-z])(?:(?P<weak>{'|'.join(_WEAK)})|(?P<code>{'|'.join(_CODE)}))"
)
_BETWEEN: Final = rf"(?: [^\s:={FILLER}]{{1,20}}){{0,6}}?"  # "… for the office is"
_IS: Final = "is|ist|lautet|est|es|è|é|jest|er|är|on|to|это"
_SIGN: Final = re.compile(
    r"(?>(?:[ _-]?(?:access|key|id|value|base|number|code|no\.))*)s?(?![A-Za-z])[\"'`*]{0,2}\]?"
    r"(?: ?(?P<set>=>|:=|={1,2}|:(?!//)|\uff1a)"
    r"|(?P<none>(?= \d{3,4}(?!\w)))"
    rf"|{_BETWEEN}(?: (?:{_IS})(?: now:?|:)?(?= )|:(?!//)|は|는|은|是|为))"
    r"[*_]{0,2}[ \t]{0,8}(?:\r?\n[ \t]{0,8})?",
    re.IGNORECASE,
)
_QUOTED: Final = re.compile(rf"([\"'`])([^\n{FILLER}]{{4,200}}?)\1")
_BARE: Final = re.compile(rf"(?>(?:[\"'`]|\*\*|__)*)([^\s\"'`{FILLER}]{{3,512}}+)")
# Where a value ends though no space follows: in connection strings, queries and lists, and in front
# of a script without spaces.
_CUT: Final = re.compile(
    rf"(?<=[!-~])(?=[{UNSPACED}\u3001\u3002\uff01\uff0c])|"
    r"[;&,](?=[\w .-]{1,40}=)|\\n"
)

_SCHEMES: Final = ("bearer", "basic", "token", "apikey", "digest")
_AUTHORIZATION: Final = re.compile(
    r"(?P<header>authorization[\"']?\s?[:=]\s?[\"']?)?"
    rf"(?<![^\W_])(?:{'|'.join(_SCHEMES)}) {{1,2}}"
    r"([\w.~+/=:-]{8,4096})",
    re.IGNORECASE | re.ASCII,
)
_IN_ADDRESS: Final = re.compile(
    rf"://[^\s/@:\"'{FILLER}]{{0,64}}:([^\s/\"'{FILLER}]{{1,200}})@(?=[\w\[])"
)

_NOTHING: Final = re.compile(
    r"none|null|nil|true|false|undefined|str|string|text|bytes|int|integer|number|bool(?:ean)?|any|"
    r"object|secretstr|optional.*|required|needed|missing|empty|unset|default|hidden|redacted|"
    r"removed|masked|invalid|incorrect|wrong|expired|changed|reset|forgotten|lost|weak|strong|"
    r"protected|encrypted|hashed|stored|please|enter|your|the|same|see|ask|check|click|use|using|"
    r"pass|password|passwd|secret|token|key|minimum|maximum|[*x._#•-]+|(?:sha|md5|hmac|argon|bcrypt|scrypt|pbkdf|"
    r"aes|rsa|base|oauth|utf|http|https|https?://.*)[\w-]*|\d+-?(?:bit|byte|char|day|hour|min|digit)\w*|"
    r"\d{4}-\d\d-\d\d.*",
    re.IGNORECASE,
)
# What a program or a manual writes in a value's place.
_VARIABLE: Final = re.compile(
    r"\$[({].*|\$(?:[A-Z_]+|[a-z_]+)|<.*|\{.*|%\(.*|%\w+%|[(\[].*[)\]]|.*(?:\u2026|\.\.\.).*|"
    r"[A-Za-z_.]{2,}[(\[][^!@#$%^&*+?~]*|"
    r"(?:process|os|env|self|this|settings|config|secrets?|vault|args|request|ssm|data|var|local|"
    r"params)\..*"
)
_CLOSING: Final = {")": "(", "]": "[", "}": "{", ">": "<"}
_SYMBOL: Final = re.compile(r"[!@#$%^&*+=?~|]")


class _Value(NamedTuple):
    start: int
    text: str
    quoted: bool
    last: bool  # nothing but a point follows in its line


def secrets(text: str) -> Iterator[Span]:
    end, lower = 0, lowered(text)
    if not any(name in lower for name in _NAMES):
        return
    for match in _NAME.finditer(lower):
        if match.start() < end:
            continue
        sign = _SIGN.match(text, match.end())
        value = _value(text, sign.end()) if sign else None
        if sign and value and _is_secret(match.lastgroup or "", match.group(), sign, value):
            end = value.start + len(value.text)
            yield value.start, end


def in_headers(text: str) -> Iterator[Span]:
    lower = text.lower()
    if not any(scheme in lower for scheme in _SCHEMES):
        return
    for match in _AUTHORIZATION.finditer(text):
        value = match.group(2)
        following = text[match.end() : match.end() + 1]
        if following != "\u2026" and (
            match["header"] or (len(value) >= _SHORTEST_WEAK and _is_mixed(value))
        ):
            yield match.span(2)


def in_addresses(text: str) -> Iterator[Span]:
    for match in _IN_ADDRESS.finditer(text):
        said = match.group(1)
        if not _VARIABLE.fullmatch(said) and not _NOTHING.fullmatch(said):
            yield match.span(1)


def _value(text: str, place: int) -> _Value | None:
    match = _QUOTED.match(text, place)
    if match is not None:
        return _Value(match.start(2), match.group(2), quoted=True, last=False)
    match = _BARE.match(text, place)
    if match is None:
        return None
    value = match.group(1)
    cut = _CUT.search(value)
    if cut is not None:
        value = value[: cut.start()]
    value = value.rstrip(".,;:")
    while value and value[-1] in _CLOSING and _CLOSING[value[-1]] not in value:
        value = value[:-1].rstrip(".,;:")
    end = match.start(1) + len(value)
    rest, _, _ = text[end : end + 3].partition("\n")
    return _Value(match.start(1), value, quoted=False, last=not rest.strip(" .,;!\"'`"))


def _is_secret(strength: str, name: str, sign: re.Match[str], value: _Value) -> bool:
    said = value.text
    if strength == "code":
        return said.isdigit() and len(said) in (range(3, 9) if sign["set"] else range(3, 5))
    if (
        sign["none"] is not None
        or said.lower() == name
        or _NOTHING.fullmatch(said)
        or _VARIABLE.fullmatch(said)
    ):
        return False
    if strength == "weak":
        return len(said) >= _SHORTEST_WEAK and _is_mixed(said)
    return len(said) >= _SHORTEST and (
        _is_mixed(said)
        or (_SYMBOL.search(said) is not None and not value.quoted)
        or _is_set(sign, value)
    )


def _is_set(sign: re.Match[str], value: _Value) -> bool:
    """What hardly looks like a secret is one where it is the value that a name is given."""
    if sign["set"] is None:
        return value.quoted
    if sign["set"] == "==":
        return False
    is_word = value.text.isalpha() and len(value.text) >= _SHORTEST_WORD
    begins_at_once = sign["set"] == "=" and sign.group().endswith("=")
    return value.quoted or value.text.isdigit() or (is_word and (value.last or begins_at_once))


def _is_mixed(text: str) -> bool:
    """Letters and digits: hardly a word."""
    return any(sign.isdigit() for sign in text) and any(sign.isalpha() for sign in text)
