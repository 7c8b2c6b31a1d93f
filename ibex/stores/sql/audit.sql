-- Who did what to which object; append-only.

-- name: add
INSERT INTO ibex_core.audit_log
  (org_id, id, actor_kind, actor_id, action, object_kind, object_id, details)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);
