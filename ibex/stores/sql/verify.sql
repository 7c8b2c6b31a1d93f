-- The manifest beside what the buckets hold. Runs as ibex_system if nothing else is said: keys are made
-- of ids.

-- name: size
-- Files of organization $1, or of all.
SELECT count(*) FROM ibex_core.archive_files WHERE $1::uuid IS NULL OR org_id = $1;

-- name: known
-- Which of the keys $2 in bucket $1 the manifest has.
SELECT org_id, id, key, bytes FROM ibex_core.archive_files WHERE bucket = $1 AND key = ANY ($2::text[]);

-- name: being_written
-- Of these sessions those whose archive is being written, or was when a process died.
SELECT session_id FROM ibex_core.archive_uploads WHERE session_id = ANY ($1::uuid[]);

-- name: files
-- That count and were there before $2, after the file ($3, $4) or NULL.
SELECT org_id, id, kind, bucket, key, session_id, bytes, sha256
FROM ibex_core.archive_files
WHERE ($1::uuid IS NULL OR org_id = $1) AND state = 'live' AND created_at < $2
  AND ($3::uuid IS NULL OR (org_id, id) > ($3, $4::uuid))
ORDER BY org_id, id
LIMIT $5;

-- name: file
-- As it is by now.
SELECT bytes, sha256 FROM ibex_core.archive_files WHERE org_id = $1 AND id = $2 AND state = 'live';

-- name: write_again
-- As the tenant. The days of a file of the lake have changed, as far as anybody knows: the next refresh
-- writes them anew, or lets go of them when their rows are gone.
UPDATE ibex_core.lake_days d
SET fingerprint = 0
FROM ibex_core.archive_files f
WHERE f.org_id = $1 AND f.id = $2 AND d.org_id = $1 AND d.lake_table = f.lake_table
  AND d.date BETWEEN f.date AND f.date_to;
