"""What a session is given, so that a provider's cache of prompt prefixes is spared.

The block at the front that a session starts with stays as it is. What becomes relevant later goes
right before the newest user message and stays there. So of two requests whose client messages
continue each other, the earlier one's messages are a prefix of the later one's, byte for byte.

A session has a log of decisions, at most one for the front and one for each user message: these
memories stand here, or none ever will. A decision is found by its anchor, which stands for all
client messages up to and including the one it stands before. So what a client edits or cuts off
takes its decisions along, and a branch of the conversation that comes back finds its own again.

Nothing here is done, only decided: same log, same messages, same memories, same outcome.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple
from uuid import UUID

from ibex.memory.model import Candidate, ScoredMemory
from ibex.memory.packing import RELEVANCE_FLOOR, pack
from ibex.memory.rendering import (
    EMPTY_FRAME,
    EMPTY_LATER_FRAME,
    Rendered,
    render,
    render_later,
)
from ibex.memory.scoring import WEIGHTS

#: The anchor of the block at the front.
FRONT: Final = b""
ANCHOR_BYTES: Final = 16
#: What the best of the memories to insert must add to its composite score by its relevance, or
#: the insertion does not pay: 0.12 is a relevance of 0.30.
MINIMUM_GAIN: Final = 0.12
#: Of the memories that were not taken, as many are named.
NAMED_DROPS: Final = 20


@dataclass(frozen=True)
class Spoken:
    """One message of the client."""

    role: str
    anchor: bytes = b""  # of a user message
    calls_tools: bool = False


class Pinned(NamedTuple):
    """A memory in the log: enough to know whether its line would still be the same."""

    id: UUID
    version: int
    digest: bytes


@dataclass(frozen=True)
class Decision:
    place: int  # the client's messages before it
    anchor: bytes
    memories: tuple[Pinned, ...] = ()


Log = Mapping[bytes, Decision]  # by anchor


@dataclass(frozen=True)
class Terms:
    """What limits a request. All numbers are tokens."""

    budget: int  # for all memories of the session
    room: int  # what history, answer and directive leave of the model's window
    first_limit: int  # for the first memories of the session
    later_limit: int  # for each later insertion
    count: Callable[[str], int]
    floor: float = RELEVANCE_FLOOR  # of the first memories' relevance
    sent_before: bool = False  # the provider has seen messages of this session
    may_add: bool = True
    verified: bool = True  # a memory of the log that is not known does not exist any more


@dataclass(frozen=True)
class Block:
    """A message to insert before the client's message at `place`."""

    place: int
    anchor: bytes
    memories: tuple[Candidate, ...]
    rendered: Rendered
    tokens: int

    @property
    def content(self) -> str:
        return self.rendered.content

    @property
    def sha256(self) -> bytes:
        return self.rendered.sha256


class Dropped(NamedTuple):
    id: UUID
    version: int
    reason: str
    memory: ScoredMemory | None = None  # None: it is gone


@dataclass(frozen=True)
class Composition:
    blocks: tuple[Block, ...]
    dropped: tuple[Dropped, ...]
    new: tuple[Decision, ...]  # to be made now, unless somebody else has made them
    corrected: tuple[Decision, ...]  # of which memories are gone


@dataclass(frozen=True)
class _Standing:
    decision: Decision
    memories: tuple[Candidate, ...]
    gone: tuple[Pinned, ...] = ()


def anchor_of(chain_hash: bytes) -> bytes:
    """`chain_hash` is of `ibex.conversation.chain`, of a user message."""
    return chain_hash[:ANCHOR_BYTES]


def pinned(memory: Candidate) -> Pinned:
    return Pinned(memory.id, memory.version, memory.digest)


def holding(log: Log, messages: Sequence[Spoken]) -> list[Decision]:
    """The decisions that hold for this conversation, in order."""
    front = [log[FRONT]] if FRONT in log else []
    return front + [
        log[message.anchor]
        for place, message in enumerate(messages)
        if message.anchor and message.anchor in log and log[message.anchor].place == place
    ]


def remembered(log: Log, messages: Sequence[Spoken]) -> list[UUID]:
    """The memories that a request of this conversation carries already."""
    return [memory.id for one in holding(log, messages) for memory in one.memories]


def compose(
    log: Log,
    messages: Sequence[Spoken],
    memories: Sequence[ScoredMemory],
    directive: str | None,
    terms: Terms,
) -> Composition:
    """`memories` are all that are known to be in force now, those of the log included.

    The directive in force goes with the block at the front; a changed one changes its bytes.
    """
    scored = {one.candidate.id: one for one in memories}
    standing = [_stand(one, scored) for one in holding(log, messages)]
    corrected = tuple(_corrected(one) for one in standing if one.gone) if terms.verified else ()
    reason = "gone" if terms.verified else "unknown"
    dropped = [Dropped(old.id, old.version, reason) for one in standing for old in one.gone]
    costs = _Costs(terms.count, scored)
    standing, crowded, used = _within(standing, terms.room, costs)
    dropped += [_drop(scored[one.id], "window") for one in crowded]

    carried = [candidate for one in standing for candidate in one.memories]
    known = {one.id for one in (*carried, *crowded)}
    fresh = [one for one in memories if one.candidate.id not in known]
    opened = _undecided(log, messages, terms) if terms.may_add else ()
    kept, left_out = _choose(fresh, opened, carried, used, terms)
    dropped += left_out

    new = [Decision(place, anchor) for place, anchor in opened]
    if new and kept:
        at = _target(opened, terms)
        new[at] = replace(new[at], memories=tuple(pinned(one) for one in kept))
        standing.append(_Standing(new[at], tuple(kept)))
    blocks = _blocks(standing, directive, costs)
    return Composition(blocks, _bounded(dropped), tuple(new), corrected)


