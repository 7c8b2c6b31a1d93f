"""The operator's dashboard: `streamlit run dashboard/app.py`."""

import streamlit as st

from dashboard import sign_in, ui

PAGES = (
    ("views/overview.py", "Overview", ":material/monitoring:"),
    ("views/agents.py", "Agents", ":material/smart_toy:"),
    ("views/memories.py", "Memories", ":material/psychology:"),
    ("views/quarantine.py", "Quarantine", ":material/gpp_maybe:"),
    ("views/sessions.py", "Sessions", ":material/forum:"),
    ("views/backfills.py", "Backfills", ":material/history:"),
    ("views/pipeline.py", "Pipeline", ":material/conveyor_belt:"),
    ("views/checks.py", "Checks", ":material/rule:"),
)

signed_in = ui.signed_in()
st.set_page_config(
    page_title="IBEX",
    page_icon=":material/landscape:",
    layout="wide",
    initial_sidebar_state="expanded" if signed_in else "collapsed",
)
# The pages are known before the sign-in too, so that a link to one leads there afterwards.
page = st.navigation(
    [
        st.Page(file, title=title, icon=icon, default=number == 0)
        for number, (file, title, icon) in enumerate(PAGES)
    ],
    position="sidebar" if signed_in else "hidden",
)
if signed_in:
    with st.sidebar:
        who = ui.whoami()
        st.caption("Organization")
        st.text(who["org_name"])
        st.caption(f"Scopes: {', '.join(who['scopes'])}")
        if st.button("Sign out", icon=":material/logout:", width="stretch"):
            ui.sign_out()
            st.rerun()
    page.run()
else:
    sign_in.show()
