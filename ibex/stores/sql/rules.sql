-- Rules that an organization keeps in its settings and an agent in its policy, each under a name ($2;
-- for an agent $3). A value is {} or {name: {...}}.

-- name: organization
SELECT settings -> $2::text AS rules FROM ibex_core.organizations WHERE id = $1;

-- name: set_organization
UPDATE ibex_core.organizations SET settings = (settings - $2::text) || $3
WHERE id = $1;

-- name: agent
SELECT policy -> $3::text AS rules FROM ibex_core.agents WHERE org_id = $1 AND id = $2;

-- name: set_agent
UPDATE ibex_core.agents SET policy = (policy - $3::text) || $4, updated_at = now()
WHERE org_id = $1 AND id = $2;
