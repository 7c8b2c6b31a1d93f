"""How many tokens a text costs, and how many are left for memories.

tiktoken with OpenAI's o200k_base and cl100k_base from `ibex/data/tiktoken`; nothing is ever
downloaded. Other vendors' models are counted with o200k_base, which is close enough for a budget.

A text of up to EXACT_LIMIT characters is counted exactly (about 5 ms per 100,000 characters of
prose). A longer one is taken for as many tokens as it has UTF-8 bytes: byte-pair encoding never
makes more, so a budget that rests on it is never too large.
"""

import asyncio
import hashlib
import math
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

import tiktoken

from ibex.memory.model import Candidate
from ibex.model_names import bare_name, by_prefix

_DATA = Path(__file__).parents[1] / "data" / "tiktoken"
# Read by tiktoken when an encoding is first loaded.
os.environ["TIKTOKEN_CACHE_DIR"] = str(_DATA)

EXACT_LIMIT: Final = 400_000  # characters
DEFAULT_CONTEXT_WINDOW: Final = 16_384

# What a message costs besides its text, and what primes the answer.
# Source: https://github.com/openai/openai-cookbook, How_to_count_tokens_with_tiktoken
_MESSAGE_OVERHEAD: Final = 4
_ANSWER_PRIMING: Final = 3

# Up to the first rank a token is as common as can be, from the second on as rare.
_COMMON_RANK: Final = 1_500
_RARE_RANK: Final = 60_000

# Uncached characters that are still counted on the event loop, well below a millisecond.
_INLINE_CHARACTERS: Final = 10_000

#: Tokens of a model's context window by prefix of its name; the longest prefix wins.
#: Source: https://platform.openai.com/docs/models and https://docs.anthropic.com/en/docs/models
CONTEXT_WINDOWS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "gpt-3.5-turbo": 16_385,
        "gpt-3.5-turbo-instruct": 4_096,
        "gpt-4": 8_192,
        "gpt-4-32k": 32_768,
        "gpt-4-turbo": 128_000,
        "gpt-4-0125": 128_000,
        "gpt-4-1106": 128_000,
        "gpt-4-vision": 128_000,
        "gpt-4o": 128_000,
        "chatgpt-4o": 128_000,
        "gpt-4.1": 1_047_576,
        "gpt-4.5": 128_000,
        "gpt-5": 400_000,
        "gpt-5-chat": 128_000,
        "gpt-oss": 131_072,
        "o1": 200_000,
        "o1-mini": 128_000,
        "o1-preview": 128_000,
        "o3": 200_000,
        "o4-mini": 200_000,
        "claude-": 200_000,
    }
)

_CL100K_MODELS = ("gpt-4", "gpt-3.5", "gpt-35", "text-embedding-")
_O200K_MODELS = ("gpt-4o", "gpt-4.1", "gpt-4.5")


def encoding_for(model: str) -> str:
    """The name of the model's encoding; o200k_base for every model that is not known."""
    name = bare_name(model)
    if name.startswith(_CL100K_MODELS) and not name.startswith(_O200K_MODELS):
        return "cl100k_base"
    return "o200k_base"


def context_window(model: str, windows: Mapping[str, int] = CONTEXT_WINDOWS) -> int:
    """Tokens that the model takes in and gives out together."""
    return by_prefix(model, windows) or DEFAULT_CONTEXT_WINDOW


def room(
    model: str,
    history_tokens: int,
    answer_tokens: int,
    windows: Mapping[str, int] = CONTEXT_WINDOWS,
) -> int:
    """Tokens of the model's window that history and answer leave."""
    return max(0, context_window(model, windows) - history_tokens - answer_tokens)


def count(text: str, model: str) -> int:
    """Tokens of `text`; see the module for texts above EXACT_LIMIT characters."""
    return _CACHE.count(text, encoding_for(model))


