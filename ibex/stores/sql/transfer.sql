-- Whole tables of an organization ($1) in and out. Out: of one agent ($2) or all, of one user ($3) or
-- all, in the order of the ids, read through a cursor; the columns are those of ibex/transfer/tables.py.

-- name: memories
SELECT m.id, a.name AS agent, u.external_id AS user, m.category, m.subject, m.attribute, m.content,
  m.confidence, m.usefulness, m.observed_usefulness, m.access_count, m.last_accessed_at, m.status,
  m.quarantine_reason, m.source, m.version, m.valid_from, m.valid_to, m.expires_at, m.superseded_by,
  m.session_id, m.turns, m.message_ids, m.place, m.extractor, m.prompt_version, m.model, m.run_id,
  m.redactions::text AS redactions,
  array(
    SELECT t.tag FROM ibex_core.memory_tags t
    WHERE t.org_id = $1 AND t.memory_id = m.id
    ORDER BY t.tag
  ) AS tags,
  coalesce((
    SELECT jsonb_agg(jsonb_build_object(
      'id', s.id, 'category', s.category, 'subject', s.subject, 'attribute', s.attribute,
      'content', s.content, 'confidence', s.confidence, 'source', s.source,
      'valid_from', s.valid_from, 'session_id', s.session_id,
      'turns', s.turns, 'message_ids', s.message_ids, 'extractor', s.extractor,
      'prompt_version', s.prompt_version, 'model', s.model, 'run_id', s.run_id,
      'redactions', s.redactions
    ) ORDER BY s.valid_from, s.id)
    FROM ibex_core.memory_statements s
    WHERE s.org_id = $1 AND s.memory_id = m.id
  ), '[]')::text AS statements,
  coalesce((
    SELECT jsonb_agg(jsonb_build_object('to', r.to_memory_id, 'kind', r.kind, 'reason', r.reason)
      ORDER BY r.to_memory_id, r.kind)
    FROM ibex_core.memory_relationships r
    WHERE r.org_id = $1 AND r.from_memory_id = m.id
  ), '[]')::text AS edges,
  m.embedding_model, m.created_at, m.updated_at, m.embedding
FROM ibex_core.memories m
JOIN ibex_core.agents a ON a.org_id = $1 AND a.id = m.agent_id
LEFT JOIN ibex_core.users u ON u.org_id = $1 AND u.id = m.user_id
WHERE m.org_id = $1 AND ($2::uuid IS NULL OR m.agent_id = $2) AND ($3::uuid IS NULL OR m.user_id = $3)
ORDER BY m.id;

-- name: sessions
-- `kept` is false where a turn's content stands in the archive only.
SELECT s.id, a.name AS agent, u.external_id AS user, s.external_id, s.status, s.origin, s.turn_count,
  s.message_count, t.prompt_tokens, t.completion_tokens, coalesce(t.models, '{}') AS models,
  s.started_at, s.last_turn_at, s.completed_at, coalesce(t.turns, '[]')::text AS turns,
  coalesce(t.kept, true) AS kept
FROM ibex_core.sessions s
JOIN ibex_core.agents a ON a.org_id = $1 AND a.id = s.agent_id
LEFT JOIN ibex_core.users u ON u.org_id = $1 AND u.id = s.user_id
LEFT JOIN LATERAL (
  SELECT sum(t.prompt_tokens)::bigint AS prompt_tokens,
    sum(t.completion_tokens)::bigint AS completion_tokens,
    array_agg(DISTINCT t.model ORDER BY t.model) AS models,
    bool_and(t.messages IS NOT NULL) AS kept,
    jsonb_agg(jsonb_build_object(
      'number', t.number, 'request_id', t.request_id, 'messages', t.messages,
      'response', t.response, 'model', t.model, 'finish_reason', t.finish_reason,
      'complete', t.complete, 'prompt_tokens', t.prompt_tokens,
      'completion_tokens', t.completion_tokens,
      'started_at', t.started_at,
      'created_at', t.created_at
    ) ORDER BY t.number) AS turns
  FROM ibex_core.session_turns t
  WHERE t.org_id = $1 AND t.session_id = s.id
) t ON true
WHERE s.org_id = $1 AND ($2::uuid IS NULL OR s.agent_id = $2) AND ($3::uuid IS NULL OR s.user_id = $3)
ORDER BY s.id;