def _stand(decision: Decision, scored: Mapping[UUID, ScoredMemory]) -> _Standing:
    """A memory that says something else by now is not the one that was inserted."""
    there: list[Candidate] = []
    gone: list[Pinned] = []
    for old in decision.memories:
        found = scored.get(old.id)
        if found is not None and found.candidate.digest == old.digest:
            there.append(found.candidate)
        else:
            gone.append(old)
    return _Standing(decision, tuple(there), tuple(gone))


def _corrected(standing: _Standing) -> Decision:
    decision = standing.decision
    return replace(
        decision, memories=tuple(one for one in decision.memories if one not in standing.gone)
    )


def _within(
    standing: Sequence[_Standing], room: int, costs: "_Costs"
) -> tuple[list[_Standing], list[Candidate], int]:
    """What the window has room for, what it has not, and the tokens that are used up. The latest
    goes first, so that the longest prefix stays, and nothing new comes while something must go."""
    fitting: list[_Standing] = []
    crowded: list[Candidate] = []
    used = 0
    for one in standing:
        rendered = _rendered(one.decision.anchor, None, one.memories)
        cost = costs.of(rendered, one.memories) if one.memories else 0
        if crowded or used + cost > room:
            crowded += one.memories
        else:
            fitting.append(one)
            used += cost
    return fitting, crowded, room if crowded else used


def _undecided(log: Log, messages: Sequence[Spoken], terms: Terms) -> tuple[tuple[int, bytes], ...]:
    """Places and anchors of which nothing is decided yet: the front, and the newest user message.

    Never a place before which the provider has seen what follows, and never one inside a sequence
    of tool calls and their results.
    """
    open_: list[tuple[int, bytes]] = []
    if FRONT not in log:
        open_.append((0, FRONT))
    newest = next(
        (place for place in range(len(messages) - 1, -1, -1) if messages[place].role == "user"),
        None,
    )
    if newest is not None and messages[newest].anchor:
        anchor = messages[newest].anchor
        if anchor not in log and not _inside_tool_calls(messages, newest):
            open_.append((newest, anchor))
    return tuple(open_)


def _inside_tool_calls(messages: Sequence[Spoken], place: int) -> bool:
    asked = place > 0 and messages[place - 1].calls_tools
    following = messages[place + 1].role if place + 1 < len(messages) else ""
    return asked or following in ("tool", "function")


def _target(opened: Sequence[tuple[int, bytes]], terms: Terms) -> int:
    """Which of the open places gets the memories: the front, unless it has been sent without."""
    return len(opened) - 1 if terms.sent_before else 0


def _choose(
    fresh: Sequence[ScoredMemory],
    opened: Sequence[tuple[int, bytes]],
    carried: Sequence[Candidate],
    used: int,
    terms: Terms,
) -> tuple[list[Candidate], list[Dropped]]:
    if not opened:
        return [], [_drop(one, "settled") for one in fresh]
    _, anchor = opened[_target(opened, terms)]
    first = opened[0][1] == FRONT
    if anchor == FRONT and terms.sent_before:
        # The front was sent without memories, and there is no other place.
        return [], [_drop(one, "settled") for one in fresh]
    frame = EMPTY_FRAME if anchor == FRONT else EMPTY_LATER_FRAME
    limit = terms.first_limit if first else terms.later_limit
    left = min(terms.budget - used, terms.room - used, limit)
    packing = pack(
        fresh,
        left - terms.count(frame),
        floor=terms.floor if first else RELEVANCE_FLOOR,
        procedural_exempt=first,
        beside=carried,
    )
    dropped = [_drop(one.memory, one.reason) for one in packing.dropped]
    gain = max((one.parts.relevance * WEIGHTS.relevance for one in packing.kept), default=0.0)
    if not first and gain < MINIMUM_GAIN:
        return [], [_drop(one, "gain") for one in packing.kept] + dropped
    return [one.candidate for one in packing.kept], dropped


def _blocks(
    standing: Sequence[_Standing], directive: str | None, costs: "_Costs"
) -> tuple[Block, ...]:
    there = [(one.decision.place, one.decision.anchor, one.memories) for one in standing]
    there = [one for one in there if one[2]]
    if directive and not any(anchor == FRONT for _, anchor, _ in there):
        there.append((0, FRONT, ()))
    blocks = []
    for place, anchor, memories in sorted(there, key=lambda one: (one[1] != FRONT, one[0])):
        rendered = _rendered(anchor, directive, memories)
        blocks.append(Block(place, anchor, memories, rendered, costs.of(rendered, memories)))
    return tuple(blocks)


def _rendered(anchor: bytes, directive: str | None, memories: Sequence[Candidate]) -> Rendered:
    if anchor == FRONT:
        return render(directive, memories) or Rendered("", ())
    return render_later(memories)


@dataclass(frozen=True)
class _Costs:
    count: Callable[[str], int]
    scored: Mapping[UUID, ScoredMemory]

    def of(self, rendered: Rendered, memories: Sequence[Candidate]) -> int:
        """Tokens of what was rendered of these memories."""
        fixed = sum(self.count(piece) for piece in rendered.fixed)
        return fixed + sum(self.scored[one.id].tokens for one in memories)


def _drop(memory: ScoredMemory, reason: str) -> Dropped:
    return Dropped(memory.candidate.id, memory.candidate.version, reason, memory)


def _bounded(dropped: Sequence[Dropped]) -> tuple[Dropped, ...]:
    """Those that were taken away, then the best of the others."""
    return tuple(
        sorted(dropped, key=lambda one: -one.memory.score if one.memory else -2.0)[:NAMED_DROPS]
    )
