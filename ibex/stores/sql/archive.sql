-- Session archives: what goes into the object, and the manifest of objects.

-- name: session
SELECT agent_id, user_id, external_id, origin, turn_count
FROM ibex_core.sessions
WHERE org_id = $1 AND id = $2;

-- name: due
-- Runs as ibex_system. Completed sessions with turns past their archive that nobody is at, and that did
-- not fail a moment ago; the longest waiting first.
SELECT s.org_id, s.id
FROM ibex_core.sessions s
LEFT JOIN ibex_core.archive_uploads u ON u.org_id = s.org_id AND u.session_id = s.id
WHERE s.status = 'completed' AND s.archived_turn < s.turn_count
  AND (u.session_id IS NULL
    OR (u.available_at <= now() AND (u.lease_until IS NULL OR u.lease_until <= now())))
ORDER BY s.completed_at
LIMIT $1;

-- name: claim_upload
-- $3 upload, $4 lease. Nothing when somebody else is at it, or there is no such session.
INSERT INTO ibex_core.archive_uploads AS u (org_id, session_id, upload_id, lease_until)
SELECT org_id, id, $3, now() + $4
FROM ibex_core.sessions
WHERE org_id = $1 AND id = $2
ON CONFLICT (org_id, session_id) DO UPDATE
  SET upload_id = excluded.upload_id, lease_until = excluded.lease_until,
    attempts = u.attempts + 1
  WHERE u.lease_until IS NULL OR u.lease_until <= now()
RETURNING attempts;

-- name: announce
-- What upload $3 is about to write, and how long that may take.
UPDATE ibex_core.archive_uploads SET sha256 = $4, bytes = $5, lease_until = now() + $6
WHERE org_id = $1 AND session_id = $2 AND upload_id = $3;

-- name: give_back
-- Upload $3 failed with code $5 and is tried again after $4.
UPDATE ibex_core.archive_uploads
SET lease_until = NULL, available_at = now() + $4, last_error = $5
WHERE org_id = $1 AND session_id = $2 AND upload_id = $3;

-- name: end_upload
DELETE FROM ibex_core.archive_uploads
WHERE org_id = $1 AND session_id = $2 AND upload_id = $3;

-- name: turns
-- Through turn $3, the number that the session had a moment ago.
SELECT id, number, request_id, messages, response, message_count, chain_hash, model, finish_reason,
  complete, prompt_tokens, completion_tokens, started_at, created_at
FROM ibex_core.session_turns
WHERE org_id = $1 AND session_id = $2 AND number <= $3
ORDER BY number;

-- name: record
INSERT INTO ibex_core.archive_files
  (org_id, id, kind, bucket, key, session_id, date, rows, bytes, sha256, schema_version)
SELECT org_id, $3, 'session', $4, $5, id, started_at::date, $6, $7, $8, $9
FROM ibex_core.sessions
WHERE org_id = $1 AND id = $2
ON CONFLICT (bucket, key) DO UPDATE
  SET rows = excluded.rows, bytes = excluded.bytes, sha256 = excluded.sha256,
    schema_version = excluded.schema_version, created_at = now();

-- name: move_archived
-- Not the greatest: it says what the object holds, and a shorter one makes the session due again.
UPDATE ibex_core.sessions SET archived_turn = $3, archived_at = now()
WHERE org_id = $1 AND id = $2;

-- name: file
-- With what it is about to hold, or holds already, when an upload was announced.
SELECT f.bucket, f.key, f.rows, f.bytes, f.sha256, f.schema_version, u.sha256 AS announced
FROM ibex_core.archive_files f
LEFT JOIN ibex_core.archive_uploads u ON u.org_id = f.org_id AND u.session_id = f.session_id
WHERE f.org_id = $1 AND f.session_id = $2 AND f.kind = 'session'
ORDER BY f.created_at DESC
LIMIT 1;
