-- Snapshots of memories with their vectors: what goes into one, and the manifest of their files.
-- `date` is the day of the snapshot that a file belongs to.

-- name: alone
-- One process at a time works on an organization's snapshots, until its transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('ibex_core.vectors/' || $1::text, 0));

-- name: some
SELECT EXISTS (SELECT FROM ibex_core.memories WHERE org_id = $1);

-- name: memories
-- Every memory and each of its vectors, in no order; read through a cursor.
SELECT id::text AS memory_id, version, agent_id::text, user_id::text, session_id::text, category,
  content, confidence, usefulness, status, source, valid_from, valid_to, expires_at, created_at,
  embedding_model, embedding::halfvec AS vector
FROM ibex_core.memories
WHERE org_id = $1
UNION ALL
SELECT m.id::text, m.version, m.agent_id::text, m.user_id::text, m.session_id::text, m.category,
  m.content, m.confidence, m.usefulness, m.status, m.source, m.valid_from, m.valid_to,
  m.expires_at, m.created_at, e.model, e.embedding::halfvec
FROM ibex_core.memory_embeddings e
JOIN ibex_core.memories m ON m.org_id = $1 AND m.id = e.memory_id
WHERE e.org_id = $1 AND e.model <> m.embedding_model;

-- name: files
SELECT key, date, rows, bytes AS size, sha256, schema_version, created_at
FROM ibex_core.archive_files
WHERE org_id = $1 AND kind = 'vectors'
ORDER BY date, key;

-- name: remove
-- The files of the snapshot of day $2.
DELETE FROM ibex_core.archive_files WHERE org_id = $1 AND kind = 'vectors' AND date = $2;

-- name: remove_all
DELETE FROM ibex_core.archive_files WHERE org_id = $1 AND kind = 'vectors';

-- name: record
-- $10: when the snapshot was made, which is not when its files were last written.
INSERT INTO ibex_core.archive_files
  (org_id, id, kind, bucket, key, date, rows, bytes, sha256, schema_version, created_at)
VALUES ($1, $2, 'vectors', $3, $4, $5, $6, $7, $8, $9, $10);

