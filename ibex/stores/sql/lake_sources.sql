-- What goes into the lake. For each table: the days that there are, with a fingerprint of what a row
-- of the lake is made of; the ids of some days ($2) in the order in which files are sorted; the rows.

-- name: sessions_days
SELECT (s.started_at AT TIME ZONE 'UTC')::date AS date, count(*) AS rows,
  bit_xor(hash_record_extended(ROW(
    s.id, a.name, u.external_id, s.external_id, s.status, s.origin, s.turn_count, s.message_count,
    s.last_turn_at, s.completed_at
  ), 0)) AS fingerprint
FROM ibex_core.sessions s
JOIN ibex_core.agents a ON a.org_id = s.org_id AND a.id = s.agent_id
LEFT JOIN ibex_core.users u ON u.org_id = s.org_id AND u.id = s.user_id
WHERE s.org_id = $1
GROUP BY 1;

-- name: sessions_ids
SELECT (started_at AT TIME ZONE 'UTC')::date AS date, id
FROM ibex_core.sessions
WHERE org_id = $1 AND (started_at AT TIME ZONE 'UTC')::date = ANY ($2::date[])
ORDER BY 1, agent_id, started_at, id;

-- name: sessions_rows
SELECT s.id AS key, s.id::text AS session_id, s.agent_id::text AS agent_id, a.name AS agent,
  s.user_id::text AS user_id, u.external_id AS end_user, s.external_id, s.status, s.origin,
  s.turn_count AS turns, s.message_count AS messages, t.prompt_tokens, t.completion_tokens,
  coalesce(t.models, '{}') AS models, s.started_at, s.last_turn_at, s.completed_at
FROM ibex_core.sessions s
JOIN ibex_core.agents a ON a.org_id = s.org_id AND a.id = s.agent_id
LEFT JOIN ibex_core.users u ON u.org_id = s.org_id AND u.id = s.user_id
LEFT JOIN LATERAL (
  SELECT sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens,
    array_agg(DISTINCT model ORDER BY model) AS models
  FROM ibex_core.session_turns
  WHERE org_id = s.org_id AND session_id = s.id
) t ON true
WHERE s.org_id = $1 AND s.id = ANY ($2::uuid[]);

-- name: turns_days
-- The chain's hash stands for the words: they may be gone from here.
SELECT (t.started_at AT TIME ZONE 'UTC')::date AS date, count(*) AS rows,
  bit_xor(hash_record_extended(ROW(
    t.id, a.name, u.external_id, t.number, t.request_id, encode(t.chain_hash, 'hex'), t.model,
    t.finish_reason, t.complete, t.prompt_tokens, t.completion_tokens, t.created_at
  ), 0)) AS fingerprint
FROM ibex_core.session_turns t
JOIN ibex_core.sessions s ON s.org_id = t.org_id AND s.id = t.session_id
JOIN ibex_core.agents a ON a.org_id = s.org_id AND a.id = s.agent_id
LEFT JOIN ibex_core.users u ON u.org_id = s.org_id AND u.id = s.user_id
WHERE t.org_id = $1
GROUP BY 1;

-- name: turns_ids
SELECT (t.started_at AT TIME ZONE 'UTC')::date AS date, t.id
FROM ibex_core.session_turns t
JOIN ibex_core.sessions s ON s.org_id = t.org_id AND s.id = t.session_id
WHERE t.org_id = $1 AND (t.started_at AT TIME ZONE 'UTC')::date = ANY ($2::date[])
ORDER BY 1, s.agent_id, t.started_at, t.id;

-- name: turns_rows
SELECT t.id AS key, t.id::text AS turn_id, t.session_id::text AS session_id,
  s.agent_id::text AS agent_id, a.name AS agent, s.user_id::text AS user_id,
  u.external_id AS end_user, t.number, t.request_id, t.model, t.finish_reason, t.complete,
  t.prompt_tokens, t.completion_tokens, t.messages, t.response, t.started_at, t.created_at
