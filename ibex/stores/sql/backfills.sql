-- Backfills of the extraction: the wish, its sessions, who works on it, what it would change.

-- name: add
-- $3 the agent or NULL, $4 since, $5 until or NULL, $6 $7 prompt and version, $8 model.
INSERT INTO ibex_core.backfills
  (org_id, id, agent_id, since, until, prompt, prompt_version, model, status)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: add_sessions
-- Sessions that something was learned from already; the rest is learned by the pipeline.
INSERT INTO ibex_core.backfill_sessions
  (org_id, backfill_id, session_id, agent_id, user_id)
SELECT org_id, $2, id, agent_id, user_id
FROM ibex_core.sessions
WHERE org_id = $1 AND (agent_id = $3 OR $3::uuid IS NULL)
  AND started_at >= $4 AND (started_at < $5 OR $5::timestamptz IS NULL)
  AND last_extracted_turn > 0;

-- name: list
-- $2 of this agent or NULL, $3 one or NULL, $4 older than this one or NULL, $5 how many at most.
SELECT b.*, a.name AS agent, p.*
FROM (
  SELECT * FROM ibex_core.backfills
  WHERE org_id = $1 AND (id = $3 OR $3::uuid IS NULL) AND (id < $4 OR $4::uuid IS NULL)
    AND ($2::uuid IS NULL OR agent_id = $2 OR EXISTS (
      SELECT FROM ibex_core.backfill_sessions s
      WHERE s.org_id = $1 AND s.backfill_id = backfills.id AND s.agent_id = $2
    ))
  ORDER BY id DESC
  LIMIT $5
) b
LEFT JOIN ibex_core.agents a ON a.org_id = $1 AND a.id = b.agent_id
CROSS JOIN LATERAL (
  SELECT count(*) AS sessions,
    count(*) FILTER (WHERE s.status = 'done') AS done,
    count(*) FILTER (WHERE s.status = 'dead') AS dead,
    count(*) FILTER (WHERE s.switched_at IS NOT NULL) AS switched,
    coalesce(sum(s.prompt_tokens), 0) AS prompt_tokens,
    coalesce(sum(s.completion_tokens), 0) AS completion_tokens,
    sum(s.cost_usd) AS cost_usd,
    coalesce(sum(s.seconds), 0) AS seconds
  FROM ibex_core.backfill_sessions s
  WHERE s.org_id = $1 AND s.backfill_id = b.id
    AND ($2::uuid IS NULL OR s.agent_id = $2)
) p
ORDER BY b.id DESC;

-- name: due
-- Runs as ibex_system: backfills that wait for a worker, the oldest first.
SELECT org_id, id
FROM ibex_core.backfills
WHERE status IN ('waiting', 'running', 'switching', 'reverting')
  AND (worker_until IS NULL OR worker_until < now())
ORDER BY created_at
LIMIT $1;

-- name: organization_of
-- Runs as ibex_system.
SELECT org_id FROM ibex_core.backfills WHERE id = $1;

-- name: take
-- $3 who, $4 for how long. Nothing while somebody else works on it.
UPDATE ibex_core.backfills
SET worker = $3, worker_until = now() + $4::interval, last_error = NULL, updated_at = now(),
  status = CASE WHEN status IN ('waiting', 'paused') THEN 'running' ELSE status END
WHERE org_id = $1 AND id = $2 AND status IN ('waiting', 'running', 'paused', 'switching', 'reverting')
  AND (worker IS NULL OR worker = $3 OR worker_until < now())
RETURNING status;

-- name: renew
UPDATE ibex_core.backfills SET worker_until = now() + $4::interval
WHERE org_id = $1 AND id = $2 AND worker = $3;

-- name: leave
-- $4 its state from now on, $5 an error's code or NULL.
UPDATE ibex_core.backfills
SET worker = NULL, worker_until = NULL, status = $4, last_error = $5, updated_at = now()
WHERE org_id = $1 AND id = $2 AND worker = $3;

-- name: hold
-- The transaction goes on only as its worker ($3).
SELECT FROM ibex_core.backfills
WHERE org_id = $1 AND id = $2 AND worker = $3
FOR UPDATE;

