-- Sessions, their turns, and what completes them.

-- name: find_session
-- $2 agent, $3 user or NULL, $4 the application's id, $5 the same as our id when it is a UUID.
-- Three branches, because NULL = NULL is not true and IS NOT DISTINCT FROM uses no index.
SELECT * FROM (
  SELECT *, 0 AS preference FROM ibex_core.sessions
  WHERE org_id = $1 AND agent_id = $2 AND user_id = $3::uuid AND external_id = $4
  UNION ALL
  SELECT *, 0 FROM ibex_core.sessions
  WHERE org_id = $1 AND agent_id = $2 AND user_id IS NULL AND $3::uuid IS NULL AND external_id = $4
  UNION ALL
  SELECT *, 1 FROM ibex_core.sessions
  WHERE org_id = $1 AND id = $5::uuid AND agent_id = $2 AND user_id IS NOT DISTINCT FROM $3::uuid
) found
ORDER BY preference
LIMIT 1;

-- name: add_session
-- Nothing when the application's id is taken by now: then it can be found.
INSERT INTO ibex_core.sessions
  (org_id, id, agent_id, user_id, external_id, origin, started_at, last_turn_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
ON CONFLICT (org_id, agent_id, user_id, external_id) WHERE external_id IS NOT NULL DO NOTHING
RETURNING *;

-- name: session
SELECT * FROM ibex_core.sessions WHERE org_id = $1 AND id = $2;

-- name: lock_session
SELECT * FROM ibex_core.sessions WHERE org_id = $1 AND id = $2 FOR UPDATE;

-- name: known_prefix
-- The most messages at the beginning of this conversation ($3: its hash chain) that an earlier state
-- of the session had.
SELECT max(message_count)
FROM ibex_core.session_turns
WHERE org_id = $1 AND session_id = $2 AND message_count <= cardinality($3::bytea[])
  AND chain_hash = ($3::bytea[])[message_count];

-- name: recorded_turn
SELECT session_id, number FROM ibex_core.session_turns WHERE org_id = $1 AND request_id = $2;

-- name: record_turn
-- Waits for the session's lock, so that its turns come one after the other. Nothing when the
-- session has moved on from turn $3, after which the new messages were cut, or when the request is
-- recorded.
WITH locked AS (
  SELECT org_id, id, turn_count
  FROM ibex_core.sessions
  WHERE org_id = $1 AND id = $2
  FOR UPDATE
), added AS (
  INSERT INTO ibex_core.session_turns
    (org_id, id, session_id, number, request_id, messages, response, message_count, chain_hash,
     model, finish_reason, complete, prompt_tokens, completion_tokens, started_at, created_at)
  SELECT org_id, $4::uuid, id, turn_count + 1, $5::text, $6::jsonb, $7::jsonb, $8::integer,
    $9::bytea, $10::text, $11::text, $12::boolean, $13::integer, $14::integer, $15::timestamptz,
    $16::timestamptz
  FROM locked
  WHERE turn_count = $3::integer
  ON CONFLICT (org_id, request_id) DO NOTHING
  RETURNING number
)
UPDATE ibex_core.sessions s
SET turn_count = a.number, message_count = $8, chain_hash = $9, status = 'active',
  completed_at = NULL, last_turn_at = greatest(s.last_turn_at, $16)
FROM added a
WHERE s.org_id = $1 AND s.id = $2
RETURNING s.*;

-- name: record_first_turn
-- A session that was not stored before, and its first turn. Nothing when the session exists.
WITH opened AS (
  INSERT INTO ibex_core.sessions
    (org_id, id, agent_id, user_id, external_id, origin, started_at, last_turn_at, turn_count,
     message_count, chain_hash)
  VALUES ($1, $2, $17, $18, $19, $20, $21, $16, $3::integer + 1, $8, $9)
  ON CONFLICT DO NOTHING
  RETURNING *
), added AS (
  INSERT INTO ibex_core.session_turns
    (org_id, id, session_id, number, request_id, messages, response, message_count, chain_hash,
     model, finish_reason, complete, prompt_tokens, completion_tokens, started_at, created_at)
  SELECT org_id, $4::uuid, id, turn_count, $5::text, $6::jsonb, $7::jsonb, $8::integer,
    $9::bytea, $10::text, $11::text, $12::boolean, $13::integer, $14::integer, $15::timestamptz,
    $16::timestamptz
  FROM opened
)
SELECT * FROM opened;

-- name: complete_session
UPDATE ibex_core.sessions
SET status = 'completed', completed_at = coalesce($3::timestamptz, now())
WHERE org_id = $1 AND id = $2
RETURNING *;

-- name: queue_extraction
-- $4: the session was active until now. A waiting job keeps its tries and its back-off; a leased one
-- looks for later turns when it is done; a dead letter gets another chance only by new turns.
INSERT INTO ibex_core.extraction_jobs AS job (org_id, id, session_id)
VALUES ($1, $3, $2)
ON CONFLICT (org_id, session_id) DO UPDATE
SET status = 'waiting', attempts = 0, available_at = now(), last_error = NULL, updated_at = now()
WHERE job.status = 'done' OR (job.status = 'dead' AND $4::boolean);

-- name: turns
SELECT number, request_id, messages, response, model, finish_reason, complete, prompt_tokens,
  completion_tokens, started_at, created_at
FROM ibex_core.session_turns
WHERE org_id = $1 AND session_id = $2 AND number > $3
ORDER BY number;

-- name: idle_sessions
-- Runs as ibex_system. The longest silent first.
SELECT org_id, id
FROM ibex_core.sessions
WHERE status = 'active' AND last_turn_at < $1
ORDER BY last_turn_at
LIMIT $2;