@dataclass(frozen=True)
class Costs:
    """What texts cost for one model, in tokens."""

    encoding: str

    @classmethod
    def of(cls, model: str) -> "Costs":
        return cls(encoding_for(model))

    def text(self, text: str) -> int:
        return _CACHE.count(text, self.encoding)

    def line(self, memory: Candidate) -> int:
        """Of the memory's line with its line break."""
        known = memory.tokens.get(self.encoding)
        if known is None:
            known = len(_encoding(self.encoding).encode_ordinary(f"{memory.line}\n"))
            memory.tokens[self.encoding] = known
        return known


def rarity(word: str) -> float:
    """In [0, 1]: how rare the word is, by where its token stands in o200k_base, whose tokens were
    made in the order of how common they are. A word that has no token of its own is rare."""
    encoding = _encoding("o200k_base")
    tokens = (encoding.encode_ordinary(f" {form}") for form in (word, word.lower()))
    ranks = [each[0] for each in tokens if len(each) == 1]
    if not ranks:
        return 1.0
    steps = math.log(max(1, min(ranks)) / _COMMON_RANK) / math.log(_RARE_RANK / _COMMON_RANK)
    return min(1.0, max(0.0, steps))


def upper_bound(text: str) -> int:
    """A number of tokens that `text` certainly does not exceed, without counting."""
    return len(text.encode("utf-8", "surrogatepass"))


def history_tokens(texts: Sequence[str], model: str) -> int:
    """Tokens of a conversation whose messages have these texts."""
    return _ANSWER_PRIMING + sum(count(text, model) + _MESSAGE_OVERHEAD for text in texts)


def history_at_once(texts: Sequence[str], model: str) -> int | None:
    """`history_tokens` where most of it is known; None when it would hold up the loop."""
    encoding = encoding_for(model)
    new = sum(len(text) for text in texts if not _CACHE.knows(text, encoding))
    return history_tokens(texts, model) if new <= _INLINE_CHARACTERS else None


async def count_history(texts: Sequence[str], model: str, limit: float) -> int:
    """`history_tokens` without blocking the loop.

    A long new history is counted in a thread. When that takes more than `limit` seconds, the upper
    bound is the answer; the counting goes on, so that the next turn finds it done.
    """
    at_once = history_at_once(texts, model)
    if at_once is not None:
        return at_once
    counting = asyncio.ensure_future(asyncio.to_thread(history_tokens, texts, model))
    _COUNTING.add(counting)
    counting.add_done_callback(_COUNTING.discard)
    done, _ = await asyncio.wait({counting}, timeout=limit)
    if done:
        return counting.result()
    return _ANSWER_PRIMING + sum(upper_bound(text) + _MESSAGE_OVERHEAD for text in texts)


def load_encodings() -> None:
    """Read both encodings now (about 0.4 s), not at the first request."""
    for name in ("o200k_base", "cl100k_base"):
        _encoding(name)


class CountCache:
    """The last counts, `size` of them at most, by encoding and digest of the text. Holds no text;
    thread-safe.

    Two generations: what was asked for since the younger one began, and what was before. A full
    younger one becomes the older. A third of the memory of an ordered dictionary.
    """

    def __init__(self, size: int) -> None:
        self._generation = max(1, size // 2)
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())

    def clear(self) -> None:
        with self._lock:
            self._young, self._old = {}, {}

    def knows(self, text: str, encoding: str) -> bool:
        if len(text) > EXACT_LIMIT:
            return True
        key = _digest(text, encoding)
        return key in self._young or key in self._old

    def count(self, text: str, encoding: str) -> int:
        if len(text) > EXACT_LIMIT:
            return upper_bound(text)
        key = _digest(text, encoding)
        with self._lock:
            known = self._young.get(key)
            if known is not None:
                return known
            known = self._old.get(key)
        tokens = known if known is not None else len(_encoding(encoding).encode_ordinary(text))
        with self._lock:
            if len(self._young) >= self._generation:
                self._young, self._old = {}, self._young
            self._young[key] = tokens
        return tokens


def _digest(text: str, encoding: str) -> bytes:
    said = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(said, digest_size=16, person=encoding.encode()).digest()


@cache
def _encoding(name: str) -> tiktoken.Encoding:
    return tiktoken.get_encoding(name)


_CACHE = CountCache(65_536)
_COUNTING: set["asyncio.Future[int]"] = set()