-- name: injections
SELECT i.request_id, i.created_at, a.name AS agent, u.external_id AS user, i.session_id,
  i.directive_version, i.memories, i.observations
FROM ibex_core.context_injections i
JOIN ibex_core.sessions s ON s.org_id = $1 AND s.id = i.session_id
JOIN ibex_core.agents a ON a.org_id = $1 AND a.id = i.agent_id
LEFT JOIN ibex_core.users u ON u.org_id = $1 AND u.id = s.user_id
WHERE i.org_id = $1 AND ($2::uuid IS NULL OR i.agent_id = $2) AND ($3::uuid IS NULL OR s.user_id = $3)
ORDER BY i.id;

-- name: count_memories
SELECT count(*) FROM ibex_core.memories
WHERE org_id = $1 AND ($2::uuid IS NULL OR agent_id = $2) AND ($3::uuid IS NULL OR user_id = $3);

-- name: count_sessions
SELECT count(*) FROM ibex_core.sessions
WHERE org_id = $1 AND ($2::uuid IS NULL OR agent_id = $2) AND ($3::uuid IS NULL OR user_id = $3);

-- name: count_injections
-- Requests: how many memories they were given is known when they are read.
SELECT count(*) FROM ibex_core.context_injections i
JOIN ibex_core.sessions s ON s.org_id = $1 AND s.id = i.session_id
WHERE i.org_id = $1 AND ($2::uuid IS NULL OR i.agent_id = $2) AND ($3::uuid IS NULL OR s.user_id = $3);

-- name: known
-- Those of these memories ($2) that are there, and the hashes of their words.
SELECT id, content_hash FROM ibex_core.memories WHERE org_id = $1 AND id = ANY ($2::uuid[]);

-- name: known_words
-- Who says in force what memories of these agents ($2), users ($3) and words ($4) would say.
SELECT w.place::int AS place, m.id
FROM unnest($2::uuid[], $3::uuid[], $4::bytea[])
  WITH ORDINALITY AS w (agent_id, user_id, content_hash, place)
CROSS JOIN LATERAL (
  SELECT m.id FROM ibex_core.memories m
  WHERE m.org_id = $1 AND m.agent_id = w.agent_id
    AND (m.user_id = w.user_id OR (m.user_id IS NULL AND w.user_id IS NULL))
    AND m.content_hash = w.content_hash AND m.valid_to IS NULL
  LIMIT 1
) m;

-- name: erased
SELECT id FROM ibex_core.tombstones WHERE org_id = $1 AND id = ANY ($2::uuid[]);

-- name: sessions_there
SELECT id FROM ibex_core.sessions WHERE org_id = $1 AND id = ANY ($2::uuid[]);

