-- Writing memories. A statement takes any number of them.

-- name: known_hashes
SELECT content_hash
FROM ibex_core.memories
WHERE org_id = $1 AND agent_id = $2 AND user_id IS NOT DISTINCT FROM $3
  AND content_hash = ANY ($4::bytea[]) AND valid_to IS NULL;

-- name: insert
-- $4: a JSON list with an object a memory; $5: their embeddings, in the same order.
-- Words that are known, or that another writer has just written, are left as they are.
WITH fact AS (
  SELECT *
  FROM ROWS FROM (
    jsonb_to_recordset($4::jsonb) AS (
      id uuid, version_id uuid, category text, subject text, attribute text, content text,
      content_hash text, confidence float8, source text, valid_from timestamptz, turns int[],
      message_ids text[], place int, redactions jsonb
    ),
    unnest($5::vector[])
  ) AS f (
    id, version_id, category, subject, attribute, content, content_hash, confidence, source,
    valid_from, turns, message_ids, place, redactions, embedding
  )
), created AS (
  INSERT INTO ibex_core.memories (
    org_id, id, agent_id, user_id, category, subject, attribute, content, content_hash, confidence,
    source, valid_from, session_id, turns, message_ids, place, extractor, prompt_version, model,
    run_id, redactions, embedding, embedding_model
  )
  SELECT
    $1, id, $2, $3, category, subject, attribute, content, decode(content_hash, 'hex'), confidence,
    source, valid_from, $6, turns, message_ids, place, $7, $8, $9, $10, redactions, embedding, $11
  FROM fact
  ON CONFLICT (org_id, agent_id, user_id, content_hash) WHERE valid_to IS NULL DO NOTHING
  RETURNING
    id, agent_id, user_id, category, subject, attribute, confidence, usefulness, status, source,
    version, valid_from, valid_to, session_id, turns, message_ids, place, extractor, prompt_version, model,
    redactions, embedding_model
), version AS (
  INSERT INTO ibex_core.memory_versions
    (org_id, id, memory_id, version, change, content, snapshot, run_id)
  SELECT $1, f.version_id, c.id, c.version, 'created', f.content, to_jsonb(c), $10
  FROM created c
  JOIN fact f ON f.id = c.id
)
SELECT id FROM created ORDER BY id;
