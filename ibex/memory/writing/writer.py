"""The write as a whole: the steps in their order, and what they did."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from ibex.embedding import EmbedderClient
from ibex.ids import new_id
from ibex.memory.conflicts import judge
from ibex.memory.model import Fact, Provenance, Vector
from ibex.memory.statements import Plan, Stated
from ibex.memory.trust import Status, Trust, assess
from ibex.memory.writing.hashing import content_hash
from ibex.memory.writing.planning import CONFLICT, Judge, confidence_of, plan, tells_more, words_of
from ibex.memory.writing.redacting import RedactedFact, redact_fact, says_something
from ibex.memory.writing.validating import is_valid, valid_from
from ibex.settings import Settings
from ibex.stores import memories_write, neighbours
from ibex.stores.memories_write import Owner, Refounded, Supported
from ibex.stores.postgres import Connection, Database
from ibex.stores.usefulness import inherit

#: Runs inside the transaction that writes, before the memories: the caller's own part of it.
Settle = Callable[[Connection], Awaitable[None]]


@dataclass(frozen=True)
class WriteResult:
    created: tuple[UUID, ...]
    duplicates: int  # statements of what was known, in the same words or in others
    rejected: int  # empty, too long, or resting on turns that do not exist
    redactions: Mapping[str, int]  # by kind, over all facts that were not rejected
    superseded: tuple[UUID, ...] = ()  # stored memories whose validity ends now, or ends sooner
    merged: tuple[UUID, ...] = ()  # stored memories that rest on more now
    contradictions: int = 0  # edges between memories that cannot both hold
    undecided: int = 0  # edges between memories that a model may judge
    quarantined: int = 0  # of the created ones, those that wait for a review

    @property
    def changed(self) -> bool:
        """What recall may see is not what it was."""
        return bool(self.created or self.superseded or self.merged)


class MemoryWriter:
    def __init__(
        self,
        database: Database,
        embedder: EmbedderClient,
        settings: Settings,
        *,
        judge: Judge = judge,
    ) -> None:
        self._database = database
        self._embedder = embedder
        self._embedding_model = settings.embedding_model
        self._judge = judge

    async def write(
        self,
        org_id: UUID,
        agent_id: UUID,
        user_id: UUID | None,
        facts: Sequence[Fact],
        provenance: Provenance,
        said_at: Mapping[int, datetime],
        *,
        settle: Settle | None = None,
        now: datetime | None = None,
    ) -> WriteResult:
        """Store `facts` as memories of the agent, or of its user when there is one.

        `said_at` holds the time of each turn that a fact may rest on; `now` is the present, for
        tests. With `settle`, its work and the memories are one transaction: when it raises,
        nothing is written.

        Raises EmbedderUnavailableError, DatabaseUnavailableError, and what `settle` raises.
        """
        owner = Owner(org_id, agent_id, user_id)
        present = now or datetime.now(UTC)
        redacted = redact_facts(facts, said_at)
        stated = await self.state(owner, redacted, provenance, said_at, present)
        async with self._database.tenant(org_id) as connection:
            if settle is not None:
                await settle(connection)
            done = await self.believe(connection, owner, stated, provenance.run_id, present)
        return WriteResult(
            created=tuple(done.created),
            duplicates=len(redacted) - done.begun,
            rejected=len(facts) - len(redacted),
            redactions=dict(sum((Counter(one.redactions) for one in redacted), Counter())),
            superseded=tuple(done.superseded),
            merged=tuple(done.merged),
            contradictions=done.edges["contradicts"],
            undecided=done.edges["undecided"],
            quarantined=done.quarantined,
        )

    async def state(
        self,
        owner: Owner,
        redacted: Sequence[RedactedFact],
        provenance: Provenance,
        said_at: Mapping[int, datetime],
        now: datetime,
    ) -> list[Stated]:
        """The first half of a write, which stores nothing: of the same words at the same time,
        believed or not, only the surest; embedded where the words are new.

        Raises EmbedderUnavailableError, DatabaseUnavailableError."""
        chosen: dict[tuple[bytes, datetime, Trust], RedactedFact] = {}
        for one in redacted:
            key = (
                content_hash(one.fact.content),
                valid_from(one.fact, said_at, now),
                assess(one.fact.content, source=one.fact.source, category=one.fact.category),
            )
            chosen[key] = _more_telling(one, chosen.get(key))
        words = {digest: one.fact.content for (digest, _, _), one in chosen.items()}
        vectors = await self._vectors(owner, words)
        return [
            Stated(
                id=new_id(),
                fact=one.fact,
                content_hash=digest,
                redactions=one.redactions,
                valid_from=since,
                provenance=provenance,
                embedding=vectors[digest],
                trust=trust,
            )
            for (digest, since, trust), one in chosen.items()
        ]

    async def _vectors(self, owner: Owner, words: Mapping[bytes, str]) -> dict[bytes, Vector]:
        """Nothing is locked while the embedder works."""
        vectors = await memories_write.vectors_of(
            self._database, owner, list(words), self._embedding_model
        )
        unknown = [digest for digest in words if digest not in vectors]
        embedded = await self._embedder.embed([words[digest] for digest in unknown])
        return vectors | dict(zip(unknown, embedded, strict=True))

    async def believe(
        self,
        connection: Connection,
        owner: Owner,
        stated: Sequence[Stated],
        run_id: str | None,
        now: datetime,
        *,
        revive: bool = False,
    ) -> "Believed":
        """The second half, inside the caller's transaction.

        With `revive`, words that a memory set aside has come back as that memory, with what is
        known about its use, instead of as a new one.
        """
        done = Believed()
        if not stated:
            return done
        await memories_write.lock(connection, owner)
        await memories_write.forget_ended(connection, owner)
        waiting, own = list(stated), {one.id for one in stated}
        while waiting:
            # What is believed comes first: the same words from outside are then known.
            status = min(one.trust.status for one in waiting)
            batch = [one for one in waiting if one.trust.status == status]
            waiting = [one for one in waiting if one.trust.status != status]
            if status is Status.ACTIVE:
                done.merged.update(await memories_write.vouch(connection, owner, batch, run_id))
            hashes = [one.content_hash for one in batch]
            held = await neighbours.held(connection, owner, hashes, status)
            batch = [one for one in batch if one.content_hash not in held]
            near = await neighbours.near(
                connection, owner, batch, self._embedding_model, CONFLICT, status
            )
            made = plan(batch, near, self._judge, now)
            if revive:
                made = await self._revive(connection, owner, made)
            waiting += await self._apply(connection, owner, made, run_id, done)
            done.begun += sum(memory.words.id in own for memory in made.created)
            if status is Status.QUARANTINED:
                done.quarantined += len(made.created)
        return done

    async def _revive(self, connection: Connection, owner: Owner, made: Plan) -> Plan:
        """The plan, with the ids of those that are revived by it in the place of new ones."""
        hashes = {one.words.content_hash for one in made.created}
        aside = await memories_write.set_aside(connection, owner, sorted(hashes))
        revived = {
            one.id: aside.pop(one.words.content_hash)
            for one in made.created
            if one.words.content_hash in aside
        }
        return made.renamed(revived)

    async def _apply(
        self,
        connection: Connection,
        owner: Owner,
        made: Plan,
        run_id: str | None,
        done: "Believed",
    ) -> list[Stated]:
        """Closes before it opens: the words of a memory in force are unique. What has to be
        planned again."""
        org_id, model = owner.org_id, self._embedding_model
        moved = [one for one in made.changed if one.moved]
        await memories_write.change(connection, org_id, moved, run_id)
        await memories_write.revive(connection, org_id, made.revived, model)
        created = await memories_write.insert(connection, owner, made.created, model)
        done.created += created
        touched = set(await memories_write.add_statements(connection, owner, made.joined, model))
        words = {one.id: one.words for one in made.changed if one.words is not None}
        closed = [one.id for one in made.changed if one.closed]
        await inherit(connection, org_id, created, closed)
        released = await memories_write.release(connection, org_id, closed, model)
        if released:
            left = await memories_write.speechless(connection, org_id, closed, model)
            words |= {memory: words_of(said, self._judge) for memory, said in left.items()}
        for memory_id, stated in words.items():
            await memories_write.reword(connection, org_id, memory_id, stated, model)
        shown = [
            refounded(memory, reworded=memory.id in words)
            for memory in await memories_write.support(
                connection, org_id, sorted(touched.union(words, closed if released else ()))
            )
        ]
        await memories_write.refound(connection, org_id, [one for one in shown if one], run_id)
        await memories_write.relate(connection, org_id, made.edges)
        done.superseded.update(closed)
        done.merged.update(touched.difference(done.created))
        done.edges.update(edge.kind for edge in made.edges)
        return [*made.released, *released]


def redact_facts(facts: Sequence[Fact], said_at: Mapping[int, datetime]) -> list[RedactedFact]:
    """Steps 1 and 2: those that are statements and say something without what is redacted."""
    valid = [fact for fact in facts if is_valid(fact, said_at)]
    return [one for one in map(redact_fact, valid) if says_something(one.fact)]


def _more_telling(one: RedactedFact, other: RedactedFact | None) -> RedactedFact:
    """Of two with the same words; of two of a category the surer one."""
    if other is None or tells_more(one.fact.category, other.fact.category):
        return one
    same = one.fact.category is other.fact.category
    return one if same and one.fact.confidence > other.fact.confidence else other


class Believed:
    """What one write has done so far."""

    def __init__(self) -> None:
        self.created: list[UUID] = []
        self.superseded: set[UUID] = set()
        self.merged: set[UUID] = set()
        self.edges: Counter[str] = Counter()
        self.begun = 0  # memories that the call's own statements began
        self.quarantined = 0


def refounded(memory: Supported, *, reworded: bool = False) -> Refounded | None:
    """What a memory shows of its statements: how sure they make it together, and the turns of its
    own session. None: what it shows already."""
    own = [one for one in memory.by if one.session_id == memory.session_id]
    confidence = confidence_of([(one.session_id, one.confidence) for one in memory.by])
    turns = tuple(sorted({turn for one in own for turn in one.turns}))
    message_ids = tuple(dict.fromkeys(name for one in own for name in one.message_ids))
    shown = (memory.confidence, memory.turns, memory.message_ids)
    if not reworded and (confidence, turns, message_ids) == shown:
        return None
    return Refounded(memory.id, confidence, turns, message_ids)
