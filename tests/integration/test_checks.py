"""Each check sees the fault that a test plants on the real stores, and nothing before."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import redis.asyncio
from dagster import AssetCheckEvaluation
from typer.testing import CliRunner

from ibex.checks.catalogue import Name
from ibex.checks.checking import Checker
from ibex.checks.looking import Looking
from ibex.checks.samples import Samples
from ibex.cli import app
from ibex.settings import Settings
from ibex.stores.archive import SessionArchive
from ibex.stores.checks import CheckStore
from ibex.stores.hot import HotCache
from ibex.stores.identity import IdentityStore
from ibex.stores.jobs import JobStore
from ibex.stores.objects import ObjectStore
from ibex.stores.postgres import Database
from tests.command_line import ibex, shown
from tests.conftest import free_port
from tests.integration.recorded import TALK, add_session
from tests.integration.remembering import change, remember
from tests.pipeline import learn, metadata, run_job
from tests.seeding import add_injection, add_memory
from tests.unit.candidates import direction

LINKED = (
    "completed_sessions",
    "session_episodes",
    "session_facts",
    "memories",
    "session_archive",
)
DIRECTIVE = "You are the assistant of a bike shop. Always answer in the language of the customer."
Plant = Callable[["Scene"], Awaitable[object]]


class Scene:
    """A session with one memory of each of its two turns, archived and on the hot list."""

    def __init__(
        self, settings: Settings, database: Database, hot: HotCache, org_id: UUID, agent_id: UUID
    ) -> None:
        self.settings = settings
        self.database = database
        self.hot = hot
        self.org_id = org_id
        self.agent_id = agent_id
        self.objects = ObjectStore(settings)
        self.memories: list[UUID] = []
        self.session_id: UUID

    async def begin(self) -> None:
        org_id, agent_id = self.org_id, self.agent_id
        await IdentityStore(self.database).set_directive(org_id, agent_id, DIRECTIVE)
        self.session_id = await add_session(self.database, org_id, agent_id)
        for number, text in enumerate(TALK, start=1):
            memory_id = await remember(
                self.database, org_id, agent_id, text, vector=direction(0.5 * number)
            )
            await change(
                self.database,
                org_id,
                memory_id,
                session_id=self.session_id,
                turns=[number],
                run_id="run",
            )
            self.memories.append(memory_id)
        jobs = JobStore(self.database)
        (job,) = await jobs.claim("run", 1, 60)
        await jobs.finish(job, 2)
        await SessionArchive(self.database, self.objects, self.settings).archive(
            org_id, self.session_id
        )
        await self.execute("UPDATE ibex_core.sessions SET last_turn_at = now() WHERE org_id = $1")
        await self.hot.refresh(org_id, agent_id)

    def checker(self, **changes: object) -> Checker:
        settings = self.settings.model_copy(update=changes)
        looking = Looking(self.database, self.objects, self.hot, settings, again=0)
        return Checker(looking, CheckStore(self.database), settings)

    async def failing(self) -> dict[str, dict[str, int]]:
        results = await self.checker().check_organization(self.org_id)
        return {one.check.name: dict(one.seen.found) for one in results if not one.passed}

    async def change(self, **values: object) -> None:
        await change(self.database, self.org_id, self.memories[0], **values)

    async def execute(self, sql: str, *arguments: object) -> None:
        async with self.database.tenant(self.org_id) as connection:
            await connection.execute(sql, self.org_id, *arguments)

    async def overwrite(self, change: Callable[[bytes], bytes]) -> None:
        key = f"{self.org_id}/{self.agent_id}/{self.session_id}/{self.session_id}.ndjson"
        bucket = self.settings.sessions_bucket
        await self.objects.put(bucket, key, change(await self.objects.get(bucket, key)))


@pytest.fixture
async def scene(
    settings: Settings,
    database: Database,
    redis_client: redis.asyncio.Redis,
    s3_server: object,
    org_id: UUID,
    agent_id: UUID,
) -> AsyncIterator[Scene]:
    scene = Scene(settings, database, HotCache(redis_client, database), org_id, agent_id)
    await scene.begin()
    yield scene
    await scene.objects.close()


async def _an_echo(scene: Scene) -> None:
    await scene.change(content="Always answer in the language of the customer.")


async def _a_greeting(scene: Scene) -> None:
    await scene.change(content="User: hello")


async def _what_was_given(scene: Scene) -> None:
    """An answer's words, which its request carried."""
    given = await remember(
        scene.database,
        scene.org_id,
        scene.agent_id,
        "The billing database lives on host db-7 in Oslo.",
        vector=direction(2.0),
    )
    await add_injection(
        scene.database, scene.org_id, scene.agent_id, scene.session_id, "r-given", [given]
    )
    await scene.change(
        content="Assistant: The billing database lives on host db-7 in Oslo.", source="assistant"
    )


