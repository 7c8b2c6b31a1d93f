from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
import pytest
from pyreqwest.client import Client, ClientBuilder

from ibex.settings import Settings
from ibex.stores.identity import IdentityStore

ALL_SCOPES = ("chat", "read", "write", "content")


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: dict[str, str]


@dataclass(frozen=True)
class Api:
    """The API as one token sees it."""

    http: Client = field(repr=False)
    base: str
    token: str | None = field(default=None, repr=False)

    def with_token(self, token: str | None) -> "Api":
        return Api(self.http, self.base, token)

    async def call(
        self, method: str, path: str, body: Any = None, *, raw: bytes | None = None
    ) -> Answer:
        address = path if path.startswith("http") else f"{self.base}{path}"
        request = self.http.request(method, address)
        if self.token is not None:
            request = request.header("Authorization", f"Bearer {self.token}")
        if raw is not None:
            request = request.header("Content-Type", "application/json").body_bytes(raw)
        elif body is not None:
            request = request.body_json(body)
        response = await request.build().send()
        text = await response.text()
        headers = {name.lower(): value for name, value in response.headers.items()}
        is_json = headers.get("content-type", "").startswith("application/json")
        return Answer(response.status, orjson.loads(text) if text and is_json else text, headers)

    async def get(self, path: str) -> Any:
        """The body of a 200."""
        answer = await self.call("GET", path)
        assert answer.status == 200, answer
        return answer.body

    async def every_id(self, path: str, limit: int) -> list[str]:
        """Of all pages, in their order."""
        found: list[str] = []
        cursor = None
        while True:
            mark = "&" if "?" in path else "?"
            after = f"&cursor={cursor}" if cursor else ""
            page = await self.get(f"{path}{mark}limit={limit}{after}")
            assert len(page["items"]) <= limit
            found += [item["id"] for item in page["items"]]
            assert len(found) == len(set(found)), "the same row twice"
            cursor = page["next_cursor"]
            if cursor is None:
                return found


@pytest.fixture
async def anonymous(api_server: Settings) -> AsyncIterator[Api]:
    async with ClientBuilder().no_proxy().build() as http:
        yield Api(http, f"{api_server.api_endpoint}/api/v1")


@pytest.fixture
async def api(anonymous: Api, identity: IdentityStore, org_id: UUID) -> Api:
    """With every scope in `org_id`."""
    token = await identity.create_token(org_id, "operator", scopes=ALL_SCOPES)
    return anonymous.with_token(token.text)


@pytest.fixture
async def without_content(anonymous: Api, identity: IdentityStore, org_id: UUID) -> Api:
    token = await identity.create_token(org_id, "reader", scopes=("read",))
    return anonymous.with_token(token.text)


@pytest.fixture
async def stranger(anonymous: Api, identity: IdentityStore) -> Api:
    """With every scope in another organization."""
    other = await identity.create_organization("another organization")
    token = await identity.create_token(other, "operator", scopes=ALL_SCOPES)
    return anonymous.with_token(token.text)
