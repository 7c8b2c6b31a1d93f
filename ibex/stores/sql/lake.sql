-- The lake's part of the manifest: which files count, and what of each day was written.

-- name: organizations
-- Runs as ibex_system.
SELECT id FROM ibex_core.organizations ORDER BY id;

-- name: live_files
-- Of table $2 (NULL: all) with rows from day $3 through day $4 (NULL: without end).
SELECT id, lake_table, bucket, key, date, date_to, rows, bytes, sha256, schema_version, min_time,
  max_time, created_at
FROM ibex_core.archive_files
WHERE org_id = $1 AND kind = 'lake' AND state = 'live' AND ($2::text IS NULL OR lake_table = $2)
  AND ($3::date IS NULL OR date_to >= $3) AND ($4::date IS NULL OR date <= $4)
ORDER BY lake_table, date, key;

-- name: lock
-- One swap of a table at a time; until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('lake:' || $1::text || ':' || $2::text, 0));

-- name: add
INSERT INTO ibex_core.archive_files
  (org_id, id, kind, lake_table, bucket, key, date, date_to, rows, bytes, sha256, schema_version,
   min_time, max_time)
VALUES ($1, $2, 'lake', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- name: retire
UPDATE ibex_core.archive_files
SET state = 'retired', retired_at = now()
WHERE org_id = $1 AND id = ANY ($2::uuid[]) AND kind = 'lake' AND state = 'live';

-- name: days
SELECT date, fingerprint, rows, written_at
FROM ibex_core.lake_days
WHERE org_id = $1 AND lake_table = $2;

-- name: note_day
INSERT INTO ibex_core.lake_days (org_id, lake_table, date, fingerprint, rows)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (org_id, lake_table, date) DO UPDATE
  SET fingerprint = excluded.fingerprint, rows = excluded.rows, written_at = now();

-- name: forget_days
DELETE FROM ibex_core.lake_days
WHERE org_id = $1 AND lake_table = $2 AND date = ANY ($3::date[]);

-- name: retired_files
-- That readers of before $2 may still read no more, oldest first.
SELECT id, bucket, key
FROM ibex_core.archive_files
WHERE org_id = $1 AND kind = 'lake' AND state = 'retired' AND retired_at <= $2
ORDER BY retired_at, id
LIMIT $3;

-- name: forget_files
DELETE FROM ibex_core.archive_files
WHERE org_id = $1 AND id = ANY ($2::uuid[]) AND kind = 'lake' AND state = 'retired';

-- name: status
SELECT lake_table, count(*) FILTER (WHERE state = 'live') AS files,
  coalesce(sum(rows) FILTER (WHERE state = 'live'), 0)::bigint AS rows,
  coalesce(sum(bytes) FILTER (WHERE state = 'live'), 0)::bigint AS bytes,
  min(date) FILTER (WHERE state = 'live') AS since,
  max(date_to) FILTER (WHERE state = 'live') AS until,
  max(created_at) AS written_at,
  count(*) FILTER (WHERE state = 'retired') AS retired
FROM ibex_core.archive_files
WHERE org_id = $1 AND kind = 'lake'
GROUP BY lake_table
ORDER BY lake_table;
