-- Organizations, agents, tokens and directives.

-- name: add_organization
-- Runs as ibex_system: there is no tenant yet.
INSERT INTO ibex_core.organizations (id, name) VALUES ($1, $2);

-- name: organization_by_name
-- Runs as ibex_system.
SELECT id FROM ibex_core.organizations WHERE name = $1;

-- name: organizations
-- Runs as ibex_system.
SELECT id, name, status, created_at FROM ibex_core.organizations ORDER BY name;

-- name: add_agent
INSERT INTO ibex_core.agents (org_id, id, name, description, policy, memory_token_budget)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: agent
-- By id or by name: $2 is the id or NULL, $3 the name.
SELECT id, name, status, policy, memory_token_budget, description, created_at
FROM ibex_core.agents
WHERE org_id = $1 AND (id = $2 OR name = $3)
ORDER BY (id = $2) DESC NULLS LAST
LIMIT 1;

-- name: agent_names
SELECT id, name FROM ibex_core.agents WHERE org_id = $1;

-- name: agent_for_change
SELECT description, status, policy, memory_token_budget
FROM ibex_core.agents WHERE org_id = $1 AND id = $2
FOR UPDATE;

-- name: change_agent
UPDATE ibex_core.agents
SET description = $3, status = $4, memory_token_budget = $5, policy = $6, updated_at = now()
WHERE org_id = $1 AND id = $2;

-- name: add_user
-- The user's row, made when the application first names it.
INSERT INTO ibex_core.users (org_id, id, external_id) VALUES ($1, $2, $3)
ON CONFLICT (org_id, external_id) DO NOTHING;

-- name: user
SELECT id FROM ibex_core.users WHERE org_id = $1 AND external_id = $2;

-- name: add_token
INSERT INTO ibex_core.api_tokens (org_id, id, name, sha256, agent_id, scopes, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: token
-- Runs as ibex_system: the organization is what the token tells.
SELECT t.org_id, t.id, t.sha256, t.agent_id, t.scopes, t.expires_at, t.revoked_at, t.limits, o.status,
  o.settings -> 'limits' AS org_limits
FROM ibex_core.api_tokens t
JOIN ibex_core.organizations o ON o.id = t.org_id
WHERE t.id = $1;

-- name: revoke_token
UPDATE ibex_core.api_tokens SET revoked_at = now()
WHERE org_id = $1 AND id = $2 AND revoked_at IS NULL;

-- name: add_directive
-- The next version of an agent's directive becomes the current one.
WITH directive AS (
  INSERT INTO ibex_core.directives (org_id, id, agent_id, current_version)
  VALUES ($1, $2, $3, 1)
  ON CONFLICT (org_id, agent_id) DO UPDATE
    SET current_version = directives.current_version + 1, updated_at = now()
  RETURNING id, current_version
)
INSERT INTO ibex_core.directive_versions (org_id, id, directive_id, version, content)
SELECT $1, $4, id, current_version, $5 FROM directive
RETURNING version;

-- name: directive
SELECT v.version, v.content
FROM ibex_core.directives d
JOIN ibex_core.directive_versions v
  ON v.org_id = d.org_id AND v.directive_id = d.id AND v.version = d.current_version
WHERE d.org_id = $1 AND d.agent_id = $2;
