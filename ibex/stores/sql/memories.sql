-- Recall: the memories one request may see. Always the organization and the agent, and of the
-- users' memories only those of the one user ($3, NULL: none); active, and believed now. A memory's
-- vector is that of the model which is served: its row's own, or the one that lies beside it while
-- models are exchanged (ibex/stores/embeddings.py), or NULL; `vector_of` decides.

-- name: search
-- Exact search by meaning and by words in one pass over one agent's rows, through the
-- (org_id, agent_id) index. Materialised, so that no approximate index can come between, whose
-- filter would lose rows; the GIN index is of no use, for `@@` is not leakproof under row-level
-- security.
-- $4: the question; $5: its vector, NULL: words only; $6: how many by each; $7: the model.
-- `lexical` is the share of the question's words that a memory has, in [0, 1]: ts_rank with equal
-- weights is the mean over the words of an OR query, and a single occurrence counts 6/pi^2. Of a
-- long question, five words are as good as all. An episode of a session in which something was found
-- gets 0.3 ($8) of what its neighbours have (ibex/memory/threads.py), $9 to either side.
WITH asked AS MATERIALIZED (
  SELECT
    string_agg(
      '''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''', ' | '
    )::tsquery AS words,
    count(*)::float8 / greatest(1, least(5, count(*))) / 0.6079271 AS one
  FROM unnest(to_tsvector('english', $4))
),
own AS MATERIALIZED (
  SELECT id, CASE WHEN place IS NOT NULL THEN session_id END AS session_id, place, user_id,
    ibex_core.vector_of(m.org_id, m.id, m.embedding_model, m.embedding, $7) <=> $5 AS distance,
    CASE WHEN search @@ (SELECT words FROM asked)
      THEN ts_rank('{1,1,1,1}', search, (SELECT words FROM asked))
    END AS rank
  FROM ibex_core.memories m
  WHERE org_id = $1 AND agent_id = $2 AND (user_id IS NULL OR user_id = $3)
    AND status = 'active' AND valid_to IS NULL
    AND (expires_at IS NULL OR expires_at > now())
),
nearest AS MATERIALIZED (
  SELECT id, session_id, rank FROM own WHERE distance IS NOT NULL ORDER BY distance, id LIMIT $6
),
worded AS MATERIALIZED (
  SELECT id, session_id, rank FROM own WHERE rank IS NOT NULL ORDER BY rank DESC, id LIMIT $6
),
threads AS MATERIALIZED (
  SELECT id, coalesce(rank, 0) + $8::float8 * coalesce(sum(rank) OVER around, 0) AS rank
  FROM own
  WHERE session_id IN (SELECT session_id FROM nearest UNION SELECT session_id FROM worded)
  WINDOW around AS (
    PARTITION BY session_id, user_id ORDER BY place, id
    ROWS BETWEEN $9::int PRECEDING AND $9::int FOLLOWING EXCLUDE CURRENT ROW
  )
),
found AS (
  (SELECT id, coalesce(threads.rank, nearest.rank) AS rank FROM nearest LEFT JOIN threads USING (id))
  UNION
  (
    SELECT id, rank
    FROM (
      SELECT id, rank FROM threads WHERE rank > 0
      UNION ALL
      SELECT id, rank FROM worded WHERE session_id IS NULL
    ) met
    ORDER BY rank DESC, id LIMIT $6
  )
)
SELECT m.id, m.version, m.category, m.content, m.confidence, m.usefulness, m.access_count,
  m.valid_from,
  ibex_core.vector_of(m.org_id, m.id, m.embedding_model, m.embedding, $7) AS embedding,
  least(1, coalesce(found.rank, 0) * asked.one)::float8 AS lexical
FROM found
JOIN ibex_core.memories m ON m.org_id = $1 AND m.id = found.id
CROSS JOIN asked;

-- name: hot
-- The $4 best by the composite score without relevance, of one user's memories ($3; NULL: of the
-- agent's own).
-- Weights ($5 recency, $6 usefulness, $7 confidence, $8 access frequency), half-lives in days ($9
-- procedural, $10 declarative, $11 episodic) and the accesses that count as 1 ($12) come from
-- ibex/memory/scoring.py, the one place that decides them. $13: now; $14: the model.
-- None that expires: a list does not know the time.
SELECT m.id, m.version, m.category, m.content, m.confidence, m.usefulness, m.access_count,
  m.valid_from,
  ibex_core.vector_of(m.org_id, m.id, m.embedding_model, m.embedding, $14) AS embedding
FROM ibex_core.memories m
WHERE org_id = $1 AND agent_id = $2
  AND (user_id = $3 OR (user_id IS NULL AND $3 IS NULL))
  AND status = 'active' AND valid_to IS NULL AND expires_at IS NULL
ORDER BY
  $5::float8 * power(0.5, greatest(0, extract(epoch FROM $13 - valid_from)::float8 / 86400)
    / CASE category WHEN 'procedural' THEN $9::float8
                    WHEN 'declarative' THEN $10::float8
                    ELSE $11::float8 END)
  + $6::float8 * usefulness
  + $7::float8 * confidence
  + $8::float8 * least(1, ln(1 + access_count) / ln(1 + $12::float8)) DESC, id
LIMIT $4;

-- name: in_force
-- Of these memories ($4), those that may be seen. $5: the model.
SELECT m.id, m.version, m.category, m.content, m.confidence, m.usefulness, m.access_count,
  m.valid_from,
  ibex_core.vector_of(m.org_id, m.id, m.embedding_model, m.embedding, $5) AS embedding
FROM ibex_core.memories m
WHERE org_id = $1 AND id = ANY ($4::uuid[]) AND agent_id = $2 AND (user_id IS NULL OR user_id = $3)
  AND status = 'active' AND valid_to IS NULL
  AND (expires_at IS NULL OR expires_at > now());
