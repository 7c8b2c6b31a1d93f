"""The one line that a memory takes in a request: its date, and its text as a JSON string.

    - 2026-05-07 "The database host is db.example.com."

Every character that could end a line, a quote or the frame around it is escaped, and every other
one that compatibility normalisation (NFKC) turns into such a character, so whatever a memory says,
it stays inside its own quotes, also for a reader that normalises first.
"""

import re
from datetime import UTC, datetime
from typing import Final

# Quote, backslash, angle brackets (the frame) and their small and full-width forms, control
# characters, every kind of line end, and what is invisible or turns the direction of writing.
_UNSAFE: Final = re.compile(
    '["\\\\<>\ufe64\ufe65\ufe68\uff02\uff1c\uff1e\uff3c'
    "\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000e0000-\U000e0fff]"
)


def line_of(valid_from: datetime, content: str) -> str:
    """Without its line break."""
    date = valid_from.astimezone(UTC).date().isoformat()
    return f'- {date} "{_UNSAFE.sub(_escape, content)}"'


def _escape(match: re.Match[str]) -> str:
    """As JSON has it: a short form or UTF-16 units (RFC 8259, section 7)."""
    character = match.group()
    if character in '"\\':
        return f"\\{character}"
    if character == "\n":
        return "\\n"
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))
