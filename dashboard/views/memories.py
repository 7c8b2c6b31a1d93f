"""What an agent has learned: searched, filtered, and where each memory comes from."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import ui
from dashboard.client import segment

CATEGORIES = ("procedural", "declarative", "episodic")


def details(memory: Mapping[str, Any]) -> None:
    st.subheader("Memory", anchor=False)
    with st.container(border=True):
        st.text(ui.hidden(memory["content"]))
    until = ui.utc(memory["valid_to"]) if memory["valid_to"] else "now"
    redacted = ", ".join(f"{kind} x {count}" for kind, count in memory["redactions"].items())
    left, right = st.columns(2, gap="large")
    with left:
        ui.facts(
            (
                ("Category", memory["category"]),
                ("Belongs to", memory["user"] or "the agent itself"),
                (
                    "Status",
                    f"{memory['status']} ({memory['quarantine_reason']})"
                    if memory["quarantine_reason"]
                    else memory["status"],
                ),
                ("Valid", f"{ui.utc(memory['valid_from'])} to {until}"),
                ("Version", memory["version"]),
                ("Superseded by", memory["superseded_by"]),
                ("Confidence", f"{memory['confidence']:.2f}"),
                ("Usefulness", f"{memory['usefulness']:.2f}"),
                (
                    "Used",
                    f"{memory['access_count']} times, last {ui.ago(memory['last_accessed_at'])}",
                ),
            )
        )
    with right:
        ui.facts(
            (
                ("Said by", memory["source"]),
                ("Session", memory["session_id"]),
                ("Turns", ", ".join(map(str, memory["turns"]))),
                ("Messages", ", ".join(memory["message_ids"])),
                ("Extractor", memory["extractor"]),
                ("Prompt", memory["prompt_version"][:16]),
                ("Model", memory["model"]),
                ("Run", memory["run_id"]),
                ("Redacted", redacted),
                ("Id", memory["id"]),
            )
        )
        if memory["session_id"] and st.button("Open the session", icon=":material/forum:"):
            st.switch_page("views/sessions.py", query_params={"session": memory["session_id"]})


st.title("Memories", anchor=False)
with ui.told_errors():
    agents = ui.every_agent()
if not agents:
    ui.empty("There is no agent yet.", "Make one with 'ibex agent create NAME'.")
    st.stop()

first, second, third, fourth = st.columns([1.2, 1, 1, 1.6], vertical_alignment="bottom")
agent = first.selectbox("Agent", agents, format_func=lambda agent: str(agent["name"]))
category = second.selectbox("Category", ("all", *CATEGORIES))
user = third.text_input("User", placeholder="all")
query = fourth.text_input(
    "Search",
    placeholder="words, or a part of the text",
    disabled=not ui.may("content"),
    help=None if ui.may("content") else "Needs a token with the scope 'content'.",
)
include_past = st.toggle("Also what is no longer valid")

with ui.told_errors():
    memories = ui.fetch_page(
        "memories",
        f"/agents/{segment(agent['id'])}/memories",
        category=None if category == "all" else category,
        user=user.strip(),
        q=query.strip(),
        include_past="true" if include_past else None,
    )
if not memories:
    filtered = category != "all" or user.strip() or query.strip()
    if filtered:
        ui.empty("No memory matches.", "Widen the search, or choose another category or user.")
    else:
        ui.empty(
            "This agent has learned nothing yet.",
            "Its sessions become memories when they are completed.",
        )
    st.stop()

table = st.dataframe(
    [
        {
            "Memory": ui.hidden(memory["content"]),
            "Category": memory["category"],
            "User": memory["user"] or "",
            "Confidence": memory["confidence"],
            "Usefulness": memory["usefulness"],
            "Used": memory["access_count"],
            "Learned": ui.ago(memory["created_at"]),
        }
        for memory in memories
    ],
    hide_index=True,
    column_config={
        "Memory": st.column_config.TextColumn(width="large"),
        "User": st.column_config.TextColumn(width="small"),
        "Confidence": st.column_config.NumberColumn(format="%.2f"),
        "Usefulness": st.column_config.NumberColumn(format="%.2f"),
    },
    on_select="rerun",
    selection_mode="single-row-required",
    key="memories-table",
)
ui.page_buttons("memories")
chosen = table.selection.rows
details(memories[chosen[0] if chosen and chosen[0] < len(memories) else 0])
