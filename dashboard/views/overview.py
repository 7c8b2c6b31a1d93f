"""What there is, what the pipeline is doing, and what was said last."""

import streamlit as st

from dashboard import ui


@st.fragment(run_every=5)
def live() -> None:
    with ui.told_errors():
        counts = ui.api().get("/overview")
        pipeline = ui.api().get("/pipeline")
        recent = ui.api().get("/sessions", limit=10)["items"]
        # Of all agents together: not for a token of one.
        checks = None if ui.whoami()["agent_id"] else ui.api().get("/checks")

    sessions, memories, jobs = counts["sessions"], counts["memories"], pipeline["jobs"]
    for column, (name, value, help_text) in zip(
        st.columns(5),
        (
            ("Agents", counts["agents"], None),
            ("Sessions", sessions["total"], f"{sessions['active']} of them active."),
            ("Turns", counts["turns"], "Requests and their answers."),
            ("Memories", memories["active"], "Active and valid now."),
            ("Quarantined", memories["quarantined"], "Memories that wait for a review."),
        ),
        strict=True,
    ):
        column.metric(name, f"{value:,}", help=help_text, border=True)

    if checks and checks["failing"]:
        failing = [
            check["title"]
            for check in checks["checks"]
            if check["result"] and not check["result"]["passed"]
        ]
        st.warning(f"Checks that do not pass: {', '.join(failing)}.", icon=":material/rule:")

    st.subheader("Pipeline", anchor=False)
    for column, (name, value, help_text) in zip(
        st.columns(5),
        (
            ("Waiting", jobs["waiting"], "Completed sessions with turns to extract."),
            ("In work", jobs["leased"], "Claimed by a run."),
            ("Done", jobs["done"], None),
            ("Given up", jobs["dead"], "Failed too often; they wait for an operator."),
            ("To archive", pipeline["unarchived_sessions"], "Completed, not yet in S3."),
        ),
        strict=True,
    ):
        column.metric(name, f"{value:,}", help=help_text, border=True)
    if pipeline["oldest_waiting_at"]:
        st.caption(f"The oldest has waited since {ui.ago(pipeline['oldest_waiting_at'])}.")
    if pipeline["failures"]:
        st.dataframe(
            [
                {
                    "Session": failure["session_id"],
                    "State": "given up" if failure["status"] == "dead" else "tried again",
                    "Tries": failure["attempts"],
                    "Error": failure["last_error"],
                    "When": ui.ago(failure["updated_at"]),
                }
                for failure in pipeline["failures"]
            ],
            hide_index=True,
        )

    st.subheader("Recent sessions", anchor=False)
    if not recent:
        ui.empty(
            "Nothing was said yet.",
            "Point an OpenAI client at the proxy, and its first conversation appears here.",
        )
        return
    st.dataframe(
        [
            {
                "Agent": session["agent"],
                "User": session["user"] or "",
                "State": ui.session_state(session),
                "Turns": session["turn_count"],
                "Memories": session["memories"],
                "Last turn": ui.ago(session["last_turn_at"]),
                "Session": session["external_id"] or session["id"],
            }
            for session in recent
        ],
        hide_index=True,
    )


st.title("Overview", anchor=False)
live()
