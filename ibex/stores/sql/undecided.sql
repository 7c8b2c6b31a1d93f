-- Pairs of memories that no rule could judge. Always one agent's ($2), and of one user ($3; NULL: the
-- agent's own).

-- name: open
-- The oldest $4 of those whose memories are both in force by now.
SELECT e.id AS edge_id,
  n.id AS newer_id, n.version AS newer_version, n.content AS newer_content,
  n.category AS newer_category, n.subject AS newer_subject, n.attribute AS newer_attribute,
  n.confidence AS newer_confidence, n.source AS newer_source, n.valid_from AS newer_from,
  n.valid_from AS newer_said,
  o.id AS older_id, o.version AS older_version, o.content AS older_content,
  o.category AS older_category, o.subject AS older_subject, o.attribute AS older_attribute,
  o.confidence AS older_confidence, o.source AS older_source, o.valid_from AS older_from,
  (
    SELECT greatest(o.valid_from, max(s.valid_from))
    FROM ibex_core.memory_statements s
    WHERE s.org_id = $1 AND s.memory_id = o.id
  ) AS older_said
FROM ibex_core.memories n
JOIN ibex_core.memory_relationships e
  ON e.org_id = $1 AND e.from_memory_id = n.id AND e.kind = 'undecided'
JOIN ibex_core.memories o ON o.org_id = $1 AND o.id = e.to_memory_id
WHERE n.org_id = $1 AND n.agent_id = $2
  AND (n.user_id = $3 OR (n.user_id IS NULL AND $3::uuid IS NULL))
  AND n.status = 'active' AND o.status = 'active'
  AND n.valid_to IS NULL AND o.valid_to IS NULL AND n.valid_from <= now()
ORDER BY e.created_at, e.id
LIMIT $4;

-- name: take
-- The edge ($2) goes if the memories $3 and $5 are what was judged, of the versions $4 and $6.
DELETE FROM ibex_core.memory_relationships e
USING ibex_core.memories n, ibex_core.memories o
WHERE e.org_id = $1 AND e.id = $2 AND e.kind = 'undecided'
  AND n.org_id = $1 AND n.id = $3 AND n.version = $4 AND n.valid_to IS NULL
  AND n.status = 'active'
  AND o.org_id = $1 AND o.id = $5 AND o.version = $6 AND o.valid_to IS NULL
  AND o.status = 'active'
RETURNING e.id;
