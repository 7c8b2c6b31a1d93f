"""Every Redis key. The organization is the hash tag, so that a cluster keeps a tenant together."""

from uuid import UUID


def hot_scores(org_id: UUID, agent_id: UUID, user_id: UUID | None) -> str:
    """Sorted set: memory id → composite score without relevance."""
    return f"ibex:{{{org_id}}}:hot:{agent_id}:{user_id or '-'}"


def hot_memories(org_id: UUID, agent_id: UUID, user_id: UUID | None) -> str:
    """Hash: memory id → the packed memory; "model" → whose vectors they have."""
    return f"ibex:{{{org_id}}}:hot-memories:{agent_id}:{user_id or '-'}"


def hot_refreshes(org_id: UUID, agent_id: UUID, user_id: UUID | None) -> str:
    """Hash: the number that a refresh of the list drew last, and that of the one it shows."""
    return f"ibex:{{{org_id}}}:hot-refreshes:{agent_id}:{user_id or '-'}"


def directive(org_id: UUID, agent_id: UUID) -> str:
    return f"ibex:{{{org_id}}}:directive:{agent_id}"


def injections(org_id: UUID, session_id: UUID) -> str:
    """Hash: anchor → the packed decision. See ibex/memory/pinning.py."""
    return f"ibex:{{{org_id}}}:injections:{session_id}"


def rate_limit(org_id: UUID, scope: str, owner_id: UUID, kind: str) -> str:
    """Hash: second → what was used in it. `owner_id` is the token's, agent's or organization's."""
    return f"ibex:{{{org_id}}}:limit:{scope}:{owner_id}:{kind}"


def model_slots(server: str) -> str:
    """Sorted set: who calls the server → when its lease ends, in milliseconds. The server is the
    hash tag: no organization's, as all of them share the operator's model."""
    return f"ibex:{{model-{server}}}:slots"


def model_pause(server: str) -> str:
    """There for as long as the server asked to be left alone."""
    return f"ibex:{{model-{server}}}:paused"


def model_limit(server: str, kind: str) -> str:
    """Hash: second → what was used in it."""
    return f"ibex:{{model-{server}}}:limit:{kind}"


def embedding(model: str, digest: str) -> str:
    """384 float32, little-endian, and one byte: 1 when the text was longer than the model reads.

    A text has the same vector for every tenant, so the key has no organization. `digest` is the
    SHA-256 of the text: whoever reads Redis could test a guess with it, but the vector beside it
    tells as much, so a keyed digest would protect nothing.
    """
    return f"ibex:embedding:{model}:{digest}"


#: Channel for what must be dropped everywhere within a second: "token:{id}", "agent:{org}:{id}",
#: "directive:{org}:{agent}", "organization:{org}" (its tokens).
INVALIDATIONS = "ibex:invalidations"

#: Written to see whether Redis takes writes; expires at once.
RATE_LIMIT_PROBE = "ibex:rate-limit-probe"
