-- What one memory was, what it rests on and what it is tied to.

-- name: versions
SELECT version, change, content, (snapshot ->> 'confidence')::float8 AS confidence,
  snapshot ->> 'status' AS status, (snapshot ->> 'valid_from')::timestamptz AS valid_from,
  (snapshot ->> 'valid_to')::timestamptz AS valid_to,
  (snapshot ->> 'superseded_by')::uuid AS superseded_by, run_id, created_at
FROM ibex_core.memory_versions
WHERE org_id = $1 AND memory_id = $2
ORDER BY version;

-- name: statements
SELECT s.id, coalesce(s.content, m.content) AS content, s.confidence, s.source, s.valid_from,
  s.session_id, s.turns, s.message_ids, s.extractor, s.prompt_version, s.model, s.run_id,
  s.created_at
FROM ibex_core.memory_statements s
JOIN ibex_core.memories m ON m.org_id = $1 AND m.id = s.memory_id
WHERE s.org_id = $1 AND s.memory_id = $2
ORDER BY s.valid_from, s.id
LIMIT $3;

-- name: relationships
SELECT kind, from_memory_id, to_memory_id, reason, created_at
FROM ibex_core.memory_relationships
WHERE org_id = $1 AND from_memory_id = $2
UNION ALL
SELECT kind, from_memory_id, to_memory_id, reason, created_at
FROM ibex_core.memory_relationships
WHERE org_id = $1 AND to_memory_id = $2
ORDER BY created_at, kind
LIMIT $3;

-- name: tags
SELECT tag FROM ibex_core.memory_tags WHERE org_id = $1 AND memory_id = $2 ORDER BY tag;
