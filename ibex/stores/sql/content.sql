-- Content of turns that is in the archive and leaves PostgreSQL.

-- name: candidates
-- Runs as ibex_system. Sessions archived and extracted whole whose last turn was before $1, in the order
-- of ix_sessions_droppable, after the session ($2, $3) or NULL.
SELECT s.org_id, s.id, s.last_turn_at
FROM ibex_core.sessions s
JOIN ibex_core.extraction_jobs j ON j.org_id = s.org_id AND j.session_id = s.id
WHERE s.status = 'completed' AND s.archived_turn = s.turn_count
  AND s.last_extracted_turn = s.turn_count AND s.dropped_turn < s.turn_count
  AND j.status = 'done' AND s.last_turn_at < $1
  AND ($2::timestamptz IS NULL OR (s.last_turn_at, s.id) > ($2, $3::uuid))
ORDER BY s.last_turn_at, s.id
LIMIT $4;

-- name: lock_session
SELECT true FROM ibex_core.sessions WHERE org_id = $1 AND id = $2 FOR UPDATE;

-- name: may_go
-- Nothing is left to do with the content: archived, extracted, and every answer that was given
-- memories was looked at.
SELECT EXISTS (
  SELECT FROM ibex_core.sessions s
  JOIN ibex_core.extraction_jobs j ON j.org_id = s.org_id AND j.session_id = s.id
  WHERE s.org_id = $1 AND s.id = $2 AND s.status = 'completed' AND s.archived_turn = s.turn_count
    AND s.last_extracted_turn = s.turn_count AND j.status = 'done'
    AND NOT EXISTS (
      SELECT FROM ibex_core.context_injections i
      WHERE i.org_id = $1 AND i.session_id = $2 AND i.observed_at IS NULL AND i.memories <> '[]'
    )
    AND NOT EXISTS (
      SELECT FROM ibex_core.archive_uploads u WHERE u.org_id = $1 AND u.session_id = $2
    )
);

-- name: drop
-- When the manifest still says $4 of an archive with $3 turns, all there are.
UPDATE ibex_core.session_turns t
SET messages = NULL, response = NULL
FROM ibex_core.sessions s
JOIN ibex_core.archive_files f ON f.org_id = $1 AND f.session_id = s.id AND f.kind = 'session'
WHERE s.org_id = $1 AND s.id = $2 AND s.turn_count = $3 AND f.sha256 = $4
  AND t.org_id = $1 AND t.session_id = $2 AND t.messages IS NOT NULL;

-- name: move_dropped
UPDATE ibex_core.sessions SET dropped_turn = $3 WHERE org_id = $1 AND id = $2;

-- name: archive_anew
-- The session is due again. Never below what PostgreSQL has no longer.
UPDATE ibex_core.sessions SET archived_turn = dropped_turn WHERE org_id = $1 AND id = $2;
