-- Rate limits of tokens; those of organizations and agents are rules (rules.sql).

-- name: token
SELECT limits FROM ibex_core.api_tokens WHERE org_id = $1 AND id = $2;

-- name: set_token
UPDATE ibex_core.api_tokens SET limits = $3
WHERE org_id = $1 AND id = $2 AND revoked_at IS NULL;