-- name: ask
-- $3 the state that is asked for, $4 those it may follow.
UPDATE ibex_core.backfills
SET status = $3, last_error = NULL, updated_at = now()
WHERE org_id = $1 AND id = $2 AND status = ANY ($4::text[])
  AND (worker IS NULL OR worker_until < now());

-- name: unread
-- Sessions that nobody has read again; those that failed come last.
SELECT b.session_id, b.agent_id, b.user_id, b.attempts, s.origin, s.last_extracted_turn
FROM ibex_core.backfill_sessions b
JOIN ibex_core.sessions s ON s.org_id = $1 AND s.id = b.session_id
WHERE b.org_id = $1 AND b.backfill_id = $2 AND b.status = 'waiting'
ORDER BY b.attempts, b.session_id
LIMIT $3;

-- name: settle
-- A session ($3) was read through turn $4: $5 $6 tokens, $7 their price or NULL, $8 seconds, $9 $10
-- quality before and after.
UPDATE ibex_core.backfill_sessions
SET status = 'done', through_turn = $4, prompt_tokens = $5, completion_tokens = $6, cost_usd = $7,
  seconds = $8, before = $9, after = $10, attempts = attempts + 1, last_error = NULL
WHERE org_id = $1 AND backfill_id = $2 AND session_id = $3;

-- name: fail
-- $4 an error's code, $5 tries at most.
UPDATE ibex_core.backfill_sessions
SET attempts = attempts + 1, last_error = $4,
  status = CASE WHEN attempts + 1 >= $5 THEN 'dead' ELSE 'waiting' END
WHERE org_id = $1 AND backfill_id = $2 AND session_id = $3;

-- name: retry
UPDATE ibex_core.backfill_sessions SET status = 'waiting', attempts = 0, last_error = NULL
WHERE org_id = $1 AND backfill_id = $2 AND status = 'dead';

-- name: quality
-- The figures of all sessions, and of one agent's ($3).
SELECT before, after
FROM ibex_core.backfill_sessions
WHERE org_id = $1 AND backfill_id = $2 AND status = 'done' AND (agent_id = $3 OR $3::uuid IS NULL);

-- name: spent_before
-- What the pipeline has asked of models for these sessions.
SELECT coalesce(sum(u.prompt_tokens), 0) AS prompt_tokens,
  coalesce(sum(u.completion_tokens), 0) AS completion_tokens, sum(u.cost_usd) AS cost_usd
FROM ibex_core.backfill_sessions b
JOIN ibex_core.extraction_usage u
  ON u.org_id = $1 AND u.session_id = b.session_id AND u.purpose = 'facts'
WHERE b.org_id = $1 AND b.backfill_id = $2 AND b.status = 'done'
  AND (b.agent_id = $3 OR $3::uuid IS NULL);

-- name: owners
-- Whose sessions were read; with $3, of those that are switched or not.
SELECT agent_id, user_id
FROM ibex_core.backfill_sessions
WHERE org_id = $1 AND backfill_id = $2 AND status = 'done'
  AND ($3::boolean IS NULL OR (switched_at IS NOT NULL) = $3)
GROUP BY agent_id, user_id
ORDER BY agent_id, user_id NULLS FIRST;

-- name: errors
SELECT last_error AS code, count(*) AS sessions
FROM ibex_core.backfill_sessions
WHERE org_id = $1 AND backfill_id = $2 AND last_error IS NOT NULL
  AND (agent_id = $3 OR $3::uuid IS NULL)
GROUP BY 1 ORDER BY 2 DESC, 1;

-- name: forget_changes
DELETE FROM ibex_core.backfill_changes
WHERE org_id = $1 AND backfill_id = $2 AND agent_id = $3
  AND (user_id = $4 OR (user_id IS NULL AND $4::uuid IS NULL));

-- name: add_changes
-- $5: a JSON list with an object a change.
INSERT INTO ibex_core.backfill_changes (
  org_id, backfill_id, id, agent_id, user_id, kind, differs, memory_id, session_id, content,
  category, status, confidence, valid_from, valid_to
)
SELECT $1, $2, id, $3, $4, kind, differs, memory_id, session_id, content, category, status,
  confidence, valid_from, valid_to
