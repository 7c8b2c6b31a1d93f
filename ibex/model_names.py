"""What is known about models by the beginning of their names."""

from collections.abc import Mapping
from typing import TypeVar

Known = TypeVar("Known")


def bare_name(model: str) -> str:
    """`ft:gpt-4o:org::id` and `openai/gpt-4o` are gpt-4o."""
    return model.lower().removeprefix("ft:").rsplit("/", 1)[-1]


def by_prefix(model: str, table: Mapping[str, Known]) -> Known | None:
    """Of the longest prefix of the model's bare name that stands in `table`."""
    name = bare_name(model)
    known = [prefix for prefix in table if name.startswith(prefix)]
    return table[max(known, key=len)] if known else None