FROM ibex_core.session_turns t
JOIN ibex_core.sessions s ON s.org_id = t.org_id AND s.id = t.session_id
JOIN ibex_core.agents a ON a.org_id = s.org_id AND a.id = s.agent_id
LEFT JOIN ibex_core.users u ON u.org_id = s.org_id AND u.id = s.user_id
WHERE t.org_id = $1 AND t.id = ANY ($2::uuid[]);

-- name: memories_days
-- What a memory was used for today counts from tomorrow on: a day is not written again and again
-- because its memories are in use.
SELECT (m.created_at AT TIME ZONE 'UTC')::date AS date, count(*) AS rows,
  bit_xor(hash_record_extended(ROW(
    m.id, a.name, u.external_id, m.version, m.status, m.valid_to, m.superseded_by, m.session_id,
    m.expires_at, m.updated_at, coalesce(s.statements, 0), coalesce(t.tags, 0),
    CASE WHEN m.last_accessed_at < date_trunc('day', now(), 'UTC')
      THEN hash_record_extended(ROW(m.access_count, m.usefulness, m.last_accessed_at), 0) END
  ), 0)) AS fingerprint
FROM ibex_core.memories m
JOIN ibex_core.agents a ON a.org_id = m.org_id AND a.id = m.agent_id
LEFT JOIN ibex_core.users u ON u.org_id = m.org_id AND u.id = m.user_id
LEFT JOIN (
  SELECT memory_id, count(*) AS statements
  FROM ibex_core.memory_statements WHERE org_id = $1 GROUP BY 1
) s ON s.memory_id = m.id
LEFT JOIN (
  SELECT memory_id, bit_xor(hashtextextended(tag, 0)) AS tags
  FROM ibex_core.memory_tags WHERE org_id = $1 GROUP BY 1
) t ON t.memory_id = m.id
WHERE m.org_id = $1
GROUP BY 1;

-- name: memories_ids
SELECT (created_at AT TIME ZONE 'UTC')::date AS date, id
FROM ibex_core.memories
WHERE org_id = $1 AND (created_at AT TIME ZONE 'UTC')::date = ANY ($2::date[])
ORDER BY 1, agent_id, created_at, id;

-- name: memories_rows
SELECT m.id AS key, m.id::text AS memory_id, m.agent_id::text AS agent_id, a.name AS agent,
  m.user_id::text AS user_id, u.external_id AS end_user, m.category, m.subject, m.attribute,
  m.content, m.confidence, m.usefulness, m.access_count, m.last_accessed_at, m.status,
  m.quarantine_reason, m.source, m.version, m.valid_from, m.valid_to, m.expires_at,
  m.superseded_by::text AS superseded_by, m.session_id::text AS session_id, m.turns, m.message_ids,
  m.extractor, m.prompt_version, m.model, m.run_id, m.redactions, m.embedding_model, m.created_at,
  m.updated_at,
  (
    SELECT count(*) FROM ibex_core.memory_statements s
    WHERE s.org_id = m.org_id AND s.memory_id = m.id
  ) AS statements,
  ARRAY(
    SELECT tag FROM ibex_core.memory_tags t
    WHERE t.org_id = m.org_id AND t.memory_id = m.id ORDER BY tag
  ) AS tags
FROM ibex_core.memories m
JOIN ibex_core.agents a ON a.org_id = m.org_id AND a.id = m.agent_id
LEFT JOIN ibex_core.users u ON u.org_id = m.org_id AND u.id = m.user_id
WHERE m.org_id = $1 AND m.id = ANY ($2::uuid[]);

-- name: memory_versions_days
-- A version never changes; it goes with its memory.
SELECT (v.created_at AT TIME ZONE 'UTC')::date AS date, count(*) AS rows,
  bit_xor(hash_record_extended(ROW(v.id, a.name, u.external_id), 0)) AS fingerprint
