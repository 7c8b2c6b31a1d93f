-- Rate limits of organizations, agents and tokens. A value is {} or {"limits": {...}}.

-- name: organization
SELECT settings -> 'limits' AS limits FROM ibex_core.organizations WHERE id = $1;

-- name: set_organization
UPDATE ibex_core.organizations SET settings = (settings - 'limits') || $2
WHERE id = $1;

-- name: agent
SELECT policy -> 'limits' AS limits FROM ibex_core.agents WHERE org_id = $1 AND id = $2;

-- name: set_agent
UPDATE ibex_core.agents SET policy = (policy - 'limits') || $3, updated_at = now()
WHERE org_id = $1 AND id = $2;

-- name: token
SELECT limits FROM ibex_core.api_tokens WHERE org_id = $1 AND id = $2;

-- name: set_token
UPDATE ibex_core.api_tokens SET limits = $3
WHERE org_id = $1 AND id = $2 AND revoked_at IS NULL;
