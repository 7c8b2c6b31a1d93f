"""Pages of a listing: a limit, an opaque cursor, and the next one while there is more."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, Protocol, TypeVar
from uuid import UUID

from fastapi import Depends, Query
from pydantic import BaseModel, Field

from ibex.cursor import decode_cursor, encode_cursor

Item = TypeVar("Item", bound=BaseModel)


class _Row(Protocol):
    @property
    def id(self) -> UUID: ...


Row = TypeVar("Row", bound=_Row)


class Page(BaseModel, Generic[Item]):
    items: list[Item]
    next_cursor: str | None = Field(description="Send it as 'cursor'; null on the last page.")


@dataclass(frozen=True)
class PageRequest:
    after: UUID | None
    limit: int

    @property
    def one_more(self) -> int:
        """What to ask the database for: one row beyond the page tells that there is more."""
        return self.limit + 1

    def page(self, rows: Sequence[Row], make: Callable[[Row], Item]) -> Page[Item]:
        """`rows` has at most `one_more`."""
        shown = rows[: self.limit]
        more = len(rows) > self.limit
        return Page(
            items=[make(row) for row in shown],
            next_cursor=encode_cursor(shown[-1].id) if more else None,
        )


async def _page_request(
    limit: Annotated[int, Query(ge=1, le=200, description="Items on a page.")] = 50,
    cursor: Annotated[
        str | None, Query(description="'next_cursor' of the page before, as it was.")
    ] = None,
) -> PageRequest:
    return PageRequest(decode_cursor(cursor) if cursor is not None else None, limit)


Paging = Annotated[PageRequest, Depends(_page_request)]