FROM ibex_core.memory_versions v
JOIN ibex_core.memories m ON m.org_id = v.org_id AND m.id = v.memory_id
JOIN ibex_core.agents a ON a.org_id = m.org_id AND a.id = m.agent_id
LEFT JOIN ibex_core.users u ON u.org_id = m.org_id AND u.id = m.user_id
WHERE v.org_id = $1
GROUP BY 1;

-- name: memory_versions_ids
SELECT (v.created_at AT TIME ZONE 'UTC')::date AS date, v.id
FROM ibex_core.memory_versions v
JOIN ibex_core.memories m ON m.org_id = v.org_id AND m.id = v.memory_id
WHERE v.org_id = $1 AND (v.created_at AT TIME ZONE 'UTC')::date = ANY ($2::date[])
ORDER BY 1, m.agent_id, v.created_at, v.id;

-- name: memory_versions_rows
SELECT v.id AS key, v.id::text AS version_id, v.memory_id::text AS memory_id,
  m.agent_id::text AS agent_id, a.name AS agent, m.user_id::text AS user_id,
  u.external_id AS end_user, v.version, v.change, v.content, v.snapshot ->> 'category' AS category,
  v.snapshot ->> 'status' AS status, (v.snapshot ->> 'valid_from')::timestamptz AS valid_from,
  (v.snapshot ->> 'valid_to')::timestamptz AS valid_to,
  v.snapshot ->> 'superseded_by' AS superseded_by, v.snapshot::text AS snapshot, v.run_id,
  v.created_at
FROM ibex_core.memory_versions v
JOIN ibex_core.memories m ON m.org_id = v.org_id AND m.id = v.memory_id
JOIN ibex_core.agents a ON a.org_id = m.org_id AND a.id = m.agent_id
LEFT JOIN ibex_core.users u ON u.org_id = m.org_id AND u.id = m.user_id
WHERE v.org_id = $1 AND v.id = ANY ($2::uuid[]);

-- name: injections_days
-- Of requests that were given a memory; the lake has a row for each of them.
SELECT (i.created_at AT TIME ZONE 'UTC')::date AS date, count(*) AS rows,
  bit_xor(hash_record_extended(
    ROW(i.id, a.name, u.external_id, i.observed_at, i.observations), 0
  )) AS fingerprint
FROM ibex_core.context_injections i
JOIN ibex_core.sessions s ON s.org_id = i.org_id AND s.id = i.session_id
JOIN ibex_core.agents a ON a.org_id = i.org_id AND a.id = i.agent_id
LEFT JOIN ibex_core.users u ON u.org_id = s.org_id AND u.id = s.user_id
WHERE i.org_id = $1 AND i.memories <> '[]'
GROUP BY 1;

-- name: injections_ids
SELECT (created_at AT TIME ZONE 'UTC')::date AS date, id
FROM ibex_core.context_injections
WHERE org_id = $1 AND memories <> '[]' AND (created_at AT TIME ZONE 'UTC')::date = ANY ($2::date[])
ORDER BY 1, agent_id, created_at, request_id COLLATE "C";

-- name: injections_rows
SELECT i.id AS key, i.request_id, i.session_id::text AS session_id, i.agent_id::text AS agent_id,
  a.name AS agent, s.user_id::text AS user_id, u.external_id AS end_user, i.memories,
  i.observations, i.directive_version, i.degraded, i.observed_at, i.created_at
FROM ibex_core.context_injections i
JOIN ibex_core.sessions s ON s.org_id = i.org_id AND s.id = i.session_id
JOIN ibex_core.agents a ON a.org_id = i.org_id AND a.id = i.agent_id
LEFT JOIN ibex_core.users u ON u.org_id = s.org_id AND u.id = s.user_id
WHERE i.org_id = $1 AND i.id = ANY ($2::uuid[]);

-- name: agents
SELECT id, name FROM ibex_core.agents WHERE org_id = $1;
