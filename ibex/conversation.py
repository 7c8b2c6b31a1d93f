"""What is new in a conversation that a client sends again and again.

Clients resend every message with each request. A conversation is known by its hash chain,
`h_i = SHA-256(h_{i-1} + canonical bytes of message i)`, so one hash stands for all messages up to
it. The canonical bytes hold only what a client must send back unchanged; fields that it may drop
(ids, refusals, annotations) and empty ones make no difference.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import orjson

Message = Mapping[str, Any]

_IDENTITY = ("role", "content", "name", "tool_calls", "tool_call_id")
_PREAMBLE = ("system", "developer")
TAIL: Final = 4  # messages by which a conversation is known whose beginning was cut off


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


@dataclass(frozen=True)
class Outline:
    """What a conversation is known by when nobody names it.

    Its dialogue only: system and developer messages may change from request to request (the time,
    retrieved documents) and make it no other conversation. Each tuple has an entry a message of the
    dialogue.
    """

    digests: tuple[bytes, ...] = ()  # of each message alone
    ends: tuple[bytes, ...] = ()  # hash chain: stands for the dialogue up to that message
    tails: tuple[bytes, ...] = ()  # stands for the last TAIL messages up to that one
    answered: bool = False  # an assistant has spoken

    @property
    def end(self) -> bytes | None:
        return self.ends[-1] if self.ends else None

    @property
    def tail(self) -> bytes | None:
        return self.tails[-1] if self.tails else None

    def then(self, messages: Sequence[Message]) -> "Outline":
        """With these messages at its end. Raises TypeError as `chain` does."""
        digests, ends, tails = list(self.digests), list(self.ends), list(self.tails)
        answered = self.answered
        for message in messages:
            role = message.get("role")
            if role in _PREAMBLE:
                continue
            answered = answered or role == "assistant"
            digests.append(hashlib.sha256(orjson.dumps(_said(message))).digest())
            ends.append(hashlib.sha256((ends[-1] if ends else b"") + digests[-1]).digest())
            tails.append(hashlib.sha256(b"".join(digests[-TAIL:])).digest())
        return Outline(tuple(digests), tuple(ends), tuple(tails), answered)


def outline(messages: Sequence[Message]) -> Outline:
    """Of a whole conversation. Raises TypeError when a message cannot be written as JSON."""
    return Outline().then(messages)


def _said(message: Message) -> list[object]:
    """What a client sends back in other words is the same: a text as one part or with other white
    space around it, a tool's arguments written anew."""
    content = message.get("content") or None
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], Mapping):
        part = content[0]
        if part.get("type") == "text" and isinstance(part.get("text"), str):
            content = part["text"]
    if isinstance(content, str):
        content = content.strip() or None
    calls = message.get("tool_calls")
    called = [_called(call) for call in calls] if isinstance(calls, list) else calls
    return [message.get("role"), content, called or None, message.get("tool_call_id") or None]


def _called(call: object) -> object:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(call, Mapping) or not isinstance(function, Mapping):
        return call
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        with suppress(orjson.JSONDecodeError):
            arguments = orjson.dumps(orjson.loads(arguments), option=orjson.OPT_SORT_KEYS).decode()
    return [call.get("id"), function.get("name"), arguments]
