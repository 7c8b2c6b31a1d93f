"""A turn is recorded by one call: as functions that set their tenant themselves.

Sent as statements of a transaction it takes three round trips, and the client waits for all of
them after the model's last word. A function is one, and its transaction ends with it; `app.org` is
set for that transaction only, before anything is read, so row-level security holds as everywhere.

Revision ID: 0010
Revises: 0009
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TURN = """
  p_org uuid, p_session uuid, p_after integer, p_turn uuid, p_request text, p_messages jsonb,
  p_response jsonb, p_message_count integer, p_chain_hash bytea, p_model text,
  p_finish_reason text, p_complete boolean, p_prompt_tokens integer, p_completion_tokens integer,
  p_started_at timestamptz, p_created_at timestamptz, p_dialogue_hash bytea, p_tail_hash bytea,
  p_request_hash bytea, p_request_key bytea, p_injection uuid, p_memories jsonb,
  p_directive_version integer, p_position integer, p_tokens integer, p_sha256 bytea,
  p_insertions jsonb, p_dropped jsonb, p_decisions jsonb, p_degraded text[]
"""
_SESSION = """,
  p_agent uuid, p_user uuid, p_external_id text, p_origin text, p_session_started_at timestamptz
"""
_TURN_COLUMNS = """
      (org_id, id, session_id, number, request_id, messages, response, message_count, chain_hash,
       model, finish_reason, complete, prompt_tokens, completion_tokens, started_at, created_at)
"""
_TURN_VALUES = """
      p_request, p_messages, p_response, p_message_count, p_chain_hash, p_model, p_finish_reason,
      p_complete, p_prompt_tokens, p_completion_tokens, p_started_at, p_created_at
"""
_INJECTION = """
    INSERT INTO ibex_core.context_injections
      (org_id, id, request_id, agent_id, session_id, memories, directive_version, position, tokens,
       sha256, insertions, dropped, decisions, degraded)
    SELECT org_id, p_injection, p_request, agent_id, id, p_memories, p_directive_version,
      p_position, p_tokens, p_sha256, p_insertions, p_dropped, p_decisions, p_degraded
    FROM {session}
    WHERE p_injection IS NOT NULL
    ON CONFLICT (org_id, request_id) DO NOTHING
"""

# Nothing when the session exists, or the request is recorded.
_FIRST = f"""
  WITH opened AS (
    INSERT INTO ibex_core.sessions
      (org_id, id, agent_id, user_id, external_id, origin, started_at, last_turn_at, turn_count,
       message_count, chain_hash, dialogue_hash, tail_hash, request_hash, request_key)
    VALUES (p_org, p_session, p_agent, p_user, p_external_id, p_origin, p_session_started_at,
      p_created_at, p_after + 1, p_message_count, p_chain_hash, p_dialogue_hash, p_tail_hash,
      p_request_hash, p_request_key)
    ON CONFLICT DO NOTHING
    RETURNING *
  ), added AS (
    INSERT INTO ibex_core.session_turns {_TURN_COLUMNS}
    SELECT org_id, p_turn, id, turn_count, {_TURN_VALUES}
    FROM opened
  ), injected AS ({_INJECTION.format(session="opened")})
  SELECT * FROM opened
"""  # noqa: S608 — made of constants
# Waits for the session's lock, so that its turns come one after the other. Nothing when the
# session has moved on from turn `p_after`, after which the new messages were cut, or when the
# request is recorded.
_LATER = f"""
  WITH locked AS (
    SELECT org_id, id, turn_count, agent_id
    FROM ibex_core.sessions
    WHERE org_id = p_org AND id = p_session
    FOR UPDATE
  ), added AS (
    INSERT INTO ibex_core.session_turns {_TURN_COLUMNS}
    SELECT org_id, p_turn, id, turn_count + 1, {_TURN_VALUES}
    FROM locked
    WHERE turn_count = p_after
    ON CONFLICT (org_id, request_id) DO NOTHING
    RETURNING number
  ), injected AS ({_INJECTION.format(session="locked, added")})
  UPDATE ibex_core.sessions s
  SET turn_count = a.number, message_count = p_message_count, chain_hash = p_chain_hash,
    status = 'active', completed_at = NULL, last_turn_at = greatest(s.last_turn_at, p_created_at),
    dialogue_hash = p_dialogue_hash, tail_hash = p_tail_hash, request_hash = p_request_hash,
    request_key = p_request_key
  FROM added a
  WHERE s.org_id = p_org AND s.id = p_session
  RETURNING s.*
"""  # noqa: S608 — made of constants


def upgrade() -> None:
    for name, arguments, statement in (
        ("record_turn", _TURN, _LATER),
        ("record_first_turn", _TURN + _SESSION, _FIRST),
    ):
        op.execute(f"""
            CREATE FUNCTION ibex_core.{name}({arguments}) RETURNS SETOF ibex_core.sessions
            LANGUAGE plpgsql SECURITY INVOKER AS $$
            #variable_conflict use_column
            BEGIN
              PERFORM set_config('app.org', p_org::text, true);
              RETURN QUERY {statement};
            END $$
        """)


def downgrade() -> None:
    op.execute("DROP FUNCTION ibex_core.record_first_turn")
    op.execute("DROP FUNCTION ibex_core.record_turn")
