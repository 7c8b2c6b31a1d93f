-- What an operator decides about single memories. Each decision is a version and an audit row.

-- name: lock
-- Decisions about one memory come one after the other.
SELECT agent_id, user_id, status, quarantine_reason, version, valid_to, expires_at
FROM ibex_core.memories
WHERE org_id = $1 AND id = $2
FOR UPDATE;

-- name: decide
-- $3 the new status, $4 the version's id, $5 what the change is called.
WITH changed AS (
  UPDATE ibex_core.memories
  SET status = $3, version = version + 1, updated_at = now(),
    quarantine_reason = CASE WHEN $3 = 'active' THEN NULL ELSE quarantine_reason END
  WHERE org_id = $1 AND id = $2
  RETURNING id, agent_id, user_id, category, subject, attribute, content, confidence, usefulness,
    status, quarantine_reason, source, version, valid_from, valid_to, session_id, turns,
    message_ids, place, extractor, prompt_version, model, redactions, embedding_model
)
INSERT INTO ibex_core.memory_versions
  (org_id, id, memory_id, version, change, content, snapshot)
SELECT $1, $4, id, version, $5, content, to_jsonb(changed) - 'content'
FROM changed;

-- name: expire
-- $3 when, NULL: never; $4 the version's id.
WITH changed AS (
  UPDATE ibex_core.memories
  SET expires_at = $3, version = version + 1, updated_at = now()
  WHERE org_id = $1 AND id = $2
  RETURNING id, agent_id, user_id, category, subject, attribute, content, confidence, usefulness,
    status, quarantine_reason, source, version, valid_from, valid_to, expires_at, session_id, turns,
    message_ids, extractor, prompt_version, model, redactions, embedding_model
)
INSERT INTO ibex_core.memory_versions
  (org_id, id, memory_id, version, change, content, snapshot)
SELECT $1, $4, id, version, 'expiry_set', content, to_jsonb(changed) - 'content'
FROM changed;

-- name: promote
-- A user's memory $2 as the agent's own $3, without the user's ids: $4 its version's id, $5 its
-- edge's. Nothing when the agent has these words already.
WITH promoted AS (
  INSERT INTO ibex_core.memories (
    org_id, id, agent_id, user_id, category, subject, attribute, content, content_hash, confidence,
    source, valid_from, extractor, prompt_version, model, redactions, embedding, embedding_model
  )
  SELECT org_id, $3, agent_id, NULL, category, subject, attribute, content, content_hash,
    confidence, 'operator', valid_from, 'promotion/1', prompt_version, model, redactions,
    embedding, embedding_model
  FROM ibex_core.memories
  WHERE org_id = $1 AND id = $2
  ON CONFLICT DO NOTHING
  RETURNING id, agent_id, user_id, category, subject, attribute, content, confidence, usefulness,
    status, quarantine_reason, source, version, valid_from, valid_to, session_id, turns,
    message_ids, place, extractor, prompt_version, model, redactions, embedding_model
), version AS (
  INSERT INTO ibex_core.memory_versions
    (org_id, id, memory_id, version, change, content, snapshot)
  SELECT $1, $4, id, version, 'promoted', content, to_jsonb(promoted) - 'content'
  FROM promoted
), said AS (
  INSERT INTO ibex_core.memory_statements (
    org_id, id, agent_id, user_id, memory_id, category, subject, attribute, content_hash,
    confidence, source, valid_from, extractor, prompt_version, model, redactions, embedding_model
  )
  SELECT $1, $3, p.agent_id, NULL, p.id, p.category, p.subject, p.attribute, m.content_hash,
    p.confidence, p.source, p.valid_from, p.extractor, p.prompt_version, p.model, p.redactions,
    p.embedding_model
  FROM promoted p
  JOIN ibex_core.memories m ON m.org_id = $1 AND m.id = $2
), edge AS (
  INSERT INTO ibex_core.memory_relationships
    (org_id, id, from_memory_id, to_memory_id, kind, reason)
  SELECT $1, $5, id, $2, 'derived_from', 'promoted'
  FROM promoted
)
SELECT id FROM promoted;
