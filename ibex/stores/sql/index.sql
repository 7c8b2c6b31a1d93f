-- What an index of one agent's memories is made of, and how it follows. Always the organization and
-- the agent. `watermark` is the oldest transaction that may still commit: whoever has seen the rows
-- of this statement's snapshot has missed nothing older.

-- name: watermark
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS watermark,
  (SELECT count(*) FROM ibex_core.memories
   WHERE org_id = $1 AND agent_id = $2 AND status = 'active' AND valid_to IS NULL) AS memories;

-- name: every
SELECT id, user_id, version, category, content, confidence, usefulness, access_count, valid_from,
  vector_send(embedding) AS embedding
FROM ibex_core.memories
WHERE org_id = $1 AND agent_id = $2 AND status = 'active' AND valid_to IS NULL;

-- name: some
SELECT id, user_id, version, category, content, confidence, usefulness, access_count, valid_from,
  vector_send(embedding) AS embedding
FROM ibex_core.memories
WHERE org_id = $1 AND agent_id = $2 AND id = ANY ($3::uuid[])
  AND status = 'active' AND valid_to IS NULL;

-- name: changes
-- From the watermark $3 on.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS watermark,
  coalesce(array_agg(memory_id), '{}') AS memories,
  coalesce(array_agg(xid), '{}') AS xids
FROM ibex_core.memory_changes
WHERE org_id = $1 AND agent_id = $2 AND xid >= $3;
