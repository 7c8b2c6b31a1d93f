-- Two sets of facts of the same sessions change places. Always one agent's ($2), and of one user ($3;
-- NULL: the agent's own), inside the caller's transaction, after `lock` of memories_write.

-- name: sessions
-- Of the backfill $4, the owner's sessions whose facts are believed ($5) or wait.
SELECT session_id, through_turn
FROM ibex_core.backfill_sessions
WHERE org_id = $1 AND agent_id = $2 AND (user_id = $3 OR (user_id IS NULL AND $3::uuid IS NULL))
  AND backfill_id = $4 AND status = 'done' AND (switched_at IS NOT NULL) = $5::boolean;

-- name: replaced
-- Statements that a model found in these sessions ($4) up to these turns ($5), of memories that no
-- operator has decided about.
SELECT s.id, s.memory_id
FROM ibex_core.memory_statements s
JOIN unnest($4::uuid[], $5::int[]) AS r (session_id, through) ON r.session_id = s.session_id
JOIN ibex_core.memories m ON m.org_id = $1 AND m.id = s.memory_id
WHERE s.org_id = $1 AND s.agent_id = $2
  AND (s.user_id = $3 OR (s.user_id IS NULL AND $3::uuid IS NULL))
  AND s.extractor LIKE 'facts/%' AND r.through >= ALL (s.turns)
  AND m.source <> 'operator' AND m.status <> 'rejected' AND m.expires_at IS NULL
  AND NOT EXISTS (
    SELECT FROM ibex_core.memory_versions v
    WHERE v.org_id = $1 AND v.memory_id = m.id
      AND v.change IN ('approved', 'rejected', 'edited', 'promoted', 'expiry_set')
  );

-- name: affected
-- These memories ($4) and those that they, or what they ended, ended.
WITH RECURSIVE affected (id) AS (
  SELECT unnest($4::uuid[])
  UNION
  SELECT m.id
  FROM affected a
  JOIN ibex_core.memories m ON m.superseded_by = a.id
  WHERE m.org_id = $1 AND m.agent_id = $2
    AND (m.user_id = $3 OR (m.user_id IS NULL AND $3::uuid IS NULL)) AND m.status <> 'rejected'
)
SELECT id FROM affected;

-- name: beliefs
-- What is believed about the owner, and what was, apart from episodes that nobody made a fact of.
SELECT id, content_hash, category, status, valid_from, valid_to
FROM ibex_core.memories
WHERE org_id = $1 AND agent_id = $2 AND (user_id = $3 OR (user_id IS NULL AND $3::uuid IS NULL))
  AND (valid_to IS NULL OR valid_to > valid_from) AND status <> 'rejected'
  AND (category <> 'episodic' OR extractor LIKE 'facts/%');

-- name: shown
-- What memories ($2) show.
SELECT id, content, content_hash, category, subject, attribute, status, confidence, source,
  valid_from, valid_to, superseded_by, session_id, turns, extractor, prompt_version, model, run_id,
  embedding
FROM ibex_core.memories
WHERE org_id = $1 AND id = ANY ($2::uuid[]);

-- name: foreign_vectors
-- Whether some of these memories ($2), or what they rest on, have no vector of the model $3.
SELECT EXISTS (
  SELECT FROM ibex_core.memories m
  WHERE m.org_id = $1 AND m.id = ANY ($2::uuid[])
    AND ibex_core.vector_of(m.org_id, m.id, m.embedding_model, m.embedding, $3) IS NULL
) OR EXISTS (
  SELECT FROM ibex_core.memory_statements s
  WHERE s.org_id = $1 AND s.memory_id = ANY ($2::uuid[]) AND s.embedding IS NOT NULL
    AND s.embedding_model <> $3
);

-- name: take_out
-- All that these memories ($2) rest on leaves them; $3: the model of the vectors.
DELETE FROM ibex_core.memory_statements s
USING ibex_core.memories m
WHERE s.org_id = $1 AND s.memory_id = ANY ($2::uuid[]) AND m.org_id = $1 AND m.id = s.memory_id
RETURNING s.memory_id, s.id, s.category, s.subject, s.attribute, coalesce(s.content, m.content)
  AS content, s.content_hash, s.confidence, s.source, s.valid_from, s.session_id, s.turns,
  s.message_ids, s.extractor, s.prompt_version, s.model, s.run_id, s.redactions,
  coalesce(
    s.embedding, ibex_core.vector_of(m.org_id, m.id, m.embedding_model, m.embedding, $3)
  ) AS embedding, m.status, m.quarantine_reason;

-- name: set_aside
-- These memories ($2) were never in force.
UPDATE ibex_core.memories
SET valid_to = valid_from, superseded_by = NULL, updated_at = now()
WHERE org_id = $1 AND id = ANY ($2::uuid[]);

-- name: facts
-- Those of the backfill $2 that wait, of these sessions ($3); they leave.
DELETE FROM ibex_core.backfill_facts
WHERE org_id = $1 AND backfill_id = $2 AND session_id = ANY ($3::uuid[])
RETURNING *;

-- name: add_facts
-- $2 the backfill, $3 $4 whose, $5: a JSON list with an object a statement, $6 their vectors, $7 the
-- model that made these.
INSERT INTO ibex_core.backfill_facts (
  org_id, backfill_id, agent_id, user_id, id, session_id, memory_id, category, subject, attribute,
  content, content_hash, confidence, source, valid_from, turns, message_ids, extractor,
  prompt_version, model, run_id, redactions, status, quarantine_reason, embedding, embedding_model
)
SELECT $1, $2, $3, $4, f.id, session_id, memory_id, category, subject, attribute, content,
  decode(content_hash, 'hex'), confidence, source, said_from, turns, message_ids, extractor,
  prompt_version, model, run_id, redactions, status, quarantine_reason, embedding, $7
FROM ROWS FROM (
  jsonb_to_recordset($5::jsonb) AS (
    id uuid, session_id uuid, memory_id uuid, category text, subject text, attribute text,
    content text, content_hash text, confidence float8, source text, said_from timestamptz,
    turns int[], message_ids text[], extractor text, prompt_version text, model text, run_id text,
    redactions jsonb, status text, quarantine_reason text
  ),
  unnest($6::vector[])
) AS f (
  id, session_id, memory_id, category, subject, attribute, content, content_hash, confidence,
  source, said_from, turns, message_ids, extractor, prompt_version, model, run_id, redactions,
  status, quarantine_reason, embedding
)
-- A memory that is about to be erased takes them along.
WHERE memory_id IS NULL OR EXISTS (
  SELECT FROM ibex_core.memories m WHERE m.org_id = $1 AND m.id = memory_id
);

-- name: forget_facts
DELETE FROM ibex_core.backfill_facts
WHERE org_id = $1 AND backfill_id = $2 AND session_id = $3;

-- name: said
-- What a model found in a session ($2) up to a turn ($3) and is believed: its words and vectors.
SELECT coalesce(s.content, m.content) AS content, coalesce(s.embedding, m.embedding) AS embedding
FROM ibex_core.memory_statements s
JOIN ibex_core.memories m ON m.org_id = $1 AND m.id = s.memory_id
WHERE s.org_id = $1 AND s.session_id = $2 AND s.extractor LIKE 'facts/%' AND $3 >= ALL (s.turns);

-- name: succeed
-- $2 memories that were set aside, $3 what took the place of each.
UPDATE ibex_core.memories m
SET superseded_by = h.heir
FROM unnest($2::uuid[], $3::uuid[]) AS h (id, heir)
WHERE m.org_id = $1 AND m.id = h.id;
