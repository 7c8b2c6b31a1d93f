"""Why an OpenAI-compatible server refuses a request, as far as its answer tells.

There is no common code for it: OpenAI says `context_length_exceeded`, llama.cpp
`exceed_context_size_error`, vLLM, LM Studio and others only write a sentence.
"""

import re
from typing import Final

_REFUSED: Final = frozenset({400, 413, 422})
_FORMAT: Final = frozenset({400, 404, 422})
_TOO_LONG: Final = re.compile(
    r"context[ _-]?(?:length|size|window)|maximum[^.]{0,40}\btokens?\b|too (?:long|many tokens)|"
    r"token limit|exceed\w*[^.]{0,40}\b(?:tokens?|context)\b",
    re.IGNORECASE,
)


def refuses_length(status: int, message: str, code: str | None) -> bool:
    """Whether fewer words may do."""
    if status not in _REFUSED:
        return False
    return status == 413 or bool(_TOO_LONG.search(f"{code or ''} {message[:2_000]}"))


def refuses_format(status: int) -> bool:
    """Whether it may be the form of the answer that the server does not know."""
    return status in _FORMAT
