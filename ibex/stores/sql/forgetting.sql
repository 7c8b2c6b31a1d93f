-- What is forgotten. A deleted memory takes its versions, statements, edges, tags and vectors along.

-- name: organizations
-- Runs as ibex_system.
SELECT id FROM ibex_core.organizations ORDER BY id;

-- name: agents
SELECT id, policy -> 'retention' AS retention FROM ibex_core.agents WHERE org_id = $1 ORDER BY id;

-- name: forget_expired
-- At most $3 of those that ended at $2 or before.
WITH ended AS (
  SELECT id FROM ibex_core.memories
  WHERE org_id = $1 AND expires_at <= $2
  ORDER BY expires_at
  LIMIT $3
  FOR UPDATE SKIP LOCKED
)
DELETE FROM ibex_core.memories m
USING ended
WHERE m.org_id = $1 AND m.id = ended.id
RETURNING m.agent_id, m.user_id;

-- name: forget_old
-- At most $5 of agent $2 and category $3 that nobody has said since $4, believed or not.
WITH old AS (
  SELECT m.id FROM ibex_core.memories m
  WHERE m.org_id = $1 AND m.agent_id = $2 AND m.category = $3 AND m.created_at < $4
    AND NOT EXISTS (
      SELECT FROM ibex_core.memory_statements s
      WHERE s.org_id = $1 AND s.memory_id = m.id AND s.created_at >= $4
    )
  ORDER BY m.created_at
  LIMIT $5
  FOR UPDATE OF m SKIP LOCKED
)
DELETE FROM ibex_core.memories m
USING old
WHERE m.org_id = $1 AND m.id = old.id
RETURNING m.agent_id, m.user_id;

-- name: counts
SELECT agent_id, count(*) AS memories
FROM ibex_core.memories
WHERE org_id = $1 AND status = 'active' AND valid_to IS NULL
GROUP BY agent_id;

-- name: standing
-- Of agent $2; NULL: of all of them.
SELECT id, category, valid_from, usefulness, confidence, access_count
FROM ibex_core.memories
WHERE org_id = $1 AND ($2::uuid IS NULL OR agent_id = $2)
  AND status = 'active' AND valid_to IS NULL;

-- name: forget_these
DELETE FROM ibex_core.memories
WHERE org_id = $1 AND id = ANY ($2::uuid[])
RETURNING agent_id, user_id;