async def _a_double(scene: Scene) -> None:
    await remember(
        scene.database,
        scene.org_id,
        scene.agent_id,
        "My database host is db.smoketest.example.com!",
        vector=direction(0.5),
    )


async def _no_session(scene: Scene) -> None:
    await scene.change(session_id=None)


async def _no_turn(scene: Scene) -> None:
    await scene.change(turns=[1, 7])


async def _no_statement(scene: Scene) -> None:
    await scene.execute("DELETE FROM ibex_core.memory_statements WHERE org_id = $1")


async def _no_version(scene: Scene) -> None:
    await scene.change(version=9)


async def _no_run(scene: Scene) -> None:
    await scene.change(run_id=None)


async def _no_vector(scene: Scene) -> None:
    await scene.change(embedding_model="another")


async def _half_a_vector(scene: Scene) -> None:
    await scene.change(embedding=direction(0.5) / 2)


async def _an_address(scene: Scene) -> None:
    await scene.change(attribute="reach me at ann@example.com")


async def _a_tag(scene: Scene) -> None:
    await scene.execute(
        "INSERT INTO ibex_core.memory_tags (org_id, memory_id, tag) VALUES ($1, $2, $3)",
        scene.memories[0],
        "4111 1111 1111 1111",
    )


async def _an_old_list(scene: Scene) -> None:
    await scene.change(valid_to=datetime.now(UTC))


async def _a_better_one(scene: Scene) -> None:
    await remember(
        scene.database, scene.org_id, scene.agent_id, "The shop opens at nine.", vector=direction(2)
    )


async def _other_bytes(scene: Scene) -> None:
    await scene.overwrite(lambda data: data.replace(b"Noted", b"Nated"))


async def _fewer_bytes(scene: Scene) -> None:
    await scene.overwrite(lambda data: data[:-10])


async def _no_archive(scene: Scene) -> None:
    key = f"{scene.org_id}/{scene.agent_id}/{scene.session_id}/{scene.session_id}.ndjson"
    await scene.objects.delete(scene.settings.sessions_bucket, key)


async def _other_turns(scene: Scene) -> None:
    await scene.execute(
        "UPDATE ibex_core.session_turns SET chain_hash = sha256('x') "
        "WHERE org_id = $1 AND number = 2"
    )


async def _a_dead_letter(scene: Scene) -> None:
    await scene.execute(
        "UPDATE ibex_core.extraction_jobs SET status = 'dead', last_error = 'provider_timeout' "
        "WHERE org_id = $1"
    )


async def _a_long_wait(scene: Scene) -> None:
    await scene.execute(
        "UPDATE ibex_core.extraction_jobs SET status = 'waiting', "
        "available_at = now() - interval '1 hour' WHERE org_id = $1"
    )


async def _not_archived(scene: Scene) -> None:
    await scene.execute(
        "UPDATE ibex_core.sessions SET archived_turn = 1, "
        "completed_at = now() - interval '1 hour' WHERE org_id = $1"
    )


async def _an_old_answer(scene: Scene) -> None:
    await add_injection(
        scene.database,
        scene.org_id,
        scene.agent_id,
        scene.session_id,
        "r-old",
        scene.memories,
        created_at=datetime.now(UTC) - timedelta(hours=2),
    )


