"""Telephone numbers: the hard case, for they have no checksum and every country writes its own.

A number with its country's code, or in a form that little else has, is one by itself. Any other row
of 7 to 15 digits is one where the words nearest to it say so.

Source: ITU-T E.164 (at most 15 digits, country codes), E.123 (how they are written).
"""

import re
from collections.abc import Iterator
from types import MappingProxyType
from typing import Final

from ibex.memory.redaction.context import Context
from ibex.memory.redaction.spans import Span, matching

_MIN_INTERNATIONAL, _MIN_NATIONAL, _MAX = 8, 9, 15  # digits
_EXTENSION: Final = r"(?:,? ?(?:ext\.?|extension|x) ?\d{1,5}(?!\d))?"
_END: Final = r"(?!\w|[:-]\w|\.\d)"
_GAP: Final = r"[ .()/-]{0,3}"

_INTERNATIONAL: Final = re.compile(
    rf"(?:\+\(?|0(?<![\w.+/(-]0)0 ?)[1-9](?>(?:{_GAP}\d){{6,}})", re.ASCII
)
_DIGITS: Final = re.compile(r"\d+", re.ASCII)
_AFTER: Final = re.compile(rf"{_EXTENSION}(?!\w)", re.ASCII | re.IGNORECASE)
#: How many digits there are at most with the code of the country, where that is fewer than 15.
_COUNTRIES: Final = (
    "1:11 7:11 20:12 27:11 30:12 31:11 32:11 33:11 34:11 36:11 39:13 40:11 41:11 44:12 45:10 "
    "46:12 47:10 48:11 51:11 52:13 55:13 56:11 57:12 60:12 61:11 63:12 64:12 65:10 66:11 81:12 "
    "82:12 84:12 86:13 90:12 91:12 92:12 351:12 353:12 358:13 380:12 420:12 852:11 886:12 971:12 "
    "972:12 "
)
_LONGEST: Final = MappingProxyType(
    {code: int(most) for code, _, most in (one.partition(":") for one in _COUNTRIES.split())}
)

