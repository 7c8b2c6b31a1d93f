-- What extraction asked of models.

-- name: add
INSERT INTO ibex_core.extraction_usage
  (org_id, id, agent_id, session_id, purpose, run_id, prompt_version, model, calls, prompt_tokens,
   completion_tokens, cost_usd, seconds, succeeded)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);
