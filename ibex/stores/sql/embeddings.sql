-- Vectors of other models than the one a memory's row has, and the memories that have none yet.

-- name: organizations
-- Runs as ibex_system.
SELECT id FROM ibex_core.organizations ORDER BY id;

-- name: total
-- Memories that hold or have held: new statements are compared with those that ended, too.
SELECT count(*) FROM ibex_core.memories
WHERE org_id = $1 AND (valid_to IS NULL OR valid_to > valid_from);

-- name: counts
-- Vectors of these memories, by model.
SELECT model, count(*) AS vectors
FROM (
  SELECT embedding_model AS model
  FROM ibex_core.memories
  WHERE org_id = $1 AND (valid_to IS NULL OR valid_to > valid_from)
  UNION ALL
  SELECT e.model
  FROM ibex_core.memory_embeddings e
  JOIN ibex_core.memories m ON m.org_id = e.org_id AND m.id = e.memory_id
  WHERE e.org_id = $1 AND (m.valid_to IS NULL OR m.valid_to > m.valid_from)
    AND m.embedding_model <> e.model
) AS vector
GROUP BY model;

-- name: page
-- The next $4 of these memories after $3, and whether each has a vector of model $2. Quarantined ones
-- too: they may be approved.
SELECT m.id, m.content, m.content_hash,
  m.embedding_model = $2 OR EXISTS (
    SELECT FROM ibex_core.memory_embeddings e
    WHERE e.org_id = m.org_id AND e.memory_id = m.id AND e.model = $2
  ) AS present
FROM ibex_core.memories m
WHERE m.org_id = $1 AND m.id > $3 AND (m.valid_to IS NULL OR m.valid_to > m.valid_from)
ORDER BY m.id
LIMIT $4;

-- name: put
-- Memories ($3) that still say what was embedded ($4: hashes), and their vectors of model $2 ($5).
-- The lock keeps a change of words back until this is committed, and the trigger deletes it then.
WITH same AS (
  SELECT m.id, made.embedding
  FROM unnest($3::uuid[], $4::bytea[], $5::vector[]) AS made(id, content_hash, embedding)
  JOIN ibex_core.memories m
    ON m.org_id = $1 AND m.id = made.id AND m.content_hash = made.content_hash
  WHERE m.embedding_model <> $2
  FOR SHARE OF m
)
INSERT INTO ibex_core.memory_embeddings (org_id, memory_id, model, embedding)
SELECT $1, id, $2, embedding FROM same
ON CONFLICT (org_id, memory_id, model) DO UPDATE SET embedding = excluded.embedding;

-- name: exchange
-- The next $4 memories after $3 whose vector of model $2 lies beside: it comes into the row, and the
-- row's own goes to its place. Nothing that a reader sees changes.
WITH wanted AS (
  SELECT m.id, m.embedding AS old, m.embedding_model AS old_model, e.embedding AS new
  FROM ibex_core.memories m
  JOIN ibex_core.memory_embeddings e
    ON e.org_id = m.org_id AND e.memory_id = m.id AND e.model = $2
  WHERE m.org_id = $1 AND m.id > $3 AND m.embedding_model <> $2
  ORDER BY m.id
  LIMIT $4
  FOR UPDATE OF m
), kept AS (
  INSERT INTO ibex_core.memory_embeddings (org_id, memory_id, model, embedding)
  SELECT $1, id, old_model, old FROM wanted
  ON CONFLICT (org_id, memory_id, model) DO UPDATE SET embedding = excluded.embedding
), freed AS (
  DELETE FROM ibex_core.memory_embeddings e
  USING wanted w
  WHERE e.org_id = $1 AND e.memory_id = w.id AND e.model = $2
)
UPDATE ibex_core.memories m
SET embedding = w.new, embedding_model = $2
FROM wanted w
WHERE m.org_id = $1 AND m.id = w.id
RETURNING m.id;

-- name: forget
-- At most $3 vectors of a model.
DELETE FROM ibex_core.memory_embeddings
WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM ibex_core.memory_embeddings WHERE org_id = $1 AND model = $2 LIMIT $3
)) AND org_id = $1;

-- name: statements
-- The next $4 statements in words of their own after $3 that have no vector of model $2.
SELECT id, content, content_hash, false AS present
FROM ibex_core.memory_statements
WHERE org_id = $1 AND id > $3 AND content IS NOT NULL AND embedding_model <> $2
ORDER BY id
LIMIT $4;

-- name: put_statements
-- As `put`, in place: only the writer reads these vectors.
UPDATE ibex_core.memory_statements s
SET embedding = made.embedding, embedding_model = $2
FROM unnest($3::uuid[], $4::bytea[], $5::vector[]) AS made(id, content_hash, embedding)
WHERE s.org_id = $1 AND s.id = made.id AND s.content_hash = made.content_hash
  AND s.content IS NOT NULL;
