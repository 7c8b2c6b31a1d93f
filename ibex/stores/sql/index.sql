-- What an index of one agent's memories is made of, and how it follows. Always the organization and
-- the agent. `watermark` is the oldest transaction that may still commit: whoever has seen the rows
-- of this statement's snapshot has missed nothing older. Vectors as in memories.sql.

-- name: watermark
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS watermark,
  count(*) AS memories, count(place) AS episodes
FROM ibex_core.memories
WHERE org_id = $1 AND agent_id = $2 AND status = 'active' AND valid_to IS NULL;

-- name: every
-- $3: the model.
SELECT m.id, m.user_id, m.version, m.category, m.content, m.confidence, m.usefulness,
  m.access_count, m.valid_from, m.session_id, m.place, m.expires_at,
  vector_send(ibex_core.vector_of(m.org_id, m.id, m.embedding_model, m.embedding, $3)) AS embedding
FROM ibex_core.memories m
WHERE org_id = $1 AND agent_id = $2 AND status = 'active' AND valid_to IS NULL;

-- name: some
-- $3: which; $4: the model.
SELECT m.id, m.user_id, m.version, m.category, m.content, m.confidence, m.usefulness,
  m.access_count, m.valid_from, m.session_id, m.place, m.expires_at,
  vector_send(ibex_core.vector_of(m.org_id, m.id, m.embedding_model, m.embedding, $4)) AS embedding
FROM ibex_core.memories m
WHERE org_id = $1 AND agent_id = $2 AND id = ANY ($3::uuid[])
  AND status = 'active' AND valid_to IS NULL;

-- name: changes
-- From the watermark $3 on.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS watermark,
  coalesce(array_agg(memory_id), '{}') AS memories,
  coalesce(array_agg(xid), '{}') AS xids
FROM ibex_core.memory_changes
WHERE org_id = $1 AND agent_id = $2 AND xid >= $3;
