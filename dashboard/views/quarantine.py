"""Memories that wait for a review: what each says, where it comes from, approve or reject."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import ui
from dashboard.client import segment

REASONS = {
    "directive": "It aims at the operator's directive, or pretends to be one.",
    "other_users": "It aims at other users than the one who said it.",
    "secrets": "It asks for secrets, or to pass them on.",
    "exfiltration": "It sends data to a place outside.",
    "instruction": "It is an instruction, from a source that has none to give.",
}
DONE = "quarantine:done"


def decide(memory: Mapping[str, Any], decision: str) -> None:
    with ui.told_errors():
        ui.api().post(
            f"/memories/{segment(memory['id'])}/{decision}", {"version": memory["version"]}
        )
    st.session_state[DONE] = "Approved: it is recalled from now on."
    if decision == "reject":
        st.session_state[DONE] = "Rejected: it is never recalled, nor learned again."
    st.rerun()


def review(memory: Mapping[str, Any]) -> None:
    st.subheader("Memory", anchor=False)
    with st.container(border=True):
        st.text(ui.hidden(memory["content"]))
    st.caption(REASONS.get(memory["quarantine_reason"], "No reason was recorded."))
    ui.facts(
        (
            ("Said by", memory["source"]),
            ("Would belong to", memory["user"] or "the agent itself, so to all of its users"),
            ("Category", memory["category"]),
            ("Session", memory["session_id"]),
            ("Turns", ", ".join(map(str, memory["turns"]))),
            ("Learned", ui.utc(memory["created_at"])),
            ("Id", memory["id"]),
        )
    )
    approve, reject, session = st.columns(3)
    may = ui.may("write") and ui.may("content")
    help_text = None if may else "Needs a token with the scopes 'write' and 'content'."
    if approve.button(
        "Approve", icon=":material/check:", disabled=not may, help=help_text, width="stretch"
    ):
        decide(memory, "approve")
    if reject.button(
        "Reject",
        icon=":material/block:",
        type="primary",
        disabled=not may,
        help=help_text,
        width="stretch",
    ):
        decide(memory, "reject")
    if memory["session_id"] and session.button(
        "Open the session", icon=":material/forum:", width="stretch"
    ):
        st.switch_page("views/sessions.py", query_params={"session": memory["session_id"]})


st.title("Quarantine", anchor=False)
st.caption(
    "Memories that read like instructions from somewhere else, or that aim beyond their user. They "
    "are stored and never put into a request, unless they are approved."
)
if done := st.session_state.pop(DONE, None):
    st.success(done)
with ui.told_errors():
    agents = {agent["id"]: agent["name"] for agent in ui.every_agent()}
    memories = ui.fetch_page("quarantine", "/quarantine")
if not memories:
    ui.empty("Nothing waits for a review.", "What is held back appears here.")
    st.stop()

table = st.dataframe(
    [
        {
            "Memory": ui.hidden(memory["content"]),
            "Reason": memory["quarantine_reason"] or "",
            "Said by": memory["source"],
            "Agent": agents.get(memory["agent_id"], ""),
            "User": memory["user"] or "",
            "Learned": ui.ago(memory["created_at"]),
        }
        for memory in memories
    ],
    hide_index=True,
    column_config={"Memory": st.column_config.TextColumn(width="large")},
    on_select="rerun",
    selection_mode="single-row-required",
    key="quarantine-table",
)
ui.page_buttons("quarantine")
chosen = table.selection.rows
review(memories[chosen[0] if chosen and chosen[0] < len(memories) else 0])
