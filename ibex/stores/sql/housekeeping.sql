-- What is kept for a while only.

-- name: organizations
-- Runs as ibex_system.
SELECT id FROM ibex_core.organizations ORDER BY id;

-- name: prune_idempotency_keys
-- The oldest ones before $2, at most $3: the beginning of ix_idempotency_keys_age.
WITH old AS (
  SELECT key FROM ibex_core.idempotency_keys
  WHERE org_id = $1 AND created_at < $2
  ORDER BY created_at
  LIMIT $3
  FOR UPDATE SKIP LOCKED
)
DELETE FROM ibex_core.idempotency_keys k
USING old
WHERE k.org_id = $1 AND k.key = old.key;
