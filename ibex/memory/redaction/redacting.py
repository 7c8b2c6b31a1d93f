"""The order of the kinds, and what is made of what they find."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from ibex.memory.redaction import addresses, credentials, labels, numbers, phones
from ibex.memory.redaction.folding import fold
from ibex.memory.redaction.spans import FILLER, Finder, Finding, Kind, Span

#: What contains another kind comes first: a key block holds what looks like tokens, a password may
#: look like an e-mail address, an IBAN holds what looks like a card, IPv6 may end in IPv4.
_RULES: Final[tuple[tuple[Kind, Finder], ...]] = (
    (Kind.PRIVATE_KEY, credentials.private_keys),
    (Kind.PRIVATE_KEY, credentials.putty_keys),
    (Kind.SECRET, labels.in_addresses),
    (Kind.JWT, credentials.web_tokens),
    (Kind.API_KEY, credentials.vendor_keys),
    (Kind.API_KEY, credentials.webhooks),
    (Kind.SECRET, labels.in_headers),
    (Kind.SECRET, labels.secrets),
    (Kind.EMAIL, addresses.emails),
    (Kind.EMAIL, addresses.emails_unspaced),
    (Kind.EMAIL, addresses.emails_spelled),
    (Kind.EMAIL, addresses.emails_at_machines),
    (Kind.IBAN, numbers.ibans),
    (Kind.CARD, numbers.cards),
    (Kind.SSN, numbers.social_security),
    (Kind.IP, addresses.ipv6),
    (Kind.IP, addresses.ipv4),
    (Kind.PHONE, phones.international),
    (Kind.PHONE, phones.national),
    (Kind.PHONE, phones.in_context),
)
_PLACEHOLDER: Final = re.compile(rf"\[(?:{'|'.join(Kind)})\]")
#: Taking one out may show another, which may show a third. Longer chains have not been made yet.
_ROUNDS: Final = 8


@dataclass(frozen=True)
class Redacted:
    text: str = field(repr=False)
    counts: Mapping[str, int]  # findings by kind, e.g. {"EMAIL": 1}
    findings: tuple[Finding, ...] = ()  # in their order


def redact(text: str) -> Redacted:
    """`text` with typed placeholders, in time linear in its length."""
    folded = fold(text)
    found = _found(folded.text)
    if not found:
        return Redacted(text, {})
    findings = tuple(_apart(Finding(kind, *folded.written(*span)) for span, kind in found))
    counts = Counter(one.kind.value for one in findings)
    return Redacted(_replaced(text, findings), dict(counts), findings)


def _found(text: str) -> list[tuple[Span, Kind]]:
    """In a folded text, in their order. Looked for until there is nothing more: what stands beside
    a finding may have been hidden by it."""
    text = _PLACEHOLDER.sub(lambda match: FILLER * len(match.group()), text)
    found: list[tuple[Span, Kind]] = []
    for _ in range(_ROUNDS):
        before = len(found)
        for kind, finder in _RULES:
            spans = list(finder(text))
            if spans:
                found.extend((span, kind) for span in spans)
                text = _without(text, spans)
        if len(found) == before:
            break
    return sorted(found)


def _without(text: str, spans: list[Span]) -> str:
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    kept = [text[end:start] for end, start in zip(edges[::2], edges[1::2], strict=True)]
    gaps = [FILLER * (end - start) for start, end in spans]
    return "".join(part for pair in zip(kept, [*gaps, ""], strict=True) for part in pair)


def _apart(findings: Iterator[Finding]) -> Iterator[Finding]:
    """One character may be read as several, and two findings meet in it: the first one has it."""
    end = 0
    for one in findings:
        if one.end > end:
            yield one._replace(start=max(one.start, end))
            end = one.end


def _replaced(text: str, findings: tuple[Finding, ...]) -> str:
    parts: list[str] = []
    end = 0
    for one in findings:
        parts += text[end : one.start], f"[{one.kind}]"
        end = one.end
    return "".join([*parts, text[end:]])
