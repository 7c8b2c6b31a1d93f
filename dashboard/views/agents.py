"""Agents, their policies, and the directive that each gets with every request."""

from typing import Any

import streamlit as st

from dashboard import ui
from dashboard.client import ApiRefusedError, segment


def directive(agent_id: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = ui.api().get(f"/agents/{segment(agent_id)}/directive")
    except ApiRefusedError as error:
        if error.status == 404:
            return None
        raise
    return found


st.title("Agents", anchor=False)
with ui.told_errors():
    agents = ui.every_agent()
if not agents:
    ui.empty("There is no agent yet.", "Make one with 'ibex agent create NAME'.")
    st.stop()

st.dataframe(
    [
        {
            "Name": agent["name"],
            "Status": agent["status"],
            "Memories": agent["memories"],
            "Sessions": agent["sessions"],
            "Directive": f"version {agent['directive_version']}"
            if agent["directive_version"]
            else "none",
            "Model": agent["default_model"] or "the deployment's",
            "Made": ui.utc(agent["created_at"]),
        }
        for agent in agents
    ],
    hide_index=True,
)

agent = st.selectbox("Agent", agents, format_func=lambda agent: str(agent["name"]))
ui.facts(
    (
        ("Id", agent["id"]),
        ("Description", agent["description"]),
        ("Default model", agent["default_model"] or "the deployment's"),
        ("Allowed models", ", ".join(agent["allowed_models"]) or "all"),
        ("Memory tokens a request", agent["memory_token_budget"] or "the deployment's"),
    )
)

st.subheader("Directive", anchor=False)
with ui.told_errors():
    current = directive(agent["id"])
if current is None:
    st.caption("The agent has none: requests carry only its memories.")
else:
    st.caption(f"Version {current['version']}, put before every conversation.")
    with st.container(border=True):
        st.text(ui.hidden(current["content"]))

if ui.may("write"):
    with st.expander("Give it a new version"), st.form("directive", clear_on_submit=True):
        text = st.text_area("Text", max_chars=100_000, height=160)
        if st.form_submit_button("Save", type="primary") and text.strip():
            with ui.told_errors():
                ui.api().put(f"/agents/{segment(agent['id'])}/directive", {"content": text})
            st.rerun()
