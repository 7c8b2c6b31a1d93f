-- What operators list, read and count. Pages are newest first: ids are UUIDv7, so the id is the
-- order, and the cursor is the last id of the page before. A filter that is NULL does not filter.

-- name: agents
-- $2 only this agent, $3 the cursor, $4 the page's size.
SELECT a.id, a.name, a.description, a.status, a.policy, a.memory_token_budget,
  a.created_at, a.updated_at, coalesce(d.current_version, 0) AS directive_version,
  (SELECT count(*) FROM ibex_core.memories m
   WHERE m.org_id = a.org_id AND m.agent_id = a.id AND m.valid_to IS NULL AND m.status = 'active'
  ) AS memories,
  (SELECT count(*) FROM ibex_core.sessions s WHERE s.org_id = a.org_id AND s.agent_id = a.id
  ) AS sessions
FROM ibex_core.agents a
LEFT JOIN ibex_core.directives d ON d.org_id = a.org_id AND d.agent_id = a.id
WHERE a.org_id = $1 AND ($2::uuid IS NULL OR a.id = $2) AND ($3::uuid IS NULL OR a.id < $3)
ORDER BY a.id DESC
LIMIT $4;

-- name: memories
-- $2 only this memory, $3 of this agent, $4 the cursor, $5 category, $6 status, $7 the
-- application's user, $8 also those whose validity has ended, $9 words or a part of the text, $10
-- those that were valid at this time, whatever $8 says, $11 with this tag.
SELECT m.id, m.agent_id, u.external_id AS user, m.category, m.subject, m.attribute, m.content,
  m.confidence, m.usefulness, m.access_count, m.last_accessed_at, m.status, m.quarantine_reason, m.source, m.version,
  m.valid_from, m.valid_to, m.expires_at, m.superseded_by, m.session_id, m.turns, m.message_ids, m.extractor,
  m.prompt_version, m.model, m.run_id, m.redactions, m.embedding_model, m.created_at, m.updated_at
FROM ibex_core.memories m
LEFT JOIN ibex_core.users u ON u.org_id = m.org_id AND u.id = m.user_id
WHERE m.org_id = $1
  AND ($2::uuid IS NULL OR m.id = $2)
  AND ($3::uuid IS NULL OR m.agent_id = $3)
  AND ($4::uuid IS NULL OR m.id < $4)
  AND ($5::text IS NULL OR m.category = $5)
  AND ($6::text IS NULL OR m.status = $6)
  AND ($7::text IS NULL OR u.external_id = $7)
  AND CASE WHEN $10::timestamptz IS NOT NULL
        THEN m.valid_from <= $10 AND (m.valid_to IS NULL OR m.valid_to > $10)
        ELSE $8::boolean OR m.valid_to IS NULL END
  AND ($11::text IS NULL OR EXISTS (
    SELECT FROM ibex_core.memory_tags t
    WHERE t.org_id = $1 AND t.memory_id = m.id AND t.tag = $11))
  AND ($9::text IS NULL
       OR m.search @@ websearch_to_tsquery('english', $9)
       OR strpos(lower(m.content), lower($9)) > 0)
ORDER BY m.id DESC
LIMIT $12;

-- name: sessions
-- $2 only this session, $3 of this agent, $4 the cursor, $5 status.
SELECT s.id, s.agent_id, a.name AS agent, u.external_id AS user, s.external_id, s.status, s.origin,
  s.turn_count, s.message_count, s.last_extracted_turn, s.archived_turn, s.archived_at,
  s.started_at,
  s.last_turn_at, s.completed_at, j.status AS job_status, j.attempts AS job_attempts,
  j.last_error AS job_error, spent.*,
  (SELECT count(*) FROM ibex_core.memories m
   WHERE m.org_id = s.org_id AND m.session_id = s.id AND m.valid_to IS NULL) AS memories
