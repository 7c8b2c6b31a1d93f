"""The token is typed in and stays in this tab's session: not in the address, not in a cache."""

import streamlit as st

from dashboard import ui
from dashboard.client import Api, ApiError, ApiRefusedError, api_url


def show() -> None:
    _, middle, _ = st.columns([1, 1.4, 1])
    with middle:
        st.title("IBEX", anchor=False)
        st.markdown("Agents that remember: what they learned, and what it is used for.")
        if notice := ui.take_notice():
            st.warning(notice)
        with st.form("sign-in"):
            token = st.text_input(
                "Access token", type="password", placeholder="ibex_pat_…", autocomplete="off"
            )
            asked = st.form_submit_button("Sign in", type="primary", width="stretch")
        if asked:
            _sign_in(token.strip())
        st.caption("`ibex token create NAME --scope read --scope content` makes one.")


def _sign_in(token: str) -> None:
    if not (token.isascii() and token.isprintable() and token):
        st.error("This is not an access token.")  # and cannot be sent in a header
        return
    api = Api(api_url(), token)
    try:
        who = api.get("/whoami")
    except ApiError as error:
        if isinstance(error, ApiRefusedError) and error.status == 401:
            st.error("This token is not accepted.")
        else:
            ui.show_error(error)
        return
    if "read" not in who["scopes"]:
        st.error("This token may not read. It needs the scope 'read'.")
        return
    ui.sign_in(api, who)
    st.rerun()
