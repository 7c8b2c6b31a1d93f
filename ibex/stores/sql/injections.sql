-- What was put into requests.

-- name: record
INSERT INTO ibex_core.context_injections
  (org_id, id, request_id, agent_id, session_id, memories, directive_version, position, tokens,
   sha256, insertions, dropped, decisions, degraded)
SELECT $1, $4, $2, agent_id, id, $5, $6, $7, $8, $9, $10, $11, $12, $13
FROM ibex_core.sessions
WHERE org_id = $1 AND id = $3
ON CONFLICT (org_id, request_id) DO NOTHING;

-- name: decisions
-- A session's, in the order in which they were made.
SELECT decisions
FROM ibex_core.context_injections
WHERE org_id = $1 AND session_id = $2 AND decisions <> '[]'
ORDER BY id;

-- name: injection
SELECT i.request_id, i.agent_id, i.session_id, i.memories, i.directive_version, i.position,
  i.tokens, i.sha256, i.insertions, i.dropped, i.degraded, i.created_at, i.observations,
  t.model,
  v.content AS directive
FROM ibex_core.context_injections i
LEFT JOIN ibex_core.session_turns t ON t.org_id = i.org_id AND t.request_id = i.request_id
LEFT JOIN ibex_core.directives d ON d.org_id = i.org_id AND d.agent_id = i.agent_id
LEFT JOIN ibex_core.directive_versions v
  ON v.org_id = d.org_id AND v.directive_id = d.id AND v.version = i.directive_version
WHERE i.org_id = $1 AND i.request_id = $2;

-- name: versions
-- Of these memories ($2) at these versions ($3), what they said, and what has become of them.
SELECT v.memory_id, v.version, v.content, v.snapshot ->> 'category' AS category,
  (v.snapshot ->> 'valid_from')::timestamptz AS valid_from, m.status, m.valid_to,
  m.version AS current_version
FROM unnest($2::uuid[], $3::int[]) AS wanted (id, version)
JOIN ibex_core.memory_versions v
  ON v.org_id = $1 AND v.memory_id = wanted.id AND v.version = wanted.version
LEFT JOIN ibex_core.memories m ON m.org_id = $1 AND m.id = wanted.id;

-- name: given
-- What the memories said that the requests of a session's turns ($2) after $3 were given, by turn.
SELECT t.number, v.content
FROM ibex_core.session_turns t
JOIN ibex_core.context_injections i ON i.org_id = $1 AND i.request_id = t.request_id
CROSS JOIN LATERAL jsonb_to_recordset(i.memories) AS m (memory_id uuid, version int)
JOIN ibex_core.memory_versions v
  ON v.org_id = $1 AND v.memory_id = m.memory_id AND v.version = m.version
WHERE t.org_id = $1 AND t.session_id = $2 AND t.number > $3;