# The first sign comes first, so that the search skips to it.
_FORMS: Final = re.compile(
    r"(?:"
    # (415) 555-2671, 8 (495) 123-45-67
    r"\(\d{3}\) ?\d{3}[ .-]?\d{2}[ .-]?\d{2}"
    # (030) 1234567, (11) 91234-5678
    r"|\((?:0\d{1,4}|\d{2})\) ?\d{3,5}[ -]?\d{3,5}"
    r"|\d(?<![\w.+/-]\d)(?:"
    # 415-555-2671, 1.415.555.2671
    r"(?:(?<=1)[ .-]\d)?(?<=[2-9])\d{2}([.-])[2-9]\d{2}\1\d{4}"
    # 1 (415) 555-2671
    r"|(?<=[178]) ?\(\d{3}\) ?\d{3}[ .-]?\d{2}[ .-]?\d{2}"
    # 01 23 45 67 89
    r"|(?<=0)[1-9](?:([ .-])\d{2})(?:\2\d{2}){3}"
    # 020 7946 0958, 090-1234-5678
    r"|(?<=0)\d{1,4}[ /-]\d{3,4}[ -]\d{3,4}"
    # 030/1234567
    r"|(?<=0)\d{2,5}/ ?\d{5,8}"
    # 138 1234 5678
    r"|(?<=1)[3-9]\d([ -])\d{4}\3\d{4}"
    r"))" + _EXTENSION + _END,
    re.ASCII | re.IGNORECASE,
)
_ROW: Final = re.compile(
    rf"\(?\d(?<![\w.+/-]\d)(?<![\w.+/-]\(\d)(?>(?:[ .()/-]{{0,2}}\d){{6,14}}){_EXTENSION}{_END}",
    re.ASCII | re.IGNORECASE,
)
_DATE: Final = re.compile(
    r"(?:19|20)\d\d([-./ ])\d{1,2}\1\d{1,2}(?!\d)|\d{1,2}([-./ ])\d{1,2}\2(?:19|20)\d\d(?!\d)",
    re.ASCII,
)
# A date or a decimal with its sign, a sum.
_NO_PHONE: Final = re.compile(r"\+(?:19|20)\d\d-\d\d-\d\d|\+\d{1,3}\.\d+\Z|00\d+ - ", re.ASCII)
_UNIT: Final = re.compile(
    r" ?(?:%|€|\$|£|usd|eur|euros?|dollars|times|bytes|rows|users|people|ms|seconds|km|items|views|"
    r"units|mal|stück|fois|veces|volte|раз)(?!\w)",
    re.IGNORECASE,
)
_CURRENCIES: Final = frozenset("$€£¥₹")
_SAID_AFTER: Final = Context(
    words="my_phone our_phone his_phone her_phone their_phone my_number his_number her_number "
    "mobile cell phone handy mobil portable móvil celular cellulare телефон",
    parts="手机 电话 携帯 전화",
)
_CONTEXT: Final = Context(
    words="phone phones telephone tel tél cell cellphone mobile mob call called calling text_me "
    "text_us text_him text_her text_them sms whatsapp fax dial dialed ring_me ring_us reach_me "
    "reach_us reach_him reach_her reach_them landline hotline voicemail contact_number callback "
    "telefon telefonnummer handy handynummer mobil mobilnummer mobilfunk rufnummer anrufen rückruf "
    "erreichbar téléphone portable appelez appeler appelle teléfono telefono móvil movil celular "
    "llama llamar llamame llámame telefone telemóvel ligue ligar cellulare chiama chiamami "
    "telefoon telefoonnummer gsm telefonu telefonum telefonumuz telefonem komórka zadzwoń "
    "телефон телефона телефону тел моб мобильный позвони позвоните звони звоните τηλέφωνο κινητό "
    "هاتف جوال موبايل تلفون اتصل",
    against="order orders invoice id ids ticket case ref reference tracking serial isbn issn zip "
    "postcode version build account konto rechnung bestellung auftrag commande pedido ordine "
    "bestelling zamówienie заказ timestamp unix epoch cost costs price worth paid budget revenue "
    "population date pid port row rows bytes sku article part model",
    parts="电话 手机 電話 携帯 전화 휴대폰 연락처 โทร เบอร์ फ़ोन फोन मोबाइल",
    reach=48,
)


def international(text: str) -> Iterator[Span]:
    for match in _INTERNATIONAL.finditer(text):
        written = match.group()
        if _NO_PHONE.match(written):
            continue
        prefix = 0 if written.startswith("+") else 2  # 00
        groups = [group.span() for group in _DIGITS.finditer(written)]
        end, count = _within(written, groups, prefix)
        is_marked = not prefix or len(groups) > 1 or _CONTEXT.before(text, match.start())
        after = _AFTER.match(text, match.start() + end)
        if count >= _MIN_INTERNATIONAL + prefix and is_marked and after:
            yield match.start(), after.end()


def _within(written: str, groups: list[Span], prefix: int) -> tuple[int, int]:
    """Where the number ends, which has as many groups as its country allows, and its digits."""
    digits = "".join(written[slice(*group)] for group in groups)[prefix:]
    codes = (digits[:size] for size in (1, 2, 3))
    longest = next((_LONGEST[code] for code in codes if code in _LONGEST), _MAX) + prefix
    longest += "(0)" in written  # a digit that is left out when one dials
    end = count = 0
    for start, stop in groups:
        if count + stop - start > longest:
            break
        end, count = stop, count + stop - start
    return end, count


def _is_long_enough(text: str) -> bool:
    return sum(letter.isdigit() for letter in text) >= _MIN_NATIONAL


national = matching(_FORMS, _is_long_enough)


def in_context(text: str) -> Iterator[Span]:
    for match in _ROW.finditer(text):
        if not (_DATE.search(match.group()) or _counts_something(text, match.span())):
            said = _CONTEXT.before(text, match.start())
            if said or (said is None and _SAID_AFTER.after(text, match.end())):
                yield match.span()


def _counts_something(text: str, span: Span) -> bool:
    before, after = text[max(0, span[0] - 2) : span[0]].strip(), text[span[1] : span[1] + 12]
    return before in _CURRENCIES or _UNIT.match(after) is not None
