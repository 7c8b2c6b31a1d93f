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
