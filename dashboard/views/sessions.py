"""Conversations, and the replay of one: what was said, and what was put in beside it."""

import json
from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import ui
from dashboard.client import segment

# Of the composite score, the heaviest first.
PARTS = {
    "Relevant": "relevance",
    "Recent": "recency",
    "Useful": "usefulness",
    "Confident": "confidence",
    "Used": "access_frequency",
}


def said(content: object) -> str:
    """The text of a message's content; parts that are no text are named."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part if isinstance(part, dict) else {} for part in content)
    return "\n".join(
        str(part["text"]) if "text" in part else f"[{part.get('type', 'part')}]" for part in parts
    )


def show_message(message: Mapping[str, Any]) -> None:
    role = message.get("role")
    speaker = role if role in ("user", "assistant") else "ai"
    avatar = {"user": ":material/person:", "assistant": ":material/smart_toy:"}.get(
        str(role), ":material/build:"
    )
    with st.chat_message(speaker, avatar=avatar):
        if role not in ("user", "assistant"):
            st.text(f"{role}:")
        if text := said(message.get("content")):
            st.text(text)
        if calls := message.get("tool_calls"):
            st.code(json.dumps(calls, indent=2, ensure_ascii=False), language=None)


def show_injection(injection: Mapping[str, Any]) -> None:
    memories = injection["memories"]
    noun = "memory" if len(memories) == 1 else "memories"
    with st.expander(
        f"{len(memories)} {noun} injected, {injection['tokens']} tokens",
        icon=":material/psychology:",
    ):
        if not memories:
            st.caption("Only the directive was put in.")
            return
        st.dataframe(
            [
                {
                    "Score": memory["score"],
                    "Memory": "gone since"
                    if memory["current_version"] is None
                    else ui.hidden(memory["content"]),
                    **{title: memory["parts"].get(part) for title, part in PARTS.items()},
                    "Answer rests on it": memory["support"],
                    "Category": memory["category"],
                    "Found": memory["origin"],
                    "Tokens": memory["tokens"],
                }
                for memory in memories
            ],
            hide_index=True,
            column_config={
                "Score": st.column_config.ProgressColumn(
                    format="%.2f", min_value=0, max_value=1, width="small"
                ),
                "Memory": st.column_config.TextColumn(width="large"),
                **{
                    title: st.column_config.NumberColumn(format="%.2f")
                    for title in (*PARTS, "Answer rests on it")
                },
            },
        )


def ask_whether_it_helped(request_id: str) -> None:
    """A thumb tells the API once; the other one takes it back."""
    thumb = st.feedback("thumbs", key=f"thumbs:{request_id}")
    told = f"told:{request_id}"
    if thumb is None or st.session_state.get(told) == thumb:
        return
    with ui.told_errors():
        counted = ui.api().post(
            f"/injections/{segment(request_id)}/feedback", {"helpful": thumb == 1}
        )
    st.session_state[told] = thumb
    number = len(counted["memories"])
    st.toast(f"Noted. The answer rests on {number} {'memory' if number == 1 else 'memories'}.")


def show_turn(turn: Mapping[str, Any]) -> None:
    spent = ""
    if turn["prompt_tokens"] is not None:
        spent = f" · {turn['prompt_tokens']} + {turn['completion_tokens'] or 0} tokens"
    st.caption(f"Turn {turn['number']} · {ui.utc(turn['created_at'])}{spent}")
    if turn["messages"] is None:
        st.text(ui.hidden(None))
    for message in turn["messages"] or ():
        show_message(message)
    if turn["injection"]:
        show_injection(turn["injection"])
    if turn["response"]:
        show_message({"role": "assistant", **turn["response"]})
        if turn["injection"] and turn["injection"]["memories"] and ui.may("write"):
            ask_whether_it_helped(turn["request_id"])
    elif turn["messages"] is not None:
        st.caption("The model gave no answer.")
    if not turn["complete"]:
        st.caption("The answer was cut off.")


def spent(usage: Mapping[str, Any] | None) -> str | None:
    """What the extraction asked of models."""
    if usage is None:
        return None
    calls = "1 call" if usage["calls"] == 1 else f"{usage['calls']} calls"
    cost = "" if usage["cost_usd"] is None else f" · ${usage['cost_usd']:.4f}"
    return (
        f"{calls} of {', '.join(usage['models'])} · {usage['prompt_tokens']:,} + "
        f"{usage['completion_tokens']:,} tokens · {usage['seconds']:.1f} s{cost}"
    )


def trouble(job: Mapping[str, Any]) -> str:
    tries = job["attempts"]
    if job["status"] == "waiting" and not tries:
        return f"Extraction waits for a part that is away: {job['last_error']}"
    return f"Extraction failed {tries} {'time' if tries == 1 else 'times'}: {job['last_error']}"


def replay(session_id: str) -> None:
    if st.button("All sessions", icon=":material/arrow_back:"):
        st.query_params.clear()
        st.session_state.pop("sessions-table", None)
        st.rerun()
    with ui.told_errors():
        session = ui.api().get(f"/sessions/{segment(session_id)}")
    left, right = st.columns(2, gap="large")
    with left:
        ui.facts(
            (
                ("Agent", session["agent"]),
                ("User", session["user"]),
                ("Session", session["external_id"] or session["id"]),
                ("State", ui.session_state(session)),
            )
        )
    with right:
        ui.facts(
            (
                ("Started", ui.utc(session["started_at"])),
                ("Completed", ui.utc(session["completed_at"])),
                ("Archived", ui.utc(session["archived_at"])),
                ("Turns", session["turn_count"]),
                ("Memories", session["memories"]),
                ("Extraction", spent(session["model_usage"])),
            )
        )
    if (session["extraction"] or {}).get("last_error"):
        st.warning(trouble(session["extraction"]))
    if session["status"] == "active" and ui.may("write") and st.button("Complete it now"):
        with ui.told_errors():
            ui.api().post(f"/sessions/{segment(session['id'])}/complete")
        st.rerun()
    st.divider()
    with ui.told_errors():
        turns = ui.fetch_page(f"turns:{session['id']}", f"/sessions/{session['id']}/turns")
    if not turns:
        ui.empty("Nothing was said in this session.", "Its first turn is still to come.")
    for turn in turns:
        show_turn(turn)
    if turns:
        ui.page_buttons(f"turns:{session['id']}", earlier="Earlier", later="Later")


def listing() -> None:
    with ui.told_errors():
        agents = ui.every_agent()
    first, second, _ = st.columns([1.2, 1, 2.6])
    agent = first.selectbox(
        "Agent", [None, *agents], format_func=lambda agent: agent["name"] if agent else "all"
    )
    status = second.selectbox("Status", ("all", "active", "completed"))
    with ui.told_errors():
        sessions = ui.fetch_page(
            "sessions",
            "/sessions",
            agent=agent["id"] if agent else None,
            status=None if status == "all" else status,
        )
    if not sessions:
        ui.empty(
            "There is no such session." if agent or status != "all" else "Nothing was said yet.",
            "A conversation through the proxy, or 'ibex import', makes one.",
        )
        return
    table = st.dataframe(
        [
            {
                "Agent": session["agent"],
                "User": session["user"] or "",
                "State": ui.session_state(session),
                "Turns": session["turn_count"],
                "Memories": session["memories"],
                "Started": ui.utc(session["started_at"])[:16],
                "Last turn": ui.ago(session["last_turn_at"]),
                "Session": session["external_id"] or session["id"],
            }
            for session in sessions
        ],
        hide_index=True,
        column_config={"User": st.column_config.TextColumn(width="small")},
        on_select="rerun",
        selection_mode="single-row",
        key="sessions-table",
    )
    st.caption("Select a row to replay the conversation.")
    ui.page_buttons("sessions")
    if chosen := table.selection.rows:
        st.query_params["session"] = sessions[chosen[0]]["id"]
        st.rerun()


st.title("Sessions", anchor=False)
if wanted := st.query_params.get("session"):
    replay(wanted)
else:
    listing()
