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

-- name: find_conversation
-- $2 agent, $3 user or NULL; $4 and $5: the ends and the tails of the request's dialogue, from its
-- beginning on. The session that ends where the request began to go on: all of the dialogue is the
-- same, or it is active and its last messages are. The longest, then the latest.
SELECT s.*
FROM unnest($4::bytea[], $5::bytea[]) WITH ORDINALITY AS place (dialogue, tail, length)
CROSS JOIN LATERAL (
  (
    SELECT * FROM ibex_core.sessions
    WHERE org_id = $1 AND agent_id = $2 AND user_id = $3::uuid AND tail_hash = place.tail
    ORDER BY last_turn_at DESC
    LIMIT 10
  ) UNION ALL (
    SELECT * FROM ibex_core.sessions
    WHERE org_id = $1 AND agent_id = $2 AND user_id IS NULL AND $3::uuid IS NULL
      AND tail_hash = place.tail
    ORDER BY last_turn_at DESC
    LIMIT 10
  )
) s
WHERE s.dialogue_hash = place.dialogue OR s.status = 'active'
ORDER BY s.dialogue_hash = place.dialogue DESC, place.length DESC, s.status = 'active' DESC,
  s.last_turn_at DESC
LIMIT 1;

-- name: find_request
-- $2 agent, $3 user or NULL. The session whose last request was $4: whenever its Idempotency-Key was
-- the same ($5), or within $6 when the client says that it sends it again.
SELECT *
FROM ibex_core.sessions
WHERE org_id = $1 AND agent_id = $2 AND request_hash = $4 AND user_id IS NOT DISTINCT FROM $3::uuid
  AND (request_key = $5::bytea OR last_turn_at > now() - $6::interval)
ORDER BY last_turn_at DESC
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
-- As a turn, or as another try of one.
SELECT number FROM ibex_core.session_turns WHERE org_id = $1 AND request_id = $2
UNION ALL
SELECT 0 FROM ibex_core.idempotency_keys WHERE org_id = $1 AND key = 'try:' || $2::text
LIMIT 1;

-- name: last_turn
SELECT number, request_id, started_at
FROM ibex_core.session_turns
WHERE org_id = $1 AND session_id = $2 AND number = $3;

-- name: note_try
-- Of a turn that is recorded with another try's answer.
INSERT INTO ibex_core.idempotency_keys (org_id, key, request_sha256)
VALUES ($1, 'try:' || $2::text, $3)
ON CONFLICT DO NOTHING;

-- name: replace_turn
-- The session's last turn gets this try's answer. Nothing when the pipeline has it, or may be at it.
WITH replaced AS (
  UPDATE ibex_core.session_turns t
  SET request_id = $4, response = $5::jsonb, message_count = $6, chain_hash = $7, model = $8,
    finish_reason = $9, complete = $10, prompt_tokens = $11, completion_tokens = $12,
    started_at = $13, created_at = $14
  FROM ibex_core.sessions s
  WHERE s.org_id = $1 AND s.id = $2 AND s.status = 'active' AND s.turn_count = $3
    AND s.last_extracted_turn < $3 AND s.archived_turn < $3
    AND NOT EXISTS (
      SELECT FROM ibex_core.extraction_jobs j
      WHERE j.org_id = $1 AND j.session_id = $2 AND j.status = 'leased'
    )
    AND t.org_id = $1 AND t.session_id = $2 AND t.number = $3
  RETURNING t.number
)
UPDATE ibex_core.sessions s
SET message_count = $6, chain_hash = $7, dialogue_hash = $15, tail_hash = $16, request_hash = $17,
  request_key = $18, last_turn_at = greatest(s.last_turn_at, $14)
FROM replaced
WHERE s.org_id = $1 AND s.id = $2
RETURNING s.*;

-- name: record_turn
-- In one call, which sets its tenant itself (migration 0010). Nothing when the session has moved on from
-- turn $3, after which the new messages were cut, or when the request is recorded. $21 and what follows:
-- what was injected; $21 NULL: nothing to record of that.
SELECT * FROM ibex_core.record_turn(
  $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,
  $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30);

-- name: record_first_turn
-- Of a session that was not stored before: $31 and what follows. Nothing when it exists.
SELECT * FROM ibex_core.record_first_turn(
  $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,
  $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30,
  $31, $32, $33, $34, $35);

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
SET status = 'waiting', attempts = 0, deferrals = 0, deferred_since = NULL, available_at = now(),
  last_error = NULL, queued_at = now(), claimed_at = NULL, claimed_turn = NULL, run_id = NULL,
  updated_at = now()
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