FAULTS: dict[Name, Sequence[tuple[Plant, str]]] = {
    Name.JUNK: (
        (_an_echo, "echo_of_instructions"),
        (_a_greeting, "near_empty"),
        (_what_was_given, "injected_text"),
    ),
    Name.DUPLICATES: ((_a_double, "duplicate"),),
    Name.PROVENANCE: (
        (_no_turn, "no_turn"),
        (_no_run, "no_maker"),
        (_no_session, "no_session"),
        (_no_statement, "no_statement"),
        (_no_version, "no_version"),
    ),
    Name.EMBEDDINGS: ((_half_a_vector, "not_unit_length"), (_no_vector, "missing")),
    Name.REDACTION: ((_an_address, "EMAIL"), (_a_tag, "CARD")),
    Name.HOT_LISTS: (
        (_a_better_one, "lacks_a_better_one"),
        (_no_version, "other_version"),
        (_an_old_list, "not_in_force"),
    ),
    Name.ARCHIVES: (
        (_other_turns, "other_checkpoints"),
        (_other_bytes, "other_checksum"),
        (_fewer_bytes, "other_size"),
        (_no_archive, "missing"),
    ),
    Name.DEAD_LETTERS: ((_a_dead_letter, "provider_timeout"),),
    Name.EXTRACTION: ((_a_long_wait, "waiting"),),
    Name.ARCHIVING: ((_not_archived, "waiting"),),
    Name.USE: ((_an_old_answer, "waiting"),),
}


@pytest.mark.parametrize("name", list(Name))
async def test_a_planted_fault_is_found(scene: Scene, name: Name) -> None:
    assert await scene.failing() == {}
    for plant, kind in FAULTS[name]:
        assert kind not in (await scene.failing()).get(name, {})
        await plant(scene)
        assert (await scene.failing())[name][kind] >= 1


async def test_a_row_stands_for_the_time_between_two_changes(
    scene: Scene, database: Database, identity: IdentityStore
) -> None:
    other = await identity.create_organization("another")
    store, checker = CheckStore(database), scene.checker()
    for _ in range(2):
        checked = await checker.check(Name.EMBEDDINGS, "run-1")
        assert ({one for one, _ in checked.results}, checked.left) == ({scene.org_id, other}, 0)
    (passing,) = await store.results(scene.org_id, Name.EMBEDDINGS, limit=10)
    assert (passing.passed, passing.looked_at, passing.run_id) == (True, 2, "run-1")
    assert passing.since < passing.checked_at

    await _half_a_vector(scene)
    failed = (await checker.check(Name.EMBEDDINGS, "run-2")).failed
    assert [one for one, _ in failed] == [scene.org_id]
    failing, before = await store.results(scene.org_id, None, limit=10)
    assert before == passing
    assert (failing.value, failing.found) == (1.0, {"not_unit_length": 1})
    assert failing.examples == [str(scene.memories[0])]
    assert [one.passed for one in await store.latest(scene.org_id)] == [False]
    assert [one.passed for one in await store.latest(other)] == [True]
    assert await store.results(scene.org_id, None, after=failing.id, limit=1) == [passing]

    lenient = scene.checker(check_thresholds={Name.EMBEDDINGS: 1}, check_result_days=0)
    assert not (await lenient.check(Name.EMBEDDINGS)).failed
    assert [one.passed for one in await store.results(scene.org_id, None, limit=10)] == [True]


async def test_who_has_waited_longest_is_looked_at_first(
    scene: Scene, identity: IdentityStore
) -> None:
    await scene.checker().check_organization(scene.org_id, [Name.USE])
    other = await identity.create_organization("another")
    store = CheckStore(scene.database)
    assert await store.organizations(Name.USE) == [other, scene.org_id]
    none = await scene.checker(check_seconds=1e-9).check(Name.USE)
    assert (none.results, none.left) == ([], 2)


