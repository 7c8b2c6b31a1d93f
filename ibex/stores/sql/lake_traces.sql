-- What goes into the lake from ClickHouse: traces, and the usage of a day.

-- name: days
-- Of the last 88 days: ClickHouse forgets after 90.
SELECT toInt32(toDate(started_at, 'UTC')) AS day, count() AS rows,
  reinterpretAsInt64(sum(cityHash64(
    toString(agent_id), request_id, model, provider, provider_host, status, error, complete,
    total_ms, ifNull(prompt_tokens, 0), ifNull(completion_tokens, 0)
  ))) AS fingerprint
FROM ibex.traces
WHERE org_id = {org:UUID} AND started_at >= toDate(now('UTC')) - 88
GROUP BY day;

-- name: since
SELECT toInt32(toDate(now('UTC')) - 88) AS since;

-- name: traces
-- A page of a day, after the last row of the page before.
SELECT toString(agent_id) AS agent_id, toUnixTimestamp64Milli(started_at) AS at, request_id,
  toString(token_id) AS token_id,
  if(session_id IS NULL, NULL, toString(session_id)) AS session_id, has_user, model, provider,
  provider_host, provider_tries, status, error, stream, complete, total_ms, auth_ms, session_ms,
  context_ms, upstream_ms, ttfb_ms, commit_ms, memories_injected, context_tokens, prompt_tokens,
  completion_tokens, fallback, fallback_reason, degraded
FROM ibex.traces
WHERE org_id = {org:UUID} AND toDate(started_at, 'UTC') = toDate({day:Int32})
  AND (agent_id, at, request_id) > ({agent:String}, {at:Int64}, {request:String})
ORDER BY agent_id, at, request_id
LIMIT {page:UInt32};

-- name: usage
SELECT toString(agent_id) AS agent_id, provider, model, count() AS requests,
  countIf(status >= 400 OR error != '') AS errors, countIf(fallback) AS fallbacks,
  sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens,
  sum(context_tokens) AS context_tokens, sum(memories_injected) AS memories_injected,
  quantilesExact(0.5, 0.95, 0.99)(total_ms) AS quantiles,
  toUnixTimestamp64Milli(min(started_at)) AS first_at,
  toUnixTimestamp64Milli(max(started_at)) AS last_at
FROM ibex.traces
WHERE org_id = {org:UUID} AND toDate(started_at, 'UTC') = toDate({day:Int32})
GROUP BY agent_id, provider, model
ORDER BY agent_id, first_at, model;
