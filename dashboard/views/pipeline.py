"""What the pipeline does with sessions: states, the last runs, and those it gave up."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import ui
from dashboard.client import segment

DONE = "pipeline:done"


@st.fragment(run_every=5)
def live() -> None:
    with ui.told_errors():
        pipeline = ui.api().get("/pipeline")
    jobs = pipeline["jobs"]
    for column, (name, value, help_text) in zip(
        st.columns(5),
        (
            ("Accepted", pipeline["accepted"], "Sessions that were ever completed."),
            ("Waiting", jobs["waiting"], "With turns to extract, also those to be tried again."),
            ("In work", jobs["leased"], "Claimed by a run."),
            ("Done", jobs["done"], "Every turn extracted."),
            ("Given up", jobs["dead"], "Failed too often; they wait for an operator."),
        ),
        strict=True,
    ):
        column.metric(name, f"{value:,}", help=help_text, border=True)
    if pipeline["oldest_waiting_at"]:
        st.caption(f"The oldest has waited since {ui.ago(pipeline['oldest_waiting_at'])}.")

    st.subheader("Last runs", anchor=False)
    if not pipeline["runs"]:
        ui.empty("No run has claimed a session yet.", "One starts when a session is completed.")
        return
    st.dataframe(
        [
            {
                "Run": run["run_id"],
                "Started": ui.ago(run["started_at"]),
                "Sessions": run["sessions"],
                "Done": run["done"],
                "To be tried again": run["waiting"],
                "Given up": run["dead"],
                "In work": run["leased"],
            }
            for run in pipeline["runs"]
        ],
        hide_index=True,
    )


def act(path: str, body: Mapping[str, object] | None = None) -> Mapping[str, Any]:
    with ui.told_errors():
        answer: Mapping[str, Any] = ui.api().post(path, body)
    return answer


def chosen_letter(letter: Mapping[str, Any]) -> None:
    ui.facts(
        (
            ("Session", letter["external_id"] or letter["session_id"]),
            ("Agent", letter["agent"]),
            ("Error", letter["last_error"]),
            ("Tries", letter["attempts"]),
            ("Extracted turns", f"{letter['last_extracted_turn']} of {letter['turn_count']}"),
            ("Given up", ui.utc(letter["updated_at"])),
            ("Run", letter["run_id"]),
        )
    )
    retry, session = st.columns(2)
    if retry.button(
        "Try this one again", icon=":material/replay:", disabled=not may, help=why, width="stretch"
    ):
        act(f"/pipeline/sessions/{segment(letter['session_id'])}/retry")
        st.session_state[DONE] = "The next run takes it."
        st.rerun()
    if session.button("Open the session", icon=":material/forum:", width="stretch"):
        st.switch_page("views/sessions.py", query_params={"session": letter["session_id"]})


st.title("Pipeline", anchor=False)
if done := st.session_state.pop(DONE, None):
    st.success(done)
live()

st.subheader("Given up", anchor=False)
with ui.told_errors():
    codes = ui.api().get("/pipeline")["dead_letters"]
if not codes:
    ui.empty("No session was given up.", "Those that fail too often appear here, with the reason.")
    st.stop()
may = ui.may("write")
why = None if may else "Needs a token with the scope 'write'."
counts = {code["code"] or "": code["sessions"] for code in codes}
left, right = st.columns([2, 1], vertical_alignment="bottom")
code = left.selectbox(
    "Error",
    ["", *sorted(filter(None, counts))],
    format_func=lambda one: f"{one} ({counts[one]:,})" if one else "all",
)
if right.button(
    "Try all of these again", icon=":material/replay:", disabled=not may, help=why, width="stretch"
):
    again = act("/pipeline/requeue", {"code": code or None})["requeued"]
    st.session_state[DONE] = f"To be tried again, each with all its tries: {again:,}."
    st.rerun()
with ui.told_errors():
    letters = ui.fetch_page("dead-letters", "/pipeline/dead-letters", code=code)
if not letters:
    ui.empty("None of these is left.", "They were tried again meanwhile.")
    st.stop()
table = st.dataframe(
    [
        {
            "Session": letter["external_id"] or letter["session_id"],
            "Agent": letter["agent"],
            "Error": letter["last_error"] or "",
            "Tries": letter["attempts"],
            "Given up": ui.ago(letter["updated_at"]),
        }
        for letter in letters
    ],
    hide_index=True,
    on_select="rerun",
    selection_mode="single-row-required",
    key="dead-letters-table",
)
ui.page_buttons("dead-letters")
rows = table.selection.rows
chosen_letter(letters[rows[0] if rows and rows[0] < len(letters) else 0])
