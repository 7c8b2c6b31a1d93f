-- What checks look at, in samples, and what they found. Each within one organization.

-- name: organizations
-- Runs as ibex_system. Those that the check $1 has not looked at for longest come first.
SELECT o.id
FROM ibex_core.organizations o
LEFT JOIN ibex_core.check_results r ON r.org_id = o.id AND r.check_name = $1
GROUP BY o.id
ORDER BY max(r.checked_at) NULLS FIRST, o.id;

-- name: newest
-- The newest $2 memories; $3: only those that are believed.
SELECT id
FROM ibex_core.memories
WHERE org_id = $1 AND (NOT $3::boolean OR (status = 'active' AND valid_to IS NULL))
ORDER BY id DESC
LIMIT $2;

-- name: oldest
SELECT id FROM ibex_core.memories WHERE org_id = $1 ORDER BY id LIMIT 1;

-- name: scattered
-- From each of the places $2 on, $4 memories; $3 as above.
SELECT DISTINCT m.id
FROM unnest($2::uuid[]) AS place (id)
CROSS JOIN LATERAL (
  SELECT id
  FROM ibex_core.memories
  WHERE org_id = $1 AND id >= place.id
    AND (NOT $3::boolean OR (status = 'active' AND valid_to IS NULL))
  ORDER BY id
  LIMIT $4
) m;

-- name: words
-- Everything that these memories ($2) say, by their own words and those of their statements.
SELECT m.id, m.agent_id, m.session_id, m.source, m.content, m.subject, m.attribute,
  ARRAY(
    SELECT s.content FROM ibex_core.memory_statements s
    WHERE s.org_id = $1 AND s.memory_id = m.id AND s.content IS NOT NULL
    UNION ALL
    SELECT t.tag FROM ibex_core.memory_tags t WHERE t.org_id = $1 AND t.memory_id = m.id
  ) AS others
FROM ibex_core.memories m
WHERE m.org_id = $1 AND m.id = ANY ($2::uuid[]);

-- name: directives
-- Of these agents, the words in force.
SELECT d.agent_id, v.content
FROM ibex_core.directives d
JOIN ibex_core.directive_versions v
  ON v.org_id = $1 AND v.directive_id = d.id AND v.version = d.current_version
WHERE d.org_id = $1 AND d.agent_id = ANY ($2::uuid[]);

-- name: given
-- What the requests of these sessions ($2) were given.
SELECT given.session_id, given.memory_id, v.content
FROM (
  SELECT DISTINCT i.session_id, one.memory_id, one.version
  FROM ibex_core.context_injections i
  CROSS JOIN LATERAL jsonb_to_recordset(i.memories) AS one (memory_id uuid, version int)
  WHERE i.org_id = $1 AND i.session_id = ANY ($2::uuid[])
) given
JOIN ibex_core.memory_versions v
  ON v.org_id = $1 AND v.memory_id = given.memory_id AND v.version = given.version;

