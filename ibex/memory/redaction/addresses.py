"""Addresses of people and machines: e-mail, IPv4, IPv6.

Sources: RFC 5321 and 6531 (e-mail), RFC 791 and 4291 through `ipaddress`.
"""

import ipaddress
import re
from collections.abc import Iterator
from typing import Final

from ibex.memory.redaction.context import Context
from ibex.memory.redaction.spans import UNSPACED, Span, matching

# An address does not go on into words that have no spaces between them.
_LETTER: Final = rf"[^\W{UNSPACED}]"
_NAME: Final = rf"(?:{_LETTER}|[+%&-])"
_NAMES: Final = rf"(?>{_NAME}+)"
_TOP: Final = rf"(?:(?:(?![\d_]){_LETTER}){{2,24}}|xn--[a-z0-9-]{{2,59}})"
_EMAIL: Final = re.compile(
    rf"(?<!{_LETTER})(?<![.+%&-])(?<!{_LETTER}'){_NAMES}(?>(?:[.']{_NAMES})*)@"
    rf"(?:(?:{_LETTER}|-){{1,63}}\.){{1,8}}{_TOP}(?!{_LETTER}|-{_LETTER})",
    re.IGNORECASE,
)
# With names in such a script; all that stands before the sign is taken for one.
_EMAIL_UNSPACED: Final = re.compile(
    r"(?<![\w.+%&-])[\w.+%&-]++@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])"
)
_EMAIL_SPELLED: Final = re.compile(
    r"(?<![\w.+%-])[\w+%-]++(?>(?:\.[\w+%-]++)*) ?[\[({] ?at ?[\])}] ?"
    r"[\w-]{1,63}+(?: ?(?:[\[({] ?dot ?[\])}]|\.) ?[\w-]{1,63}+){1,8}",
    re.IGNORECASE,
)
_SPELLED_SIGN: Final = re.compile(r"[\[({] ?at ?[\])}]", re.IGNORECASE)
_EMAIL_MACHINE: Final = re.compile(
    r"(?<![\w.+%-])[\w+%-]++(?>(?:\.[\w+%-]++)*)@\[[\da-f.:ipv]{7,45}\]", re.IGNORECASE
)
#: What follows the last point in names of files.
_FILE_TYPES: Final = (
    "bmp css csv gif heic html ico jpeg jpg js json mp3 mp4 pdf png scss svg tiff toml ts tsx txt "
    "webm webp woff xml yaml yml"
)
_FILES: Final = frozenset(_FILE_TYPES.split())

_IPV4: Final = re.compile(
    r"\d(?<![\w.-]\d)(?<![=~^<>!]=\d)\d{0,2}(?:\.\d{1,3}){3}(?!\w|\.\d|-\d)", re.ASCII
)
_IPV6: Final = re.compile(
    r"(?<![\w:.])[0-9a-f]{0,4}(?>(?::[0-9a-f]{0,4}){2,8})(?>(?:\.\d{1,3}){0,3})(?![\w:]|\.\d)",
    re.ASCII | re.IGNORECASE,
)
_LONG_V6: Final = 24  # characters
_ADDRESS_CONTEXT: Final = Context(
    words="ip ips ipv4 ipv6 address addresses adresse host hosts server ping ssh subnet network "
    "netzwerk gateway port dns client nameserver login router",
    against="v rv ver version versions versión versione versão версия версии release releases "
    "build firmware driver chrome section chapter revision oid kapitel abschnitt upgrade upgraded "
    "update updated aktualisiert",
    parts="地址",
)


def _is_mail(text: str) -> bool:
    name, _, domain = text.partition("@")
    return name.lower() != "git" and domain.rpartition(".")[2].lower() not in _FILES


def emails(text: str) -> Iterator[Span]:
    if "@" in text:
        yield from matching(_EMAIL, _is_mail)(text)


def emails_unspaced(text: str) -> Iterator[Span]:
    if "@" in text:
        yield from matching(_EMAIL_UNSPACED, _is_mail)(text)


def emails_at_machines(text: str) -> Iterator[Span]:
    if "@[" in text:
        yield from matching(_EMAIL_MACHINE)(text)


def emails_spelled(text: str) -> Iterator[Span]:
    if _SPELLED_SIGN.search(text):
        yield from matching(_EMAIL_SPELLED)(text)


def ipv4(text: str) -> Iterator[Span]:
    """Not a machine's own (127.0.0.1) or none at all (0.0.0.0, a netmask); not a version."""
    for match in _IPV4.finditer(text):
        address = _parsed(match.group())
        if (
            address is not None
            and _names_a_machine(address)
            and not match.group().startswith("255.")
            and _ADDRESS_CONTEXT.before(text, match.start()) is not False
        ):
            yield match.span()


def ipv6(text: str) -> Iterator[Span]:
    """As addresses are given out: the first group has three or four signs, the whole many, or the
    last part is IPv4. `a[1::2]` and `a::b` are code."""
    if text.count(":") < 2:
        return
    for match in _IPV6.finditer(text):
        written = match.group()
        if written.endswith(":") and not written.endswith("::"):
            written = written[:-1]
        first = written.partition(":")[0]
        is_long = len(first) > 2 or len(written) > _LONG_V6
        is_long = is_long and any(sign.isdigit() for sign in written)
        if is_long or "." in written:
            address = _parsed(written)
            if address is not None and _names_a_machine(address):
                yield match.start(), match.start() + len(written)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _names_a_machine(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return not (address.is_loopback or address.is_unspecified)
