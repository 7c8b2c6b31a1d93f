-- The pipeline's work as its operators see it: states, dead letters, runs. Ids, codes and times only.
-- A filter that is NULL does not filter; $2 is one agent wherever it stands.

-- name: counts
-- What waits is old since there was something to extract, however often it was tried.
SELECT count(*) FILTER (WHERE j.status = 'waiting') AS waiting,
  count(*) FILTER (WHERE j.status = 'leased') AS leased,
  count(*) FILTER (WHERE j.status = 'done') AS done,
  count(*) FILTER (WHERE j.status = 'dead') AS dead,
  min(j.queued_at) FILTER (WHERE j.status = 'waiting' AND s.status = 'completed')
    AS oldest_waiting_at
FROM ibex_core.extraction_jobs j
JOIN ibex_core.sessions s ON s.org_id = j.org_id AND s.id = j.session_id
WHERE j.org_id = $1 AND ($2::uuid IS NULL OR s.agent_id = $2);

-- name: dead_by_code
SELECT j.last_error AS code, count(*) AS sessions, min(j.updated_at) AS oldest_at
FROM ibex_core.extraction_jobs j
JOIN ibex_core.sessions s ON s.org_id = j.org_id AND s.id = j.session_id
WHERE j.org_id = $1 AND j.status = 'dead' AND ($2::uuid IS NULL OR s.agent_id = $2)
GROUP BY j.last_error
ORDER BY sessions DESC, code;

-- name: dead_letters
-- $3 with this error, $4 the cursor, $5 the page's size.
SELECT j.id, j.session_id, s.agent_id, a.name AS agent, s.external_id, j.status, j.attempts,
  j.last_error, j.available_at, j.queued_at, j.claimed_at, j.run_id, s.turn_count,
  s.last_extracted_turn, j.updated_at
FROM ibex_core.extraction_jobs j
JOIN ibex_core.sessions s ON s.org_id = j.org_id AND s.id = j.session_id
JOIN ibex_core.agents a ON a.org_id = s.org_id AND a.id = s.agent_id
WHERE j.org_id = $1 AND j.status = 'dead' AND ($2::uuid IS NULL OR s.agent_id = $2)
  AND ($3::text IS NULL OR j.last_error = $3) AND ($4::uuid IS NULL OR j.id < $4)
ORDER BY j.id DESC
LIMIT $5;

-- name: job
-- $2 the session.
SELECT j.id, j.session_id, s.agent_id, a.name AS agent, s.external_id, j.status, j.attempts,
  j.last_error, j.available_at, j.queued_at, j.claimed_at, j.run_id, s.turn_count,
  s.last_extracted_turn, j.updated_at
FROM ibex_core.extraction_jobs j
JOIN ibex_core.sessions s ON s.org_id = j.org_id AND s.id = j.session_id
JOIN ibex_core.agents a ON a.org_id = s.org_id AND a.id = s.agent_id
WHERE j.org_id = $1 AND j.session_id = $2;

-- name: failures
-- The latest that are not over: dead letters, and jobs that wait for another try. $3 how many.
SELECT j.session_id, j.status, j.attempts, j.last_error, j.available_at, j.updated_at
FROM ibex_core.extraction_jobs j
JOIN ibex_core.sessions s ON s.org_id = j.org_id AND s.id = j.session_id
WHERE j.org_id = $1 AND ($2::uuid IS NULL OR s.agent_id = $2)
  AND (j.status = 'dead' OR (j.status <> 'done' AND j.last_error IS NOT NULL))
ORDER BY j.updated_at DESC
LIMIT $3;

-- name: runs
-- What became of the sessions that the latest runs claimed, each session at the run that had it last;
-- of the latest $3 claims $4 runs. What waits without an error has new turns by now.
SELECT j.run_id, min(j.claimed_at) AS started_at,
  max(j.updated_at) FILTER (WHERE j.status <> 'leased') AS last_at,
  count(*) AS sessions,
  count(*) FILTER (WHERE j.status = 'leased') AS leased,
  count(*) FILTER (WHERE j.status = 'done' OR (j.status = 'waiting' AND j.last_error IS NULL)) AS done,
  count(*) FILTER (WHERE j.status = 'waiting' AND j.last_error IS NOT NULL) AS waiting,
  count(*) FILTER (WHERE j.status = 'dead') AS dead
FROM (
  SELECT e.run_id, e.claimed_at, e.updated_at, e.status, e.last_error
  FROM ibex_core.extraction_jobs e
  JOIN ibex_core.sessions s ON s.org_id = e.org_id AND s.id = e.session_id
  WHERE e.org_id = $1 AND e.claimed_at IS NOT NULL AND ($2::uuid IS NULL OR s.agent_id = $2)
  ORDER BY e.claimed_at DESC
  LIMIT $3
) j
GROUP BY j.run_id
ORDER BY max(j.claimed_at) DESC
LIMIT $4;