FROM jsonb_to_recordset($5::jsonb) AS c (
  id uuid, kind text, differs text[], memory_id uuid, session_id uuid, content text, category text,
  status text, confidence float8, valid_from timestamptz, valid_to timestamptz
);

-- name: compared
UPDATE ibex_core.backfills SET compared_at = now(), unchanged = $3, updated_at = now()
WHERE org_id = $1 AND id = $2;

-- name: difference
-- A row for each agent and kind of change.
SELECT a.id AS agent_id, a.name AS agent, c.kind, c.status, count(*) AS memories
FROM ibex_core.backfill_changes c
JOIN ibex_core.agents a ON a.org_id = $1 AND a.id = c.agent_id
WHERE c.org_id = $1 AND c.backfill_id = $2 AND (c.agent_id = $3 OR $3::uuid IS NULL)
GROUP BY 1, 2, 3, 4
ORDER BY 2, 3, 4;

-- name: changes
-- $3 of this agent or NULL, $4 of this kind or NULL, $5 after this one or NULL, $6 how many at most.
SELECT c.id, c.kind, c.differs, c.memory_id, c.agent_id, a.name AS agent, u.external_id AS user,
  c.session_id, c.content, c.category, c.status, c.confidence, c.valid_from, c.valid_to,
  m.content AS before_content, m.category AS before_category, m.status AS before_status
FROM ibex_core.backfill_changes c
JOIN ibex_core.agents a ON a.org_id = $1 AND a.id = c.agent_id
LEFT JOIN ibex_core.users u ON u.org_id = $1 AND u.id = c.user_id
LEFT JOIN ibex_core.memories m ON m.org_id = $1 AND m.id = c.memory_id
WHERE c.org_id = $1 AND c.backfill_id = $2 AND (c.agent_id = $3 OR $3::uuid IS NULL)
  AND (c.kind = $4 OR $4::text IS NULL) AND (c.id > $5 OR $5::uuid IS NULL)
ORDER BY c.id
LIMIT $6;

-- name: mark_sessions
-- The sessions of an agent ($3): their facts are believed ($4), or the earlier ones again.
UPDATE ibex_core.backfill_sessions
SET switched_at = CASE WHEN $4::boolean THEN now() END
WHERE org_id = $1 AND backfill_id = $2 AND agent_id = $3 AND status = 'done'
  AND (switched_at IS NOT NULL) <> $4::boolean;

-- name: switched
-- $3: until when it can be taken back.
UPDATE ibex_core.backfills SET switched_at = now(), revert_until = $3
WHERE org_id = $1 AND id = $2;

-- name: is_settled
SELECT EXISTS (
  SELECT FROM ibex_core.backfills
  WHERE org_id = $1 AND id = $2 AND status = 'switched' AND revert_until IS NULL
);

-- name: is_switched
SELECT EXISTS (
  SELECT FROM ibex_core.backfill_sessions
  WHERE org_id = $1 AND backfill_id = $2 AND switched_at IS NOT NULL
);

-- name: newer
-- A backfill that was switched after this one for one of its sessions.
SELECT DISTINCT other.backfill_id AS id
FROM ibex_core.backfill_sessions own
JOIN ibex_core.backfill_sessions other
  ON other.org_id = $1 AND other.session_id = own.session_id AND other.backfill_id <> $2
WHERE own.org_id = $1 AND own.backfill_id = $2 AND other.switched_at > own.switched_at
LIMIT 1;

-- name: discard
WITH gone AS (
  DELETE FROM ibex_core.backfill_changes WHERE org_id = $1 AND backfill_id = $2
)
DELETE FROM ibex_core.backfill_facts WHERE org_id = $1 AND backfill_id = $2;

-- name: expired
-- Runs as ibex_system: switched backfills that can no longer be taken back.
SELECT org_id, id FROM ibex_core.backfills
WHERE status = 'switched' AND revert_until <= $1;

-- name: settled
-- It cannot be taken back any more, and what it replaced goes.
UPDATE ibex_core.backfills SET revert_until = NULL, updated_at = now()
WHERE org_id = $1 AND id = $2 AND status = 'switched' AND revert_until <= $3;
