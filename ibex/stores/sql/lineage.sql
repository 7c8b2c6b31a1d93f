-- Where memories come from and where they went. Each within one organization; a token of one agent
-- sees that agent's only, by $2 (NULL: all).

-- name: memory
SELECT id FROM ibex_core.memories
WHERE org_id = $1 AND id = $3 AND ($2::uuid IS NULL OR agent_id = $2);

-- name: request
SELECT i.id, i.session_id,
  ARRAY(SELECT m.memory_id FROM jsonb_to_recordset(i.memories) AS m (memory_id uuid)) AS memory_ids
FROM ibex_core.context_injections i
WHERE i.org_id = $1 AND i.request_id = $3 AND ($2::uuid IS NULL OR i.agent_id = $2);

-- name: made_in
-- The first $4 memories that rest on a session ($3).
SELECT s.memory_id AS id
FROM ibex_core.memory_statements s
WHERE s.org_id = $1 AND s.session_id = $3 AND ($2::uuid IS NULL OR s.agent_id = $2)
UNION
SELECT m.id
FROM ibex_core.memories m
WHERE m.org_id = $1 AND m.session_id = $3 AND ($2::uuid IS NULL OR m.agent_id = $2)
ORDER BY id
LIMIT $4;

-- name: memories
SELECT m.id, m.agent_id, a.name AS agent, u.external_id AS user, m.category, m.status, m.source,
  m.content, m.version, m.extractor, m.prompt_version, m.model, m.run_id, m.session_id, m.turns,
  m.valid_from, m.valid_to, m.superseded_by, m.created_at
FROM ibex_core.memories m
JOIN ibex_core.agents a ON a.org_id = $1 AND a.id = m.agent_id
LEFT JOIN ibex_core.users u ON u.org_id = $1 AND u.id = m.user_id
WHERE m.org_id = $1 AND m.id = ANY ($2::uuid[])
ORDER BY m.id;

-- name: statements
-- Of each of these memories ($2), the first $3.
SELECT s.*
FROM unnest($2::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
  SELECT memory_id, content, source, session_id, turns, message_ids, extractor, prompt_version,
    model, run_id, valid_from, created_at
  FROM ibex_core.memory_statements
  WHERE org_id = $1 AND memory_id = wanted.id
  ORDER BY created_at, id
  LIMIT $3
) s;

-- name: versions
-- Of each of these memories ($2), the last $3, the oldest of them first.
SELECT v.*
FROM unnest($2::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
  SELECT memory_id, version, change, content, run_id, created_at
  FROM ibex_core.memory_versions
  WHERE org_id = $1 AND memory_id = wanted.id
  ORDER BY version DESC
  LIMIT $3
) v
ORDER BY v.memory_id, v.version;

-- name: edges
-- Of each of these memories ($2), the first $3; a pair of two of them comes once.
SELECT DISTINCT e.kind, e.from_memory_id, e.to_memory_id, e.created_at
FROM unnest($2::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
  (
    SELECT kind, from_memory_id, to_memory_id, created_at
    FROM ibex_core.memory_relationships
    WHERE org_id = $1 AND from_memory_id = wanted.id
    ORDER BY created_at
    LIMIT $3
  )
  UNION ALL
  (
    SELECT kind, from_memory_id, to_memory_id, created_at
    FROM ibex_core.memory_relationships
    WHERE org_id = $1 AND to_memory_id = wanted.id
    ORDER BY created_at
    LIMIT $3
  )
) e
ORDER BY e.created_at, e.kind;

-- name: sessions
-- With the archive of each that has one.
SELECT s.id, s.external_id, s.agent_id, a.name AS agent, u.external_id AS user, s.origin, s.status,
  s.turn_count, s.last_extracted_turn, s.archived_turn, s.started_at, s.completed_at,
  f.bucket, f.key, f.rows, f.bytes AS size, f.sha256, f.schema_version, f.created_at AS archived_at
FROM ibex_core.sessions s
JOIN ibex_core.agents a ON a.org_id = $1 AND a.id = s.agent_id
LEFT JOIN ibex_core.users u ON u.org_id = $1 AND u.id = s.user_id
LEFT JOIN LATERAL (
  SELECT *
  FROM ibex_core.archive_files
  WHERE org_id = $1 AND session_id = s.id AND kind = 'session'
  ORDER BY created_at DESC
  LIMIT 1
) f ON true
WHERE s.org_id = $1 AND s.id = ANY ($2::uuid[])
ORDER BY s.id;

-- name: uses
-- Requests that were given one of these memories ($2), at most $4 after that of the injection $3 (the
-- cursor); of the newest session first, and in a session the newest first, so that never more sessions
-- are read than a page has requests. $5: this one only. `session_memories` has the sessions whose
-- answers are observed; the other requests are few, and looked through.
WITH cursor AS MATERIALIZED (
  SELECT session_id FROM ibex_core.context_injections WHERE org_id = $1 AND id = $3
), given_in AS (
  (
    SELECT session_id
    FROM ibex_core.session_memories
    WHERE org_id = $1 AND memory_id = ANY ($2::uuid[])
      AND ($3::uuid IS NULL OR session_id <= (SELECT session_id FROM cursor))
    GROUP BY session_id
    ORDER BY session_id DESC
    LIMIT $4 + 1
  )
  UNION
  SELECT i.session_id
  FROM ibex_core.context_injections i
  WHERE i.org_id = $1 AND i.observed_at IS NULL AND i.memories <> '[]'
    AND ($3::uuid IS NULL OR i.session_id <= (SELECT session_id FROM cursor))
    AND EXISTS (
      SELECT FROM jsonb_array_elements(i.memories) AS one
      WHERE (one ->> 'memory_id')::uuid = ANY ($2::uuid[])
    )
  UNION
  SELECT session_id FROM ibex_core.context_injections WHERE org_id = $1 AND id = $5
), sessions AS MATERIALIZED (
  SELECT session_id FROM given_in ORDER BY session_id DESC LIMIT $4 + 1
)
SELECT i.id, i.request_id, i.session_id, i.created_at, t.number AS turn, t.model,
  coalesce(given.memories, '[]') AS memories, i.observations
FROM sessions
JOIN ibex_core.context_injections i ON i.org_id = $1 AND i.session_id = sessions.session_id
CROSS JOIN LATERAL (
  SELECT jsonb_agg(one) AS memories
  FROM jsonb_array_elements(i.memories) AS one
  WHERE (one ->> 'memory_id')::uuid = ANY ($2::uuid[])
) given
LEFT JOIN ibex_core.session_turns t ON t.org_id = $1 AND t.request_id = i.request_id
WHERE ($3::uuid IS NULL OR (i.session_id, i.id) < ((SELECT session_id FROM cursor), $3))
  AND CASE WHEN $5::uuid IS NULL THEN given.memories IS NOT NULL ELSE i.id = $5 END
ORDER BY i.session_id DESC, i.id DESC
LIMIT $4;
