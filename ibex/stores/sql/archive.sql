-- Session archives: what goes into the object, and the manifest of objects.

-- name: session
SELECT agent_id, user_id, external_id, origin, turn_count
FROM ibex_core.sessions
WHERE org_id = $1 AND id = $2;

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
UPDATE ibex_core.sessions SET archived_turn = $3 WHERE org_id = $1 AND id = $2;

-- name: file
SELECT bucket, key, rows, bytes, sha256, schema_version
FROM ibex_core.archive_files
WHERE org_id = $1 AND session_id = $2 AND kind = 'session';
