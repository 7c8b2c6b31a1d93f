"""LoCoMo's questions and the messages that answer them.

What of the data set is read stays in memory: its licence forbids keeping it here. Source: Maharana
et al., ACL 2024, https://arxiv.org/abs/2402.17753.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import orjson

from bench.locomo.convert import conversations

#: By the data set's numbers. Those of the last have no answer in the conversation, but evidence:
#: the message that the question twists.
CATEGORIES: Final = MappingProxyType(
    {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
)
_ID = re.compile(r"D\d+:\d+")


@dataclass(frozen=True)
class Question:
    text: str = field(repr=False)
    evidence: frozenset[str]  # ids of messages
    category: str


@dataclass(frozen=True)
class Talk:
    """One conversation of many sessions: an agent of its own."""

    agent: str
    lines: tuple[dict[str, Any], ...] = field(repr=False)  # as `ibex import` reads them
    questions: tuple[Question, ...] = field(repr=False)


def read(file: Path) -> list[Talk]:
    """Questions without evidence in the conversation are left out."""
    return [talk_of(sample) for sample in orjson.loads(file.read_bytes())]


def talk_of(sample: dict[str, Any]) -> Talk:
    lines = tuple(conversations(sample))
    known = {said["id"] for line in lines for said in line["messages"]}
    asked = (
        Question(qa["question"], evidence & known, CATEGORIES[qa["category"]])
        for qa in sample["qa"]
        if (evidence := _ids(qa["evidence"])) & known
    )
    return Talk(f"locomo-{sample['sample_id']}", lines, tuple(asked))


def session_of(message_id: str) -> str:
    return message_id.split(":", maxsplit=1)[0]


def _ids(evidence: Sequence[str]) -> frozenset[str]:
    """Some entries name several messages."""
    return frozenset(found for entry in evidence for found in _ID.findall(entry))