async def test_a_store_that_is_away_is_said_and_is_no_success(scene: Scene) -> None:
    away = scene.settings.model_copy(update={"s3_url": f"http://127.0.0.1:{free_port()}"})
    looking = Looking(scene.database, ObjectStore(away), scene.hot, away)
    checker = Checker(looking, CheckStore(scene.database), away)
    (result,) = await checker.check_organization(scene.org_id, [Name.ARCHIVES])
    assert (result.passed, result.error) == (False, "object_store_unavailable")


async def test_of_many_memories_the_newest_and_some_others_are_looked_at(
    scene: Scene, database: Database, org_id: UUID, agent_id: UUID
) -> None:
    ids = [await add_memory(database, org_id, agent_id, f"Fact {number}") for number in range(60)]
    samples = Samples(database, scene.settings.embedding_model)
    sampled = await samples.memories(org_id, 30, believed=True)
    assert len(sampled) == len(set(sampled)) <= 30
    assert set(ids[-15:]) < set(sampled)
    everything = await samples.memories(org_id, 100, believed=False)
    assert set(everything) == {*ids, *scene.memories}


@pytest.mark.usefixtures("embedder_server", "sandbox_server")
async def test_dagster_tells_what_the_checks_found(scene: Scene, database: Database) -> None:
    assert {
        one.check_name: one.passed for one in await _evaluations(scene.settings)
    } == dict.fromkeys(Name, True)
    await _half_a_vector(scene)
    found = {one.check_name: one for one in await _evaluations(scene.settings)}
    assert [name for name, one in found.items() if not one.passed] == ["embeddings"]
    told = found["embeddings"]
    assert told.severity.value == "ERROR"
    assert told.metadata["found"].value == {"not_unit_length": 1}
    assert told.metadata["failed_in"].value == [str(scene.org_id)]
    assert not any(text in str(found) for text in TALK)
    recorded = await CheckStore(database).latest(scene.org_id)
    assert {one.check_name: one.passed for one in recorded} == {
        name: name != "embeddings" for name in Name
    }


@pytest.mark.usefixtures("embedder_server", "sandbox_server")
async def test_a_run_looks_at_what_it_has_written(
    settings: Settings,
    database: Database,
    org_id: UUID,
    agent_id: UUID,
    redis_server: object,
    s3_server: object,
) -> None:
    session_id = await add_session(database, org_id, agent_id)
    reached = settings.model_copy(update={"dashboard_url": "https://ibex.example"})
    result = await learn(reached)
    for name, made in metadata(result).items():
        linked = name in LINKED
        assert (f"https://ibex.example/sessions?session={session_id}" in str(made)) is linked, name
    (good,) = result.get_asset_check_evaluations()
    assert (good.check_name, good.passed, good.metadata["wrong"].value) == ("new_memories", True, 0)
    assert int(str(good.metadata["looked_at"].value)) > 0

    # Said by a user, a directive's words are memories that should not be.
    await IdentityStore(database).set_directive(org_id, agent_id, DIRECTIVE)
    await add_session(database, org_id, agent_id, said=[DIRECTIVE])
    (bad,) = (await learn(settings)).get_asset_check_evaluations()
    assert not bad.passed
    assert bad.metadata["failed_in"].value == [str(org_id)]


async def _evaluations(settings: Settings) -> Sequence[AssetCheckEvaluation]:
    return (await run_job(settings, "checks")).get_asset_check_evaluations()


@pytest.mark.usefixtures("environment")
async def test_the_command_looks_at_once_and_says_what_it_found(scene: Scene) -> None:
    async with scene.database.tenant(scene.org_id) as connection:
        name = await connection.fetchval("SELECT name FROM ibex_core.organizations")
    at = ("checks", "--org", name)
    assert "ibex checks --now" in await shown(*at)
    listed = await ibex(*at, "--now")
    assert [one["check_name"] for one in listed] == list(Name)
    assert all(one["passed"] for one in listed)

    await _half_a_vector(scene)
    done = await asyncio.to_thread(CliRunner().invoke, app, [*at, "--now"])
    assert done.exit_code == 1
    assert "fails (error)" in done.stdout
    assert "not_unit_length 1" in done.stdout
    assert str(scene.memories[0]) in done.stdout
