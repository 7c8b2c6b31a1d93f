-- Writing memories. A statement takes any number of them. Always one agent's ($2), and of one user
-- ($3; NULL: the agent's own).

-- name: lock
-- One writer at a time for each agent and user, until its transaction ends. Its statements are planned
-- for this agent: a plan kept from one with a thousand memories takes minutes for one with a hundred
-- thousand.
SELECT
  set_config('plan_cache_mode', 'force_custom_plan', true),
  pg_advisory_xact_lock(hashtextextended(
    concat_ws(' ', $1::uuid, $2::uuid, coalesce($3::uuid::text, '-')), 11));

-- name: forget_ended
-- What has ended takes in nothing that is said after it.
DELETE FROM ibex_core.memories
WHERE org_id = $1 AND agent_id = $2 AND (user_id = $3 OR (user_id IS NULL AND $3::uuid IS NULL))
  AND expires_at <= now();

-- name: vectors_of
-- Of words that a memory in force has; $5: the model that made them.
SELECT content_hash, embedding
FROM ibex_core.memories
WHERE org_id = $1 AND agent_id = $2 AND (user_id = $3 OR (user_id IS NULL AND $3::uuid IS NULL))
  AND content_hash = ANY ($4::bytea[]) AND valid_to IS NULL AND embedding_model = $5;

-- name: vouch
-- Memories that wait for a review whose words ($4) somebody says now whose word needs none ($5 the
-- sources, $6 ids for the versions).
WITH said AS (
  SELECT DISTINCT ON (content_hash) *
  FROM unnest($4::bytea[], $5::text[], $6::uuid[]) AS s (content_hash, source, version_id)
), changed AS (
  UPDATE ibex_core.memories m
  SET status = 'active', quarantine_reason = NULL, source = s.source, version = m.version + 1,
    updated_at = now()
  FROM said s
  WHERE m.org_id = $1 AND m.agent_id = $2
    AND (m.user_id = $3 OR (m.user_id IS NULL AND $3::uuid IS NULL))
    AND m.content_hash = s.content_hash AND m.valid_to IS NULL AND m.status = 'quarantined'
  RETURNING
    m.id, m.agent_id, m.user_id, m.category, m.subject, m.attribute, m.confidence, m.usefulness,
    m.status, m.quarantine_reason, m.source, m.version, m.valid_from, m.valid_to, m.superseded_by,
    m.session_id, m.turns, m.message_ids, m.place, m.extractor, m.prompt_version, m.model,
    m.redactions, m.embedding_model, m.content, s.version_id
)
INSERT INTO ibex_core.memory_versions
  (org_id, id, memory_id, version, change, content, snapshot, run_id)
SELECT $1, version_id, id, version, 'vouched', content,
  to_jsonb(changed) - 'content' - 'version_id', $7
FROM changed
RETURNING memory_id;

-- name: insert
-- $4: a JSON list with an object a memory; $5: their embeddings, in the same order; $6: the model
-- that made them. The memories, the first version and the tags of each, and the statement that it
-- rests on.
WITH fact AS (
  SELECT *
  FROM ROWS FROM (
    jsonb_to_recordset($4::jsonb) AS (
      id uuid, version_id uuid, statement_id uuid, status text, quarantine_reason text,
      category text, subject text, attribute text, content text, content_hash text, confidence float8, source text,
      said_from timestamptz, valid_from timestamptz, valid_to timestamptz, superseded_by uuid,
      session_id uuid, turns int[], message_ids text[], place int, extractor text,
      prompt_version text, model text, run_id text, redactions jsonb, tags text[]
    ),
    unnest($5::vector[])
  ) AS f (
    id, version_id, statement_id, status, quarantine_reason, category, subject, attribute, content,
    content_hash, confidence, source, said_from, valid_from, valid_to, superseded_by, session_id, turns,
    message_ids, place, extractor, prompt_version, model, run_id, redactions, tags, embedding
  )
), created AS (
  INSERT INTO ibex_core.memories (
    org_id, id, agent_id, user_id, category, subject, attribute, content, content_hash, confidence,
    status, quarantine_reason, source, valid_from, valid_to, superseded_by, session_id, turns,
    message_ids, place, extractor, prompt_version, model, run_id, redactions, embedding, embedding_model
  )
  SELECT
    $1, id, $2, $3, category, subject, attribute, content, decode(content_hash, 'hex'), confidence,
    status, quarantine_reason, source, valid_from, valid_to, superseded_by, session_id, turns,
    message_ids, place, extractor, prompt_version, model, run_id, redactions, embedding, $6
  FROM fact
  ON CONFLICT (org_id, agent_id, user_id, content_hash) WHERE valid_to IS NULL DO NOTHING
  RETURNING
    id, agent_id, user_id, category, subject, attribute, confidence, usefulness, status,
    quarantine_reason, source, version, valid_from, valid_to, superseded_by, session_id, turns, message_ids, place, extractor,
    prompt_version, model, redactions, embedding_model
), version AS (
  INSERT INTO ibex_core.memory_versions
    (org_id, id, memory_id, version, change, content, snapshot, run_id)
  SELECT $1, f.version_id, c.id, c.version, 'created', f.content, to_jsonb(c), f.run_id
  FROM created c
  JOIN fact f ON f.id = c.id
), said AS (
  INSERT INTO ibex_core.memory_statements (
    org_id, id, agent_id, user_id, memory_id, category, subject, attribute, content_hash,
    confidence, source, valid_from, session_id, turns, message_ids, extractor, prompt_version,
    model, run_id, redactions, embedding_model
  )
  SELECT
    $1, f.statement_id, $2, $3, f.id, f.category, f.subject, f.attribute,
    decode(f.content_hash, 'hex'), f.confidence, f.source, f.said_from, f.session_id, f.turns,
    f.message_ids, f.extractor, f.prompt_version, f.model, f.run_id, f.redactions, $6
  FROM created c
  JOIN fact f ON f.id = c.id
), tag AS (
  INSERT INTO ibex_core.memory_tags (org_id, memory_id, tag)
  SELECT $1, c.id, t.tag
  FROM created c
  JOIN fact f ON f.id = c.id
  CROSS JOIN unnest(f.tags) AS t (tag)
)
SELECT id FROM created ORDER BY id;

-- name: set_aside
-- Of words ($4), the latest memory that has them, rests on nothing and was never in force.
SELECT DISTINCT ON (content_hash) content_hash, id
FROM ibex_core.memories m
WHERE org_id = $1 AND agent_id = $2 AND (user_id = $3 OR (user_id IS NULL AND $3::uuid IS NULL))
  AND content_hash = ANY ($4::bytea[]) AND valid_to <= valid_from
  AND NOT EXISTS (
    SELECT FROM ibex_core.memory_statements s WHERE s.org_id = $1 AND s.memory_id = m.id
  )
ORDER BY content_hash, id DESC;

-- name: revive
-- $2, $3, $4 as $4, $5, $6 of `insert`: memories that were set aside take all that one is made with,
-- and keep what is known about their use. Their versions are up to the caller.
UPDATE ibex_core.memories m
SET category = f.category, subject = f.subject, attribute = f.attribute, content = f.content,
  confidence = f.confidence, status = f.status, quarantine_reason = f.quarantine_reason,
  source = f.source, valid_from = f.valid_from, valid_to = f.valid_to,
  superseded_by = f.superseded_by, session_id = f.session_id, turns = f.turns,
  message_ids = f.message_ids, extractor = f.extractor, prompt_version = f.prompt_version,
  model = f.model, run_id = f.run_id, redactions = f.redactions, embedding = f.embedding,
  embedding_model = $4, updated_at = now()
FROM ROWS FROM (
  jsonb_to_recordset($2::jsonb) AS (
    id uuid, status text, quarantine_reason text, category text, subject text, attribute text,
    content text, confidence float8, source text, valid_from timestamptz, valid_to timestamptz,
    superseded_by uuid, session_id uuid, turns int[], message_ids text[], extractor text,
    prompt_version text, model text, run_id text, redactions jsonb
  ),
  unnest($3::vector[])
) AS f (
  id, status, quarantine_reason, category, subject, attribute, content, confidence, source,
  valid_from, valid_to, superseded_by, session_id, turns, message_ids, extractor, prompt_version,
  model, run_id, redactions, embedding
)
WHERE m.org_id = $1 AND m.id = f.id;

-- name: add_statements
-- $4, $5, $6 as in `insert`. Words of its own has a statement only where they are not the memory's.
-- What was known as an episode and is a fact, or a wish, is one from now on. The memories of those
-- that were not known so.
WITH said AS (
  SELECT *
  FROM ROWS FROM (
    jsonb_to_recordset($4::jsonb) AS (
      id uuid, memory_id uuid, category text, subject text, attribute text, content text,
      content_hash text, confidence float8, source text, said_from timestamptz, session_id uuid,
      turns int[], message_ids text[], extractor text, prompt_version text, model text,
      run_id text, redactions jsonb, tags text[]
    ),
    unnest($5::vector[])
  ) AS s (
    id, memory_id, category, subject, attribute, content, content_hash, confidence, source,
    said_from, session_id, turns, message_ids, extractor, prompt_version, model, run_id,
    redactions, tags, embedding
  )
), tag AS (
  INSERT INTO ibex_core.memory_tags (org_id, memory_id, tag)
  SELECT DISTINCT $1::uuid, m.id, t.tag
  FROM said s
  JOIN ibex_core.memories m ON m.org_id = $1 AND m.id = s.memory_id
  CROSS JOIN unnest(s.tags) AS t (tag)
  ON CONFLICT DO NOTHING
), added AS (
  INSERT INTO ibex_core.memory_statements (
    org_id, id, agent_id, user_id, memory_id, category, subject, attribute, content, content_hash,
    confidence, source, valid_from, session_id, turns, message_ids, extractor, prompt_version,
    model, run_id, redactions, embedding, embedding_model
  )
  SELECT DISTINCT ON (s.memory_id, s.content_hash, s.said_from, s.session_id)
    $1, s.id, $2, $3, s.memory_id, s.category, s.subject, s.attribute,
    CASE WHEN m.content_hash <> decode(s.content_hash, 'hex') THEN s.content END,
    decode(s.content_hash, 'hex'), s.confidence, s.source, s.said_from, s.session_id, s.turns,
    s.message_ids, s.extractor, s.prompt_version, s.model, s.run_id, s.redactions,
    CASE WHEN m.content_hash <> decode(s.content_hash, 'hex') THEN s.embedding END, $6
  FROM said s
  JOIN ibex_core.memories m ON m.org_id = $1 AND m.id = s.memory_id
  ORDER BY s.memory_id, s.content_hash, s.said_from, s.session_id,
    array_position(ARRAY['procedural', 'declarative', 'episodic'], s.category)
  ON CONFLICT (org_id, memory_id, content_hash, valid_from, session_id) DO UPDATE
  SET category = EXCLUDED.category, subject = EXCLUDED.subject, attribute = EXCLUDED.attribute
  WHERE array_position(ARRAY['procedural', 'declarative', 'episodic'], EXCLUDED.category)
    < array_position(ARRAY['procedural', 'declarative', 'episodic'], memory_statements.category)
  RETURNING memory_id
)
SELECT DISTINCT memory_id FROM added;

-- name: support
-- What these memories ($2) rest on, without the words.
SELECT s.memory_id, s.session_id, s.confidence, s.turns, s.message_ids,
  m.session_id AS own_session, m.confidence AS own_confidence, m.turns AS own_turns,
  m.message_ids AS own_message_ids
FROM ibex_core.memory_statements s
JOIN ibex_core.memories m ON m.org_id = $1 AND m.id = s.memory_id
WHERE s.org_id = $1 AND s.memory_id = ANY ($2::uuid[])
ORDER BY s.memory_id, s.valid_from, s.id;

-- name: change
-- $2: a JSON list with an object a memory; what is null there stays as it is. Where `ends` is true,
-- `valid_to` and `superseded_by` are taken as well. A version of each.
WITH new AS (
  SELECT *
  FROM jsonb_to_recordset($2::jsonb) AS n (
    id uuid, version_id uuid, change text, valid_from timestamptz, ends boolean,
    valid_to timestamptz, superseded_by uuid, confidence float8, turns int[], message_ids text[],
    run_id text
  )
), changed AS (
  UPDATE ibex_core.memories m
  SET valid_from = coalesce(n.valid_from, m.valid_from),
    valid_to = CASE WHEN n.ends THEN n.valid_to ELSE m.valid_to END,
    superseded_by = CASE WHEN n.ends THEN n.superseded_by ELSE m.superseded_by END,
    confidence = coalesce(n.confidence, m.confidence),
    turns = coalesce(n.turns, m.turns), message_ids = coalesce(n.message_ids, m.message_ids),
    version = m.version + 1, updated_at = now()
  FROM new n
  WHERE m.org_id = $1 AND m.id = n.id
  RETURNING
    m.id, m.agent_id, m.user_id, m.category, m.subject, m.attribute, m.confidence, m.usefulness,
    m.status, m.quarantine_reason, m.source, m.version, m.valid_from, m.valid_to, m.superseded_by, m.session_id,
    m.turns, m.message_ids, m.place, m.extractor, m.prompt_version, m.model, m.redactions,
    m.embedding_model, m.content
)
INSERT INTO ibex_core.memory_versions
  (org_id, id, memory_id, version, change, content, snapshot, run_id)
SELECT $1, n.version_id, c.id, c.version, n.change, c.content, to_jsonb(c) - 'content', n.run_id
FROM changed c
JOIN new n ON n.id = c.id;

-- name: keep_words
-- Before a memory ($2) takes the words with the hash $3: those that it had stay with who said them.
UPDATE ibex_core.memory_statements s
SET content = CASE WHEN s.content_hash <> $3 THEN m.content END,
  embedding = CASE WHEN s.content_hash <> $3 THEN m.embedding END,
  embedding_model = m.embedding_model
FROM ibex_core.memories m
WHERE s.org_id = $1 AND s.memory_id = $2 AND m.org_id = $1 AND m.id = $2
  AND (s.content IS NULL OR s.content_hash = $3);

-- name: reword
-- A memory ($2) takes the words of one of its statements; its version is `change`'s.
UPDATE ibex_core.memories
SET category = $3, subject = $4, attribute = $5, content = $6, content_hash = $7, source = $8,
  session_id = $9, turns = $10, message_ids = $11, extractor = $12, prompt_version = $13,
  model = $14, run_id = $15, redactions = $16, embedding = $17, embedding_model = $18
WHERE org_id = $1 AND id = $2;

-- name: release
-- What was said after the validity of these memories ($2) ended leaves them, where there is a
-- vector of the model $3.
DELETE FROM ibex_core.memory_statements s
USING ibex_core.memories m
WHERE s.org_id = $1 AND s.memory_id = ANY ($2::uuid[]) AND m.org_id = $1 AND m.id = s.memory_id
  AND s.valid_from >= m.valid_to
  AND CASE WHEN s.embedding IS NULL
        THEN ibex_core.vector_of(m.org_id, m.id, m.embedding_model, m.embedding, $3) IS NOT NULL
        ELSE s.embedding_model = $3 END
RETURNING s.memory_id, s.id, s.category, s.subject, s.attribute, coalesce(s.content, m.content)
  AS content, s.content_hash, s.confidence, s.source, s.valid_from, s.session_id, s.turns,
  s.message_ids, s.extractor, s.prompt_version, s.model, s.run_id, s.redactions,
  coalesce(
    s.embedding, ibex_core.vector_of(m.org_id, m.id, m.embedding_model, m.embedding, $3)
  ) AS embedding, m.status, m.quarantine_reason;

-- name: speechless
-- What those of these memories ($2) rest on whose words are none of their statements' any more;
-- $3: the model of the vectors.
SELECT s.memory_id, s.id, s.category, s.subject, s.attribute, s.content, s.content_hash,
  s.confidence, s.source, s.valid_from, s.session_id, s.turns, s.message_ids, s.extractor,
  s.prompt_version, s.model, s.run_id, s.redactions, s.embedding, m.status,
  m.quarantine_reason
FROM ibex_core.memory_statements s
JOIN ibex_core.memories m ON m.org_id = $1 AND m.id = s.memory_id
WHERE s.org_id = $1 AND s.memory_id = ANY ($2::uuid[]) AND s.content IS NOT NULL
  AND s.embedding_model = $3
  AND NOT EXISTS (
    SELECT FROM ibex_core.memory_statements own
    WHERE own.org_id = $1 AND own.memory_id = m.id AND own.content_hash = m.content_hash
  );

-- name: forget_known
-- Of what the memory $2 rests on, what the memory $3 rests on already.
DELETE FROM ibex_core.memory_statements s
USING ibex_core.memory_statements other
WHERE s.org_id = $1 AND s.memory_id = $2 AND other.org_id = $1 AND other.memory_id = $3
  AND other.content_hash = s.content_hash AND other.valid_from = s.valid_from
  AND other.session_id IS NOT DISTINCT FROM s.session_id;

-- name: hand_over
-- What the memory $2 rests on, the memory $3 rests on from now on: in words of its own, where they
-- are not that memory's.
UPDATE ibex_core.memory_statements s
SET memory_id = $3,
  content = CASE WHEN s.content_hash <> heir.content_hash
    THEN coalesce(s.content, owner.content) END,
  embedding = CASE WHEN s.content_hash <> heir.content_hash
    THEN coalesce(s.embedding, owner.embedding) END,
  embedding_model = CASE WHEN s.content IS NULL THEN owner.embedding_model
    ELSE s.embedding_model END
FROM ibex_core.memories owner, ibex_core.memories heir
WHERE s.org_id = $1 AND s.memory_id = $2 AND owner.org_id = $1 AND owner.id = $2
  AND heir.org_id = $1 AND heir.id = $3;

-- name: relate
-- $2: a JSON list with an object an edge. One that is there stays as it was, and what was decided
-- about two memories is not undecided again.
INSERT INTO ibex_core.memory_relationships (org_id, id, from_memory_id, to_memory_id, kind, reason)
SELECT $1, e.id, e.from_id, e.to_id, e.kind, e.reason
FROM jsonb_to_recordset($2::jsonb) AS e (id uuid, from_id uuid, to_id uuid, kind text, reason text)
WHERE EXISTS (SELECT FROM ibex_core.memories WHERE org_id = $1 AND id = e.from_id)
  AND (e.kind <> 'undecided' OR NOT EXISTS (
    SELECT FROM ibex_core.memory_relationships r
    WHERE r.org_id = $1 AND r.from_memory_id = e.from_id AND r.to_memory_id = e.to_id
  ))
ON CONFLICT DO NOTHING;
