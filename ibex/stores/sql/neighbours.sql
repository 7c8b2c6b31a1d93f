-- What is stored near new statements. Always one agent's ($2), and of one user ($3; NULL: the agent's
-- own).

-- name: held
-- Of words ($4), those that a memory has that is not of the status $5: the memory that waits for a
-- review or was rejected, or the active one.
SELECT content_hash
FROM ibex_core.memories
WHERE org_id = $1 AND agent_id = $2 AND (user_id = $3 OR (user_id IS NULL AND $3::uuid IS NULL))
  AND content_hash = ANY ($4::bytea[]) AND valid_to IS NULL AND status <> $5;

-- name: near
-- For each statement (vectors $4 of the model $5, hashes of the words $9, times from which they hold
-- $10, whether it is an episode $11) the $7 nearest words that memories of the status $8 rest on,
-- with a cosine above $6: exact, among what holds and what has held. Vectors have unit length, so
-- the inner product is the cosine. What was never in force for a moment is left out.
-- The same words are enough for an episode, and for what a memory in force says already, unless
-- something contradicts that memory or may do so.
WITH asked AS MATERIALIZED (
  SELECT a.number, a.embedding, a.content_hash, a.episode OR EXISTS (
    SELECT FROM ibex_core.memories m
    WHERE org_id = $1 AND agent_id = $2 AND (user_id = $3 OR (user_id IS NULL AND $3::uuid IS NULL))
      AND m.content_hash = a.content_hash AND valid_to IS NULL AND status = $8
      AND m.valid_from <= a.said_from
      AND NOT EXISTS (
        SELECT FROM ibex_core.memory_relationships e
        WHERE e.org_id = $1 AND e.from_memory_id = m.id AND e.kind IN ('contradicts', 'undecided')
      )
      AND NOT EXISTS (
        SELECT FROM ibex_core.memory_relationships e
        WHERE e.org_id = $1 AND e.to_memory_id = m.id AND e.kind IN ('contradicts', 'undecided')
      )
  ) AS is_known
  FROM unnest($4::vector[], $9::bytea[], $10::timestamptz[], $11::boolean[])
    WITH ORDINALITY AS a (embedding, content_hash, said_from, episode, number)
), own AS (
  SELECT m.id, ibex_core.vector_of(m.org_id, m.id, m.embedding_model, m.embedding, $5) AS embedding
  FROM ibex_core.memories m
  WHERE org_id = $1 AND agent_id = $2 AND (user_id = $3 OR (user_id IS NULL AND $3::uuid IS NULL))
    AND status = $8 AND (valid_to IS NULL OR valid_to > valid_from) AND category <> 'episodic'
), others AS (
  SELECT id, memory_id, embedding
  FROM ibex_core.memory_statements
  WHERE org_id = $1 AND agent_id = $2 AND (user_id = $3 OR (user_id IS NULL AND $3::uuid IS NULL))
    AND embedding IS NOT NULL AND embedding_model = $5 AND category <> 'episodic'
), found AS (
  SELECT a.number, o.id AS memory_id, NULL::uuid AS statement_id,
    -(o.embedding <#> a.embedding) AS cosine
  FROM own o
  JOIN asked a ON NOT a.is_known AND o.embedding <#> a.embedding < -$6::float8
  UNION ALL
  SELECT a.number, o.memory_id, o.id, -(o.embedding <#> a.embedding)
  FROM others o
  JOIN asked a ON NOT a.is_known AND o.embedding <#> a.embedding < -$6::float8
  UNION ALL
  SELECT a.number, m.id, NULL, 1
  FROM asked a
  JOIN ibex_core.memories m ON m.content_hash = a.content_hash
  WHERE org_id = $1 AND agent_id = $2 AND (user_id = $3 OR (user_id IS NULL AND $3::uuid IS NULL))
    AND status = $8 AND valid_to IS NULL AND (a.is_known OR m.category = 'episodic')
), ranked AS (
  SELECT *, row_number() OVER (PARTITION BY number ORDER BY cosine DESC, memory_id) AS place
  FROM found
)
SELECT (r.number - 1)::int AS number, r.cosine,
  m.id, m.content_hash AS own_hash, m.valid_from AS own_from, m.valid_to, m.superseded_by,
  coalesce(s.content, m.content) AS content,
  coalesce(s.content_hash, m.content_hash) AS content_hash,
  coalesce(s.category, m.category) AS category,
  coalesce(s.subject, m.subject) AS subject,
  coalesce(s.attribute, m.attribute) AS attribute,
  coalesce(s.confidence, m.confidence) AS confidence,
  coalesce(s.source, m.source) AS source,
  CASE WHEN s.id IS NOT NULL THEN ARRAY[s.valid_from] ELSE ARRAY(
    SELECT DISTINCT own.valid_from
    FROM ibex_core.memory_statements own
    WHERE own.org_id = $1 AND own.memory_id = m.id AND own.content_hash = m.content_hash
    ORDER BY own.valid_from
  ) END AS said_from
FROM ranked r
-- One by one: the planner takes the few that are left for thousands, and would read the table again.
CROSS JOIN LATERAL (
  SELECT *
  FROM ibex_core.memories
  WHERE org_id = $1 AND id = r.memory_id AND status = $8
    AND (valid_to IS NULL OR valid_to > valid_from)
  OFFSET 0
) m
LEFT JOIN LATERAL (
  SELECT * FROM ibex_core.memory_statements WHERE org_id = $1 AND id = r.statement_id OFFSET 0
) s ON true
WHERE r.place <= $7
ORDER BY r.number, r.place;
