"""What every page shares: who is signed in, errors, times, pages of a list.

What users, models and operators wrote is shown by `st.text`, tables and select boxes only: they
interpret neither Markdown nor HTML. Never put it into a label, a heading or `st.markdown`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import streamlit as st

from dashboard.client import Api, ApiError, ApiRefusedError

# Keys of st.session_state, which is one browser tab's own.
_API = "api"
_WHO = "whoami"
_NOTICE = "notice"
PAGE_SIZE = 25


# --- who is signed in ---


def sign_in(api: Api, who: Mapping[str, Any]) -> None:
    st.session_state[_API] = api
    st.session_state[_WHO] = dict(who)


def sign_out(notice: str | None = None) -> None:
    st.session_state.clear()
    if notice:
        st.session_state[_NOTICE] = notice


def signed_in() -> bool:
    return _API in st.session_state


def take_notice() -> str | None:
    notice: str | None = st.session_state.pop(_NOTICE, None)
    return notice


def api() -> Api:
    signed: Api = st.session_state[_API]
    return signed


def whoami() -> Mapping[str, Any]:
    who: Mapping[str, Any] = st.session_state[_WHO]
    return who


def may(scope: str) -> bool:
    return scope in whoami()["scopes"]


# --- errors ---


@contextmanager
def told_errors() -> Iterator[None]:
    """Shows what the API refuses, and ends the page there. A token that no longer counts signs
    the operator out."""
    try:
        yield
    except ApiRefusedError as error:
        if error.status == 401:
            sign_out("The access token is no longer valid. Sign in again.")
            st.rerun()
        show_error(error)
        st.stop()
    except ApiError as error:
        show_error(error)
        st.stop()


def show_error(error: ApiError) -> None:
    with st.container(border=True):
        st.markdown(":material/error: **This could not be loaded**")
        st.text(str(error))


def empty(title: str, advice: str) -> None:
    with st.container(border=True):
        st.markdown(f"**{title}**")
        st.caption(advice)


# --- values ---


def moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def ago(text: str | None, now: datetime | None = None) -> str:
    """`3 min ago` for an ISO time; a dash for none."""
    then = moment(text)
    if then is None:
        return "-"
    seconds = max(((now or datetime.now(UTC)) - then).total_seconds(), 0)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{int(seconds)} s ago"


def utc(text: str | None) -> str:
    then = moment(text)
    return then.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if then else "-"


def session_state(session: Mapping[str, Any]) -> str:
    """Where a session is on its way: active, waiting, extracting, failed, extracted, archived."""
    if session["status"] == "active":
        return "active"
    job = session["extraction"] or {}
    if job.get("status") == "dead":
        return "failed"
    if session["last_extracted_turn"] < session["turn_count"]:
        return "extracting" if job.get("status") == "leased" else "waiting"
    return "archived" if session["archived_turn"] >= session["turn_count"] else "extracted"


def hidden(text: str | None) -> str:
    """Content, or why there is none."""
    return "hidden: the token lacks the scope 'content'" if text is None else text


def facts(pairs: Sequence[tuple[str, object]]) -> None:
    """Names (ours) and values (anybody's), one pair a line."""
    with st.container(gap="xxsmall"):
        for name, value in pairs:
            left, right = st.columns([1, 2.4], vertical_alignment="center", gap="small")
            left.caption(name)
            right.text("-" if value in (None, "") else str(value))


# --- lists ---


def fetch_page(name: str, path: str, **query: object) -> list[Mapping[str, Any]]:
    """The page of a listing that the operator has turned to; other filters start at the first."""
    key = f"pages:{name}"
    state = st.session_state.get(key)
    if state is None or state["query"] != query:
        state = st.session_state[key] = {"query": query, "cursors": [None]}
    answer = api().get(path, limit=PAGE_SIZE, cursor=state["cursors"][-1], **query)
    state["next"] = answer["next_cursor"]
    items: list[Mapping[str, Any]] = answer["items"]
    return items


def page_buttons(name: str, *, earlier: str = "Newer", later: str = "Older") -> None:
    """Shown only where there is more than one page. Lists are newest first, turns are not."""
    state = st.session_state[f"pages:{name}"]
    if len(state["cursors"]) == 1 and not state["next"]:
        return
    left, middle, right = st.columns([1, 4, 1], vertical_alignment="center")
    if left.button(
        earlier,
        icon=":material/chevron_left:",
        key=f"{name}:earlier",
        width="stretch",
        disabled=len(state["cursors"]) == 1,
    ):
        state["cursors"].pop()
        st.rerun()
    middle.caption(f"Page {len(state['cursors'])}", text_alignment="center")
    if right.button(
        later,
        icon=":material/chevron_right:",
        key=f"{name}:later",
        width="stretch",
        disabled=not state["next"],
    ):
        state["cursors"].append(state["next"])
        st.rerun()


def every_agent() -> list[Mapping[str, Any]]:
    agents: list[Mapping[str, Any]] = []
    cursor = None
    while True:
        page = api().get("/agents", limit=200, cursor=cursor)
        agents += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return sorted(agents, key=lambda agent: str(agent["name"]).lower())
