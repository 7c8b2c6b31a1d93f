"""PostgreSQL goes away, the proxy is killed: no turn whose answer was whole is lost or doubled."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import psutil
import pytest

from hotpath.proxy import availability, recorder
from ibex.access_tokens import AccessToken
from ibex.embedded import servers
from ibex.embedded.probes import http_ok
from ibex.embedded.process import ProcessSpec
from ibex.settings import Settings
from ibex.spool import Spool
from ibex.stores.identity import IdentityStore
from ibex.stores.migrate import migrate
from ibex.stores.postgres import Database
from tests.conftest import free_port
from tests.faults.test_proxy import Cable, cabled, child
from tests.proxying import (
    Arrived,
    ProxyClient,
    Recorded,
    ScriptedUpstream,
    completion,
    events,
    proxy_client,
    running_proxy,
    session_name,
    streamed,
    until,
    whole,
)


async def echo(request: Arrived, writer: asyncio.StreamWriter) -> None:
    """Answers the last message, as a stream when asked to."""
    said = next(one for one in reversed(request.messages) if one["role"] == "user")
    answer = f"re {said['content']}"
    if request.body.get("stream"):
        await streamed(events(*answer.split(" ")[:1], answer[2:]))(request, writer)
    else:
        await whole(completion(answer))(request, writer)


def text_of(body: bytes) -> str | None:
    """Of a whole answer; None when its end is missing."""
    if body.startswith(b"data:"):
        lines = body.decode().split("\n\n")
        if "data: [DONE]" not in lines:
            return None
        chunks = [orjson.loads(line[6:]) for line in lines if line.startswith("data: {")]
        return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    text: str = orjson.loads(body)["choices"][0]["message"]["content"]
    return text


class Talker:
    """A client that goes on with its conversation, and asks again when it got no whole answer."""

    def __init__(self, proxy: ProxyClient, name: str, stream: bool) -> None:
        self.proxy = proxy
        self.name = name
        self.stream = stream
        self.conversation: list[dict[str, Any]] = []
        self.stop = False

    async def talk(self, headers: dict[str, str] | None = None) -> None:
        number = tries = 0
        while tries or not self.stop:  # what was asked is heard in the end
            asked = [*self.conversation, {"role": "user", "content": f"{self.name}-{number}"}]
            again = {"x-stainless-retry-count": str(tries), **(headers or {})}
            tries += 1
            try:
                reply = await self.proxy.chat(*asked, headers=again, stream=self.stream)
            except Exception:  # noqa: BLE001  refused, reset, cut off: whatever a killed server does
                await asyncio.sleep(0.05)
                continue
            answer = text_of(reply.body) if reply.status == 200 else None
            if answer is not None:
                self.conversation = [*asked, {"role": "assistant", "content": answer}]
                number, tries = number + 1, 0
            await asyncio.sleep(0.01)

    @property
    def heard(self) -> list[str]:
        return [one["content"] for one in self.conversation if one["role"] == "assistant"]


async def remembered(database: Database, org_id: UUID) -> dict[str, list[list[str]]]:
    """For each talker the answers of each of its sessions, in order."""
    found: dict[str, list[list[str]]] = {}
    async with database.tenant(org_id) as connection:
        rows = await connection.fetch(
            "SELECT session_id, array_agg(response ->> 'content' ORDER BY number) AS answers"
            " FROM ibex_core.session_turns GROUP BY session_id ORDER BY session_id"
        )
    for row in rows:
        name = str(row["answers"][0]).removeprefix("re ").split("-")[0]
        found.setdefault(name, []).append(row["answers"])
    return found


@pytest.fixture
def own_postgres(base_settings: Settings, tmp_path: Path) -> Settings:
    return base_settings.model_copy(
        update={"home": tmp_path, "postgres_port": free_port(), "assembler_port": free_port()}
    )


class Server:
    """A PostgreSQL of the test's own, that can be stopped and started again."""

    def __init__(self, settings: Settings) -> None:
        self.spec: ProcessSpec = servers.postgres(settings, durable=False)
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        if self.spec.prepare:
            await asyncio.to_thread(self.spec.prepare)
        self.process = await asyncio.create_subprocess_exec(
            *self.spec.command,
            env=self.spec.environment,
            cwd="/",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(60):
            while not await self.spec.ready():  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(self.spec.stop_signal)
            await self.process.wait()

    def _all(self) -> Iterator[psutil.Process]:
        assert self.process is not None
        parent = psutil.Process(self.process.pid)
        yield parent
        yield from parent.children(recursive=True)

    def freeze(self) -> None:
        for one in self._all():
            one.suspend()

    def thaw(self) -> None:
        for one in self._all():
            one.resume()


@pytest.fixture
async def server(own_postgres: Settings) -> AsyncIterator[Server]:
    server = Server(own_postgres)
    await server.start()
    try:
        await migrate(own_postgres)
        yield server
    finally:
        await server.stop()


@pytest.mark.parametrize("blow", ["stopped", "frozen"])
async def test_postgresql_away_under_load(
    own_postgres: Settings,
    server: Server,
    redis_server: ProcessSpec,
    upstream: ScriptedUpstream,
    blow: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(availability, "_LIMIT", 0.5)
    monkeypatch.setattr(recorder, "_LIMIT", 0.5)
    settings = own_postgres.model_copy(
        update={"provider_base_url": upstream.url, "auth_cache_ttl": 1.0}
    )
    upstream.script = echo
    database = await Database.connect(settings.app_dsn, name="test")
    identity = IdentityStore(database)
    org_id = await identity.create_organization("o")
    agent_id = await identity.create_agent(org_id, "assistant")
    token = await identity.create_token(org_id, "app", agent_id=agent_id)
    async with running_proxy(settings) as base, proxy_client(base, token.text) as proxy:
        headers: list[dict[str, str]] = [{}, {}, {"x-ibex-session-id": "s-1"}]
        headers.append({"x-ibex-user-id": "u-1"})
        talkers = [Talker(proxy, f"t{n}", n % 2 == 0) for n in range(len(headers))]
        talking = [
            asyncio.create_task(one.talk(named))
            for one, named in zip(talkers, headers, strict=True)
        ]

        async def each_hears(more: int) -> None:
            goals = [(one, len(one.heard) + more) for one in talkers]

            async def heard() -> bool:
                return all(len(one.heard) >= goal for one, goal in goals)

            await until(heard, 60)

        await each_hears(3)
        if blow == "stopped":
            await server.stop()
        else:
            server.freeze()
        # Conversations begin and go on meanwhile.
        late = Talker(proxy, "late", stream=True)
        talkers.append(late)
        talking.append(asyncio.create_task(late.talk()))
        await each_hears(3)
        ready = await proxy.call("GET", "/ready")
        assert not ready.json["checks"]["postgres"]
        assert ready.json["spool"]["pending"] > 0
        assert ready.json["spool"]["bytes"] > 0
        if blow == "stopped":
            await server.start()
        else:
            server.thaw()
        await each_hears(3)
        for one in talkers:
            one.stop = True
        await asyncio.gather(*talking)

        async def drained() -> bool:
            ready = await proxy.call("GET", "/ready")
            return bool(ready.json["spool"]["pending"] == 0)

        await until(drained, 60)
    stored = await remembered(database, org_id)
    for one in talkers:
        (answers,) = stored[one.name]
        assert answers == one.heard, (len(answers), len(one.heard))
    await database.close()


async def test_a_session_of_an_outage_keeps_its_id(
    proxy_settings: Settings,
    redis_server: ProcessSpec,
    upstream: ScriptedUpstream,
    token: AccessToken,
    recorded: Recorded,
) -> None:
    upstream.script = echo
    async with cabled(proxy_settings, token.text) as (cable, proxy):
        named = session_name()
        by_name = {"x-ibex-session-id": named}
        assert (await proxy.chat("zero", headers=by_name)).status == 200
        await cable.cut()
        reply = await proxy.chat("one")
        ours = reply.headers["x-ibex-session-id"]
        said = [{"role": "user", "content": "one"}, reply.json["choices"][0]["message"]]
        reply = await proxy.chat(*said, "two")
        assert reply.headers["x-ibex-session-id"] == ours
        # A new user, and a session known by its name.
        new_user = {"x-ibex-user-id": "new"}
        theirs = (await proxy.chat("one", headers=new_user)).headers["x-ibex-session-id"]
        reply = await proxy.chat("more", headers=by_name)
        assert (reply.status, reply.headers["x-ibex-session-id"]) == (200, named)
        assert (await proxy.call("GET", "/ready")).json["spool"]["pending"] == 4
        assert await recorded.turns(ours) == []
        await cable.plug()

        async def all_there() -> bool:
            counts = [len(await recorded.turns(name)) for name in (ours, named)]
            return counts == [2, 2]

        await until(all_there)
        assert (await proxy.chat("three", headers={"x-ibex-session-id": ours})).status == 200
        assert len(await recorded.turns(ours)) == 3
        done = await proxy.complete(theirs, **new_user)
        assert done.json["turns"] == 1
        assert (await proxy.complete(theirs)).status == 404


async def test_a_proxy_that_is_killed_loses_no_whole_answer(
    proxy_settings: Settings,
    redis_server: ProcessSpec,
    upstream: ScriptedUpstream,
    token: AccessToken,
    database: Database,
    org_id: UUID,
) -> None:
    upstream.script = echo
    chance = random.Random(7)  # noqa: S311  not for secrets
    cable = Cable(proxy_settings)
    await cable.plug()
    settings = proxy_settings.model_copy(
        update={"database_url": cable.dsn, "assembly_timeout_ms": 45.0}
    )
    base = f"http://127.0.0.1:{settings.proxy_port}"
    async with proxy_client(base, token.text) as proxy:
        talkers = [Talker(proxy, f"t{number}", number % 2 == 0) for number in range(6)]
        # Named: what a killed process knew of a conversation is not known to the next one.
        talking = [
            asyncio.create_task(one.talk({"x-ibex-session-id": one.name})) for one in talkers
        ]

        async def alive() -> bool:
            return await http_ok(f"{base}/health")

        async def heard(goal: int) -> None:
            async def enough() -> bool:
                return sum(len(one.heard) for one in talkers) >= goal

            await until(enough, 60)

        for away in (False, True, True, False):
            async with child("hotpath.proxy", settings) as process:
                await until(alive, 60)
                await heard(sum(len(one.heard) for one in talkers) + 20)
                if away:
                    await cable.cut()
                    await heard(sum(len(one.heard) for one in talkers) + 20)
                await asyncio.sleep(chance.random() * 0.1)
                process.send_signal(signal.SIGKILL)
                await process.wait()
            await cable.cut()
            await cable.plug()
        for one in talkers:
            one.stop = True
        async with child("hotpath.proxy", settings) as process:
            await until(alive, 60)
            await asyncio.gather(*talking)

            async def drained() -> bool:
                return Spool(settings.spool_folder, settings.spool_max_bytes).empty

            await until(drained, 60)
            process.send_signal(signal.SIGTERM)
            await process.wait()
    await cable.cut()
    stored = await remembered(database, org_id)
    for one in talkers:
        (answers,) = stored[one.name]
        assert answers == one.heard, (len(answers), len(one.heard))
