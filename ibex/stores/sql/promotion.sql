-- What several users of an agent said.

-- name: near
-- Of these memories ($3), the users' facts in force, and for each what other users say nearby or
-- the agent knows: a cosine above $4, the agent's own first, then the nearest, $5 at most. Vectors
-- have unit length, so the inner product is the cosine. What was redacted is somebody's own.
WITH asked AS MATERIALIZED (
  SELECT id, user_id, content, subject, attribute, confidence, valid_from, embedding,
    embedding_model
  FROM ibex_core.memories
  WHERE org_id = $1 AND agent_id = $2 AND id = ANY ($3::uuid[]) AND user_id IS NOT NULL
    AND category = 'declarative' AND status = 'active' AND valid_to IS NULL AND redactions = '{}'
), found AS (
  SELECT a.id AS asked, m.id, m.user_id, m.content, m.subject, m.attribute, m.confidence,
    m.valid_from, -(m.embedding <#> a.embedding) AS cosine
  FROM asked a
  JOIN ibex_core.memories m ON m.embedding <#> a.embedding < -$4::float8
    AND m.user_id IS DISTINCT FROM a.user_id
  WHERE m.org_id = $1 AND m.agent_id = $2 AND m.category = 'declarative'
    AND m.embedding_model = a.embedding_model AND m.status = 'active' AND m.valid_to IS NULL
), ranked AS (
  SELECT *, row_number() OVER (
    PARTITION BY asked ORDER BY user_id IS NOT NULL, cosine DESC, id) AS place
  FROM found
)
SELECT id AS asked, id, user_id, content, subject, attribute, confidence, valid_from,
  1.0::float8 AS cosine
FROM asked
UNION ALL
SELECT asked, id, user_id, content, subject, attribute, confidence, valid_from, cosine
FROM ranked
WHERE place <= $5;

-- name: derive
-- The edges from what was promoted ($2, with ids $4) to the memories it was made of ($3).
INSERT INTO ibex_core.memory_relationships
  (org_id, id, from_memory_id, to_memory_id, kind, reason)
SELECT $1, e.id, $2, e.memory_id, 'derived_from', 'promoted'
FROM unnest($3::uuid[], $4::uuid[]) AS e (memory_id, id)
WHERE EXISTS (SELECT FROM ibex_core.memories WHERE org_id = $1 AND id = e.memory_id)
ON CONFLICT DO NOTHING;
