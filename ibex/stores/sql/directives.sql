-- What an agent is told and allowed in every request.

-- name: briefing
SELECT a.memory_token_budget, v.version, v.content
FROM ibex_core.agents a
LEFT JOIN ibex_core.directives d ON d.org_id = a.org_id AND d.agent_id = a.id
LEFT JOIN ibex_core.directive_versions v
  ON v.org_id = d.org_id AND v.directive_id = d.id AND v.version = d.current_version
WHERE a.org_id = $1 AND a.id = $2;