FROM ibex_core.sessions s
JOIN ibex_core.agents a ON a.org_id = s.org_id AND a.id = s.agent_id
LEFT JOIN ibex_core.users u ON u.org_id = s.org_id AND u.id = s.user_id
LEFT JOIN ibex_core.extraction_jobs j ON j.org_id = s.org_id AND j.session_id = s.id
CROSS JOIN LATERAL (
  SELECT coalesce(sum(u.calls), 0) AS model_calls,
    coalesce(sum(u.prompt_tokens), 0) AS model_prompt_tokens,
    coalesce(sum(u.completion_tokens), 0) AS model_completion_tokens,
    sum(u.cost_usd)::float8 AS model_cost_usd, coalesce(sum(u.seconds), 0) AS model_seconds,
    coalesce(array_agg(DISTINCT u.model ORDER BY u.model) FILTER (WHERE u.model IS NOT NULL), '{}')
      AS models
  FROM ibex_core.extraction_usage u
  WHERE u.org_id = s.org_id AND u.session_id = s.id
) spent
WHERE s.org_id = $1
  AND ($2::uuid IS NULL OR s.id = $2)
  AND ($3::uuid IS NULL OR s.agent_id = $3)
  AND ($4::uuid IS NULL OR s.id < $4)
  AND ($5::text IS NULL OR s.status = $5)
ORDER BY s.id DESC
LIMIT $6;

-- name: find_sessions
-- By id ($2, or NULL) or by the application's own id ($3), which another user may have used too.
SELECT id FROM ibex_core.sessions
WHERE org_id = $1 AND (id = $2 OR external_id = $3) AND ($4::uuid IS NULL OR agent_id = $4)
ORDER BY (id = $2) DESC NULLS LAST
LIMIT 2;

-- name: turns
-- A page in the order of the conversation: $3 is the last turn of the page before.
SELECT t.id, t.number, t.request_id, t.messages, t.response, t.model, t.finish_reason, t.complete,
  t.prompt_tokens, t.completion_tokens, t.started_at, t.created_at
FROM ibex_core.session_turns t
WHERE t.org_id = $1 AND t.session_id = $2
  AND ($3::uuid IS NULL OR t.number > (
    SELECT c.number FROM ibex_core.session_turns c
    WHERE c.org_id = $1 AND c.session_id = $2 AND c.id = $3))
ORDER BY t.number
LIMIT $4;

-- name: injections
-- What was put into these requests.
SELECT request_id, agent_id, session_id, memories, directive_version, position, tokens, sha256,
  insertions, dropped, degraded, created_at, observed_at, observations
FROM ibex_core.context_injections
WHERE org_id = $1 AND request_id = ANY ($2::text[]);

-- name: memory_texts
-- What these memories say now.
SELECT id, content, version FROM ibex_core.memories WHERE org_id = $1 AND id = ANY ($2::uuid[]);

-- name: session_archive
SELECT bucket, key, rows, bytes AS size, sha256, created_at
FROM ibex_core.archive_files
WHERE org_id = $1 AND session_id = $2 AND kind = 'session'
ORDER BY id DESC
LIMIT 1;

-- name: overview
-- $2 only this agent.
SELECT
  (SELECT name FROM ibex_core.organizations WHERE id = $1) AS organization,
  (SELECT count(*) FROM ibex_core.agents
   WHERE org_id = $1 AND ($2::uuid IS NULL OR id = $2)) AS agents,
  s.*, m.*
FROM (
  SELECT count(*) AS sessions,
    count(*) FILTER (WHERE status = 'active') AS active,
    count(*) FILTER (WHERE status = 'completed') AS completed,
    count(*) FILTER (WHERE status = 'completed' AND last_extracted_turn = turn_count) AS extracted,
    count(*) FILTER (WHERE status = 'completed' AND archived_turn = turn_count) AS archived,
    coalesce(sum(turn_count), 0)::bigint AS turns
  FROM ibex_core.sessions
  WHERE org_id = $1 AND ($2::uuid IS NULL OR agent_id = $2)
) s, (
  SELECT count(*) FILTER (WHERE valid_to IS NULL AND status = 'active') AS memories,
    count(*) FILTER (WHERE valid_to IS NULL AND status = 'quarantined') AS quarantined,
    count(*) FILTER (WHERE valid_to IS NOT NULL) AS superseded
  FROM ibex_core.memories
  WHERE org_id = $1 AND ($2::uuid IS NULL OR agent_id = $2)
) m;

-- name: tokens
-- $2 the cursor.
SELECT id, name, agent_id, scopes, expires_at, revoked_at, created_at
FROM ibex_core.api_tokens
WHERE org_id = $1 AND ($2::uuid IS NULL OR id < $2)
ORDER BY id DESC
LIMIT $3;