-- name: doubles
-- Of these memories ($2) and older ones of the same agent and user, pairs with a cosine above $4 of the
-- model $3, the nearest 1,000. Episodes are left out, as where they are written. An agent's memories
-- are read once, however many are asked for.
WITH asked AS MATERIALIZED (
  SELECT m.id, m.agent_id, m.user_id, m.content, m.category, m.subject, m.attribute, m.confidence,
    m.valid_from,
    ibex_core.vector_of(m.org_id, m.id, m.embedding_model, m.embedding, $3) AS embedding
  FROM ibex_core.memories m
  WHERE m.org_id = $1 AND m.id = ANY ($2::uuid[]) AND m.category <> 'episodic'
), own AS (
  SELECT m.id, m.agent_id, m.user_id,
    ibex_core.vector_of(m.org_id, m.id, m.embedding_model, m.embedding, $3) AS embedding
  FROM ibex_core.memories m
  WHERE m.org_id = $1 AND m.agent_id IN (SELECT agent_id FROM asked)
    AND m.status = 'active' AND m.valid_to IS NULL AND m.category <> 'episodic'
  OFFSET 0
), pairs AS (
  SELECT a.id AS newer_id, o.id AS older_id, -(o.embedding <#> a.embedding) AS cosine
  FROM own o
  JOIN asked a ON a.agent_id = o.agent_id AND a.user_id IS NOT DISTINCT FROM o.user_id
    AND o.id < a.id
  WHERE o.embedding <#> a.embedding < -$4::float8
  ORDER BY cosine DESC
  LIMIT 1000
)
SELECT a.id, a.content, a.category, a.subject, a.attribute, a.confidence, a.valid_from,
  o.content AS o_content, o.category AS o_category, o.subject AS o_subject,
  o.attribute AS o_attribute, o.confidence AS o_confidence, o.valid_from AS o_valid_from, p.cosine
FROM pairs p
JOIN asked a ON a.id = p.newer_id
JOIN ibex_core.memories o ON o.org_id = $1 AND o.id = p.older_id;

-- name: orphans
-- Of these memories ($2), what is missing behind each; NULL for what is there.
SELECT m.id,
  m.session_id IS NULL AND m.turns <> '{}' AS no_session,
  m.session_id IS NOT NULL AND EXISTS (
    SELECT FROM unnest(m.turns) AS named (number)
    WHERE NOT EXISTS (
      SELECT FROM ibex_core.session_turns t
      WHERE t.org_id = $1 AND t.session_id = m.session_id AND t.number = named.number
    )
  ) AS no_turn,
  -- One that was in force at no time rests on nothing: what it rested on is another's by now.
  (m.valid_to IS NULL OR m.valid_to > m.valid_from) AND NOT EXISTS (
    SELECT FROM ibex_core.memory_statements s WHERE s.org_id = $1 AND s.memory_id = m.id
  ) AS no_statement,
  NOT EXISTS (
    SELECT FROM ibex_core.memory_versions v
    WHERE v.org_id = $1 AND v.memory_id = m.id AND v.version = m.version
  ) AS no_version,
  m.extractor = '' OR m.prompt_version = '' OR m.model = ''
    OR (m.session_id IS NOT NULL AND m.run_id IS NULL) AS no_maker
FROM ibex_core.memories m
WHERE m.org_id = $1 AND m.id = ANY ($2::uuid[]);

-- name: lengths
-- Of these memories ($2), the length of the vector of the model $3; NULL: there is none.
SELECT m.id,
  vector_norm(ibex_core.vector_of(m.org_id, m.id, m.embedding_model, m.embedding, $3)) AS length
FROM ibex_core.memories m
WHERE m.org_id = $1 AND m.id = ANY ($2::uuid[]);

-- name: owners
-- At most $3 of those with a turn since $2, and of the agents.
SELECT agent_id, user_id
FROM (
  SELECT DISTINCT agent_id, user_id
  FROM ibex_core.sessions
  WHERE org_id = $1 AND last_turn_at > $2 AND user_id IS NOT NULL
  UNION
  SELECT DISTINCT agent_id, NULL::uuid
  FROM ibex_core.sessions
  WHERE org_id = $1 AND last_turn_at > $2
) owner
ORDER BY random()
LIMIT $3;

-- name: archives
-- $2 sessions of the manifest: the newest half, and others. Not those that are being archived: the
-- object is then one of two.
WITH archived AS MATERIALIZED (
  SELECT f.session_id, f.id
  FROM ibex_core.archive_files f
  WHERE f.org_id = $1 AND f.kind = 'session' AND f.session_id IS NOT NULL AND NOT EXISTS (
    SELECT FROM ibex_core.archive_uploads u
    WHERE u.org_id = $1 AND u.session_id = f.session_id
  )
)
(SELECT session_id FROM archived ORDER BY id DESC LIMIT ($2 + 1) / 2)
UNION
(SELECT session_id FROM archived ORDER BY random() LIMIT $2 / 2);

-- name: archive
SELECT f.bucket, f.key, f.bytes, f.rows, f.sha256
FROM ibex_core.archive_files f
WHERE f.org_id = $1 AND f.kind = 'session' AND f.session_id = $2 AND NOT EXISTS (
  SELECT FROM ibex_core.archive_uploads u WHERE u.org_id = $1 AND u.session_id = $2
)
ORDER BY f.created_at DESC
LIMIT 1;

-- name: checkpoints
-- The first $3 of a session.
SELECT number, request_id, chain_hash
FROM ibex_core.session_turns
WHERE org_id = $1 AND session_id = $2 AND number <= $3
ORDER BY number;

-- name: dead_letters
SELECT coalesce(last_error, 'unknown') AS code, count(*) AS sessions,
  (array_agg(session_id ORDER BY updated_at DESC))[1:20] AS newest
FROM ibex_core.extraction_jobs
WHERE org_id = $1 AND status = 'dead'
GROUP BY 1
ORDER BY sessions DESC;

-- name: extraction_waits
SELECT count(*) AS waiting, extract(epoch FROM now() - min(j.available_at))::float8 AS seconds,
  (array_agg(j.session_id ORDER BY j.available_at))[1:20] AS first
FROM ibex_core.extraction_jobs j
JOIN ibex_core.sessions s ON s.org_id = $1 AND s.id = j.session_id
WHERE j.org_id = $1 AND j.status IN ('waiting', 'leased') AND j.available_at <= now()
  AND (j.status = 'waiting' OR j.lease_until <= now()) AND s.status = 'completed';

-- name: archiving_waits
SELECT count(*) AS waiting, extract(epoch FROM now() - min(completed_at))::float8 AS seconds,
  (array_agg(id ORDER BY completed_at))[1:20] AS first
FROM ibex_core.sessions
WHERE org_id = $1 AND status = 'completed' AND archived_turn < turn_count;

-- name: answers_wait
SELECT count(*) AS waiting, extract(epoch FROM now() - min(created_at))::float8 AS seconds,
  (array_agg(session_id ORDER BY created_at))[1:20] AS first
FROM ibex_core.context_injections
WHERE org_id = $1 AND observed_at IS NULL AND memories <> '[]';

-- name: last_result
SELECT id, passed
FROM ibex_core.check_results
WHERE org_id = $1 AND check_name = $2
ORDER BY id DESC
LIMIT 1
FOR UPDATE;

-- name: add_result
INSERT INTO ibex_core.check_results
  (org_id, id, check_name, passed, severity, looked_at, value, threshold, found, examples, error,
   run_id, since, checked_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13);

-- name: renew_result
UPDATE ibex_core.check_results
SET passed = $4, severity = $5, looked_at = $6, value = $7, threshold = $8, found = $9,
  examples = $10, error = $11, run_id = $12, checked_at = $13
WHERE org_id = $1 AND id = $2 AND check_name = $3;

-- name: forget_results
-- Of the check $2, those that ended before $3; never the last one.
DELETE FROM ibex_core.check_results r
WHERE r.org_id = $1 AND r.check_name = $2 AND r.checked_at < $3 AND EXISTS (
  SELECT FROM ibex_core.check_results later
  WHERE later.org_id = $1 AND later.check_name = $2 AND later.id > r.id
);

-- name: latest
-- Of each check, what was found last.
SELECT DISTINCT ON (check_name) id, check_name, passed, severity, looked_at, value, threshold, found,
  examples, error, run_id, since, checked_at
FROM ibex_core.check_results
WHERE org_id = $1
ORDER BY check_name, id DESC;

-- name: results
-- Of the check $2 (NULL: of all), newest first; $3 the cursor, $4 the page's size.
SELECT id, check_name, passed, severity, looked_at, value, threshold, found, examples, error,
  run_id, since, checked_at
FROM ibex_core.check_results
WHERE org_id = $1 AND ($2::text IS NULL OR check_name = $2) AND ($3::uuid IS NULL OR id < $3)
ORDER BY id DESC
LIMIT $4;
