-- The pipeline's work: claims of completed sessions, their leases, their outcome.
-- A leased job's available_at is the end of its lease, so one index finds all that is claimable.

-- name: waiting_work
-- Runs as ibex_system. What a run would find: sessions to extract and sessions to archive.
SELECT
  (
    SELECT count(*)
    FROM ibex_core.extraction_jobs j
    JOIN ibex_core.sessions s ON s.org_id = j.org_id AND s.id = j.session_id
    WHERE j.status IN ('waiting', 'leased') AND j.available_at <= now()
      AND (j.status = 'waiting' OR j.lease_until <= now()) AND s.status = 'completed'
  ) AS claimable,
  (
    SELECT count(*)
    FROM ibex_core.sessions s
    LEFT JOIN ibex_core.archive_uploads u ON u.org_id = s.org_id AND u.session_id = s.id
    WHERE s.status = 'completed' AND s.archived_turn < s.turn_count
      AND (u.session_id IS NULL
        OR (u.available_at <= now() AND (u.lease_until IS NULL OR u.lease_until <= now())))
  ) AS unarchived;

-- name: expired
-- Runs as ibex_system. Claims that ended without a word on the last try ($1).
SELECT org_id, session_id, lease_owner AS owner, attempts AS attempt
FROM ibex_core.extraction_jobs
WHERE status = 'leased' AND available_at <= now() AND lease_until <= now() AND attempts >= $1
FOR UPDATE SKIP LOCKED;

-- name: claim
-- Runs as ibex_system. $1 owner, $2 how many, $3 lease. Skips what others claim at this moment.
WITH ready AS (
  SELECT j.org_id, j.id, s.agent_id, s.user_id, s.last_extracted_turn, s.turn_count, s.origin
  FROM ibex_core.extraction_jobs j
  JOIN ibex_core.sessions s ON s.org_id = j.org_id AND s.id = j.session_id
  WHERE j.status IN ('waiting', 'leased') AND j.available_at <= now()
    AND (j.status = 'waiting' OR j.lease_until <= now()) AND s.status = 'completed'
  ORDER BY j.available_at
  LIMIT $2
  FOR UPDATE OF j SKIP LOCKED
)
UPDATE ibex_core.extraction_jobs j
SET status = 'leased', attempts = j.attempts + 1, lease_owner = $1, lease_until = now() + $3,
  available_at = now() + $3, claimed_at = now(), claimed_turn = r.turn_count, run_id = $1,
  updated_at = now()
FROM ready r
WHERE j.org_id = r.org_id AND j.id = r.id
RETURNING
  j.org_id, j.session_id, j.attempts, r.agent_id, r.user_id, r.last_extracted_turn, r.turn_count,
  r.origin, j.deferrals, j.last_error;

-- name: renew
-- Runs as ibex_system. $1 owner, $2 lease. Also one that is over, as long as nobody claimed it.
UPDATE ibex_core.extraction_jobs
SET lease_until = now() + $2, available_at = now() + $2
WHERE status = 'leased' AND lease_owner = $1;

-- name: held
-- Runs as ibex_system.
SELECT org_id, session_id, lease_owner AS owner, attempts AS attempt
FROM ibex_core.extraction_jobs
WHERE status = 'leased' AND lease_owner = $1
FOR UPDATE;

-- name: give_back
-- Claims that came to nothing: $1 organizations, $2 sessions, $3 owners, $4 tries and $5 waits, in
-- step; $6 tries at most, $7 error code. Turns that came since the claim have tries of their own, so
-- a session with such turns is no dead letter yet. Runs as the tenant or as ibex_system.
UPDATE ibex_core.extraction_jobs j
SET status = CASE WHEN j.attempts < $6 OR s.turn_count > j.claimed_turn THEN 'waiting' ELSE 'dead' END,
  attempts = CASE WHEN j.attempts >= $6 AND s.turn_count > j.claimed_turn THEN 0 ELSE j.attempts END,
  available_at = now() + g.delay, lease_until = NULL, lease_owner = NULL, last_error = $7,
  updated_at = now()
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::integer[], $5::interval[])
  AS g (org_id, session_id, owner, attempt, delay)
