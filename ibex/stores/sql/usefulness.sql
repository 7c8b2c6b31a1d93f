-- What answers and people say about memories.

-- name: waiting
-- Runs as ibex_system. Per organization, the answers that nobody has looked at, and since when.
SELECT org_id, count(*) AS answers, min(created_at) AS since
FROM ibex_core.context_injections
WHERE observed_at IS NULL AND memories <> '[]'
GROUP BY org_id
ORDER BY since;

-- name: unobserved
-- The oldest $2 of them. An injection without a turn belongs to a request that was sent again.
SELECT i.id, i.session_id, i.memories, i.decisions, i.created_at, t.number, t.response
FROM ibex_core.context_injections i
LEFT JOIN ibex_core.session_turns t ON t.org_id = $1 AND t.request_id = i.request_id
WHERE i.org_id = $1 AND i.observed_at IS NULL AND i.memories <> '[]'
ORDER BY i.created_at, i.id
LIMIT $2;

-- name: unobserved_request
SELECT i.id, i.session_id, i.memories, i.decisions, i.created_at, t.number, t.response
FROM ibex_core.context_injections i
LEFT JOIN ibex_core.session_turns t ON t.org_id = $1 AND t.request_id = i.request_id
WHERE i.org_id = $1 AND i.request_id = $2 AND i.observed_at IS NULL;

-- name: given
-- With vectors of model $3.
SELECT id, category, content,
  ibex_core.vector_of(org_id, id, embedding_model, embedding, $3) AS embedding
FROM ibex_core.memories
WHERE org_id = $1 AND id = ANY ($2::uuid[]);

-- name: settle
-- $2: a JSON list of {id, observations}. Those that nobody has settled before, or settles now.
WITH told AS (
  SELECT * FROM jsonb_to_recordset($2::jsonb) AS t (id uuid, observations jsonb)
), mine AS (
  SELECT i.id
  FROM ibex_core.context_injections i
  JOIN told ON told.id = i.id
  WHERE i.org_id = $1 AND i.observed_at IS NULL
  ORDER BY i.id
  FOR UPDATE OF i SKIP LOCKED
)
UPDATE ibex_core.context_injections i
SET observed_at = now(), observations = told.observations
FROM mine
JOIN told ON told.id = mine.id
WHERE i.org_id = $1 AND i.id = mine.id
RETURNING i.id;

-- name: note_given
-- Memories ($2), each with a session ($3) that was given it. Those that are gone are left out.
WITH there AS (
  SELECT id FROM ibex_core.memories
  WHERE org_id = $1 AND id = ANY ($2::uuid[])
  ORDER BY id
  FOR KEY SHARE
)
INSERT INTO ibex_core.session_memories (org_id, memory_id, session_id)
SELECT $1, given.memory_id, given.session_id
FROM unnest($2::uuid[], $3::uuid[]) AS given (memory_id, session_id)
JOIN there ON there.id = given.memory_id
ON CONFLICT DO NOTHING;

-- name: lock_memories
-- In the order of their ids, so that two writers never wait for each other.
SELECT id, agent_id, user_id, observed_usefulness
FROM ibex_core.memories
WHERE org_id = $1 AND id = ANY ($2::uuid[])
ORDER BY id
FOR NO KEY UPDATE;

-- name: votes
SELECT memory_id, count(*) FILTER (WHERE helpful) AS helpful,
  count(*) FILTER (WHERE NOT helpful) AS unhelpful
FROM ibex_core.memory_feedback
WHERE org_id = $1 AND memory_id = ANY ($2::uuid[])
GROUP BY memory_id;

-- name: move
-- `updated_at` stays: the memory says what it said.
UPDATE ibex_core.memories m
SET observed_usefulness = moved.average, usefulness = moved.usefulness,
  access_count = m.access_count + moved.accesses,
  last_accessed_at = greatest(m.last_accessed_at, moved.accessed_at)
FROM unnest($2::uuid[], $3::float8[], $4::float8[], $5::int[], $6::timestamptz[])
  AS moved (id, average, usefulness, accesses, accessed_at)
WHERE m.org_id = $1 AND m.id = moved.id;

-- name: injected
-- Locked, so that two votes on one request come one after the other.
SELECT agent_id, memories, observed_at, observations
FROM ibex_core.context_injections
WHERE org_id = $1 AND request_id = $2
FOR NO KEY UPDATE;

-- name: voted
SELECT memory_id FROM ibex_core.memory_feedback WHERE org_id = $1 AND request_id = $2;

-- name: withdraw
-- What was said about a request before.
DELETE FROM ibex_core.memory_feedback
WHERE org_id = $1 AND request_id = $2 AND memory_id <> ALL ($3::uuid[]);

-- name: vote_on_request
INSERT INTO ibex_core.memory_feedback (org_id, id, memory_id, request_id, token_id, helpful)
SELECT $1, vote.id, vote.memory_id, $4, $5, $6
FROM unnest($2::uuid[], $3::uuid[]) AS vote (id, memory_id)
ON CONFLICT (org_id, memory_id, request_id) WHERE request_id IS NOT NULL
DO UPDATE SET helpful = EXCLUDED.helpful, token_id = EXCLUDED.token_id, created_at = now();

-- name: vote_on_memory
INSERT INTO ibex_core.memory_feedback (org_id, id, memory_id, token_id, helpful)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (org_id, memory_id, token_id) WHERE request_id IS NULL
DO UPDATE SET helpful = EXCLUDED.helpful, created_at = now();

-- name: inherit
-- New memories ($2) are as useful as what they took the place of last was by its answers: the same
-- questions will be answered with them. Votes were about other words.
UPDATE ibex_core.memories m
SET observed_usefulness = o.observed_usefulness, usefulness = o.observed_usefulness
FROM (
  SELECT DISTINCT ON (superseded_by) superseded_by, observed_usefulness
  FROM ibex_core.memories
  WHERE org_id = $1 AND id = ANY ($3::uuid[]) AND superseded_by = ANY ($2::uuid[])
  ORDER BY superseded_by, valid_to DESC, id
) o
WHERE m.org_id = $1 AND m.id = o.superseded_by;

-- name: owners_at_work
-- Runs as ibex_system. Whose sessions had a turn since $1: agents, and users of theirs.
SELECT DISTINCT org_id, agent_id, user_id
FROM ibex_core.sessions
WHERE last_turn_at > $1;
