"""Takes personal data and secrets out of a text, before anything else sees it.

    redact("mail ann@example.com").text == "mail [EMAIL]"

The text is first read as a person would read it (`folding`): full-width letters, digits of other
scripts and characters that nobody sees hide nothing. Then each kind is looked for by its form and,
where one exists, by the checksum its issuer prescribes, so that a version, a date, an id or a host
name is left alone. What is found becomes the kind in brackets; everything else stays as it was
written. Pure, and doing it twice changes nothing.
"""

from ibex.memory.redaction.redacting import Redacted, redact
from ibex.memory.redaction.spans import Finding, Kind

__all__ = ["Finding", "Kind", "Redacted", "redact"]