JOIN ibex_core.sessions s ON s.org_id = g.org_id AND s.id = g.session_id
WHERE j.org_id = g.org_id AND j.session_id = g.session_id AND j.status = 'leased'
  AND j.lease_owner = g.owner AND j.attempts = g.attempt
RETURNING j.session_id, j.status;

-- name: holds_lease
-- Runs as ibex_system.
SELECT EXISTS (
  SELECT FROM ibex_core.extraction_jobs
  WHERE status = 'leased' AND lease_owner = $1 AND lease_until > now()
);

-- name: lock_session
-- Before the job: completing a session takes the two locks in this order too.
SELECT status, turn_count
FROM ibex_core.sessions
WHERE org_id = $1 AND id = $2
FOR UPDATE;

-- name: settle
-- Only whoever holds the claim: $3 owner, $4 its try. $5: is there more to extract already?
-- A lease that is over but has not been claimed by another still counts.
UPDATE ibex_core.extraction_jobs
SET status = CASE WHEN $5 THEN 'waiting' ELSE 'done' END,
  attempts = CASE WHEN $5 THEN 0 ELSE attempts END, deferrals = 0, deferred_since = NULL,
  available_at = now(), lease_until = NULL, lease_owner = NULL, last_error = NULL,
  queued_at = CASE WHEN $5 THEN now() ELSE queued_at END, updated_at = now()
WHERE org_id = $1 AND session_id = $2 AND status = 'leased' AND lease_owner = $3 AND attempts = $4;

-- name: move_extracted
UPDATE ibex_core.sessions
SET last_extracted_turn = greatest(last_extracted_turn, $3)
WHERE org_id = $1 AND id = $2;

-- name: defer
-- $3 owner, $4 its try, $5 error code, $6 wait, $7 how long tries may go uncounted.
UPDATE ibex_core.extraction_jobs
SET status = 'waiting', attempts = attempts - 1, deferrals = deferrals + 1,
  deferred_since = coalesce(deferred_since, now()), available_at = now() + $6,
  lease_until = NULL, lease_owner = NULL, last_error = $5, updated_at = now()
WHERE org_id = $1 AND session_id = $2 AND status = 'leased' AND lease_owner = $3 AND attempts = $4
  AND coalesce(deferred_since, now()) >= now() - $7::interval;

-- name: requeue
-- $2 of this agent, $3 of this session, $4 with this error; NULL: any.
UPDATE ibex_core.extraction_jobs j
SET status = 'waiting', attempts = 0, deferrals = 0, deferred_since = NULL, available_at = now(),
  queued_at = now(), updated_at = now()
FROM ibex_core.sessions s
WHERE j.org_id = $1 AND j.status = 'dead' AND s.org_id = j.org_id AND s.id = j.session_id
  AND ($2::uuid IS NULL OR s.agent_id = $2) AND ($3::uuid IS NULL OR j.session_id = $3)
  AND ($4::text IS NULL OR j.last_error = $4);

-- name: retry
-- A dead letter begins anew; what waits for another try does not wait any longer.
UPDATE ibex_core.extraction_jobs
SET status = 'waiting', attempts = 0, deferrals = 0, deferred_since = NULL, available_at = now(),
  updated_at = now(), queued_at = CASE WHEN status = 'dead' THEN now() ELSE queued_at END
WHERE org_id = $1 AND session_id = $2 AND status IN ('dead', 'waiting');

-- name: job_status
SELECT s.status, j.status AS job
FROM ibex_core.sessions s
LEFT JOIN ibex_core.extraction_jobs j ON j.org_id = s.org_id AND j.session_id = s.id
WHERE s.org_id = $1 AND s.id = $2;

-- name: counts
-- Runs as ibex_system. $1: one organization, or NULL for all.
SELECT status, count(*) AS jobs
FROM ibex_core.extraction_jobs
WHERE $1::uuid IS NULL OR org_id = $1
GROUP BY status;

-- name: backlog
-- Runs as ibex_system. The age in seconds of what has been claimable longest; a session that goes on
-- meanwhile is not claimable.
SELECT j.status, count(*) AS jobs,
  extract(epoch FROM now() - min(j.available_at) FILTER (WHERE s.status = 'completed')) AS age
FROM ibex_core.extraction_jobs j
JOIN ibex_core.sessions s ON s.org_id = j.org_id AND s.id = j.session_id
GROUP BY j.status;