-- name: add_memories
-- $2: a JSON list with an object a memory; $3: their embeddings, in the same order; $4: the model that
-- made them. The memories, a version and the tags of each; the ids of those that are new.
WITH incoming AS (
  SELECT *
  FROM ROWS FROM (
    jsonb_to_recordset($2::jsonb) AS (
      id uuid, version_id uuid, agent_id uuid, user_id uuid, category text, subject text,
      attribute text, content text, content_hash text, confidence float8, usefulness float8,
      observed_usefulness float8, access_count int, last_accessed_at timestamptz, status text,
      quarantine_reason text, source text, version int, valid_from timestamptz,
      valid_to timestamptz, expires_at timestamptz, superseded_by uuid, session_id uuid,
      turns int[], message_ids text[], place int, extractor text, prompt_version text, model text,
      run_id text, redactions jsonb, tags text[], created_at timestamptz, updated_at timestamptz
    ),
    unnest($3::vector[])
  ) AS m (
    id, version_id, agent_id, user_id, category, subject, attribute, content, content_hash,
    confidence, usefulness, observed_usefulness, access_count, last_accessed_at, status,
    quarantine_reason, source, version, valid_from, valid_to, expires_at, superseded_by, session_id,
    turns, message_ids, place, extractor, prompt_version, model, run_id, redactions, tags,
    created_at, updated_at, embedding
  )
), created AS (
  INSERT INTO ibex_core.memories (
    org_id, id, agent_id, user_id, category, subject, attribute, content, content_hash, confidence,
    usefulness, observed_usefulness, access_count, last_accessed_at, status, quarantine_reason,
    source, version, valid_from, valid_to, expires_at, superseded_by, session_id, turns,
    message_ids, place, extractor, prompt_version, model, run_id, redactions, embedding,
    embedding_model, created_at, updated_at
  )
  SELECT $1, id, agent_id, user_id, category, subject, attribute, content,
    decode(content_hash, 'hex'), confidence, usefulness, observed_usefulness, access_count,
    last_accessed_at, status, quarantine_reason, source, version, valid_from, valid_to, expires_at,
    superseded_by, session_id, turns, message_ids, place, extractor, prompt_version, model, run_id,
    redactions, embedding, $4, created_at, updated_at
  FROM incoming
  ON CONFLICT DO NOTHING
  RETURNING
    id, agent_id, user_id, category, subject, attribute, content, confidence, usefulness, status,
    quarantine_reason, source, version, valid_from, valid_to, superseded_by, session_id, turns,
    message_ids, place, extractor, prompt_version, model, redactions, embedding_model
), version AS (
  INSERT INTO ibex_core.memory_versions
    (org_id, id, memory_id, version, change, content, snapshot, run_id)
  SELECT $1, i.version_id, c.id, c.version, 'imported', c.content, to_jsonb(c) - 'content', i.run_id
  FROM created c
  JOIN incoming i ON i.id = c.id
), tag AS (
  INSERT INTO ibex_core.memory_tags (org_id, memory_id, tag)
  SELECT $1, c.id, t.tag
  FROM created c
  JOIN incoming i ON i.id = c.id
  CROSS JOIN unnest(i.tags) AS t (tag)
)
SELECT id FROM created;

-- name: add_said
-- What memories rest on; $3: embeddings, of words of its own only; $4: the model that made them.
INSERT INTO ibex_core.memory_statements (
  org_id, id, agent_id, user_id, memory_id, category, subject, attribute, content, content_hash,
  confidence, source, valid_from, session_id, turns, message_ids, extractor, prompt_version, model,
  run_id, redactions, embedding, embedding_model
)
SELECT $1, id, agent_id, user_id, memory_id, category, subject, attribute, content,
  decode(content_hash, 'hex'), confidence, source, valid_from, session_id, turns, message_ids,
  extractor, prompt_version, model, run_id, redactions, embedding, $4
FROM ROWS FROM (
  jsonb_to_recordset($2::jsonb) AS (
    id uuid, agent_id uuid, user_id uuid, memory_id uuid, category text, subject text,
    attribute text, content text, content_hash text, confidence float8, source text,
    valid_from timestamptz, session_id uuid, turns int[], message_ids text[], extractor text,
    prompt_version text, model text, run_id text, redactions jsonb
  ),
  unnest($3::vector[])
) AS s (
  id, agent_id, user_id, memory_id, category, subject, attribute, content, content_hash, confidence,
  source, valid_from, session_id, turns, message_ids, extractor, prompt_version, model, run_id,
  redactions, embedding
)
ON CONFLICT DO NOTHING;

-- name: add_edges
-- $2: a JSON list with an object an edge; between memories that are there.
INSERT INTO ibex_core.memory_relationships (org_id, id, from_memory_id, to_memory_id, kind, reason)
SELECT $1, e.id, e.from_id, e.to_id, e.kind, e.reason
FROM jsonb_to_recordset($2::jsonb) AS e (id uuid, from_id uuid, to_id uuid, kind text, reason text)
JOIN ibex_core.memories f ON f.org_id = $1 AND f.id = e.from_id
JOIN ibex_core.memories t ON t.org_id = $1 AND t.id = e.to_id
WHERE e.from_id <> e.to_id
ON CONFLICT DO NOTHING;

-- name: follow
-- Memories whose successor is known here by another id: $2 the file's, $3 ours.
UPDATE ibex_core.memories m
SET superseded_by = x.ours
FROM unnest($2::uuid[], $3::uuid[]) AS x (theirs, ours)
WHERE m.org_id = $1 AND m.superseded_by = x.theirs AND m.id <> x.ours;
