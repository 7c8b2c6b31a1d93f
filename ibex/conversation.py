"""What is new in a conversation that a client sends again and again.

Clients resend every message with each request. A conversation is known by its hash chain,
`h_i = SHA-256(h_{i-1} + canonical bytes of message i)`, so one hash stands for all messages up to
it. The canonical bytes hold only what a client must send back unchanged; fields that it may drop
(ids, refusals, annotations) and empty ones make no difference.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

Message = Mapping[str, Any]

_IDENTITY = ("role", "content", "name", "tool_calls", "tool_call_id")
_PREAMBLE = ("system", "developer")


def text_of(content: object) -> str:
    """The text of a message's content: a string as it is, the text parts of a list by lines."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") if isinstance(part, Mapping) else part for part in content)
    return "\n".join(text for text in texts if isinstance(text, str))


def chain(messages: Sequence[Message], start: bytes = b"") -> list[bytes]:
    """One hash of 32 bytes for each message; `start` is the hash of what came before.

    Raises TypeError when a message cannot be written as JSON.
    """
    hashes: list[bytes] = []
    last = start
    for message in messages:
        identity = {key: message[key] for key in _IDENTITY if message.get(key)}
        canonical = orjson.dumps(identity, option=orjson.OPT_SORT_KEYS)
        last = hashlib.sha256(last + canonical).digest()
        hashes.append(last)
    return hashes


def continues(known_count: int, known_hash: bytes | None, hashes: Sequence[bytes]) -> bool:
    """Does the conversation begin with the `known_count` messages that `known_hash` stands for?"""
    if known_count == 0:
        return True
    return known_count <= len(hashes) and hashes[known_count - 1] == known_hash


def new_messages(
    known_count: int,
    known_hash: bytes | None,
    hashes: Sequence[bytes],
    messages: Sequence[Message],
    prefix: int = 0,
) -> Sequence[Message]:
    """The messages that a session with these known messages has not seen.

    `hashes` is `chain(messages)`; `prefix` is the longest beginning that an earlier state of the
    session had, for a conversation that was edited or answered anew. Without any common beginning
    (a client that trims its history, or whose system message holds the time) only what follows the
    last answer is new.
    """
    if continues(known_count, known_hash, hashes):
        return messages[known_count:]
    return messages[prefix or _after_last_answer(messages) :]


def _after_last_answer(messages: Sequence[Message]) -> int:
    """An assistant message at the very end is a beginning that the model shall continue."""
    for index in range(len(messages) - 2, -1, -1):
        if messages[index].get("role") == "assistant":
            return index + 1
    preamble = (i for i, one in enumerate(messages) if one.get("role") not in _PREAMBLE)
    return next(preamble, len(messages))
