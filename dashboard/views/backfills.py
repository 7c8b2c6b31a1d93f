"""Backfills: what another prompt or model makes of old sessions, and whether it is believed."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import ui
from dashboard.client import segment

DONE = "backfills:done"
STATES = {
    "waiting": "waits for the pipeline",
    "running": "sessions are read again",
    "paused": "stopped",
    "ready": "ready: compare, then switch or discard",
    "switching": "is being switched",
    "switched": "switched",
    "reverting": "is being reverted",
    "discarded": "discarded",
}
KINDS = {"": "all", "added": "added", "gone": "gone", "changed": "changed"}


def ask(found: Mapping[str, Any], what: str, told: str) -> None:
    with ui.told_errors():
        ui.api().post(f"/backfills/{segment(found['id'])}/{what}")
    st.session_state[DONE] = told
    st.rerun()


def decisions(found: Mapping[str, Any]) -> None:
    may = ui.may("write")
    why = None if may else "Needs a token with the scope 'write'."
    status = found["status"]
    offered = (
        ("Switch", "switch", ":material/swap_horiz:", status == "ready", "It is switched soon."),
        ("Revert", "revert", ":material/undo:", status == "switched", "It is reverted soon."),
        (
            "Go on",
            "run",
            ":material/replay:",
            status == "paused" or (status == "ready" and found["dead"] > 0),
            "The pipeline goes on with it.",
        ),
        (
            "Discard",
            "discard",
            ":material/delete:",
            status in ("paused", "ready") and not found["switched"],
            "Discarded.",
        ),
    )
    for column, (label, what, icon, possible, told) in zip(st.columns(4), offered, strict=True):
        if column.button(
            label, icon=icon, disabled=not (may and possible), help=why, width="stretch"
        ):
            ask(found, what, told)


def figures(difference: Mapping[str, Any]) -> None:
    def share(name: str) -> tuple[str, str]:
        before, after = (f"{difference[side][name]:.1%}" for side in ("before", "after"))
        return before, after

    def cost(side: str) -> str:
        value = difference[side]["cost_usd"]
        return "-" if value is None else f"${value:,.4f}"

    def tokens(side: str) -> str:
        of = difference[side]
        return f"{of['prompt_tokens'] + of['completion_tokens']:,}"

    rows = (
        ("Statements", *(f"{difference[side]['statements']:,}" for side in ("before", "after"))),
        ("Junk", *share("junk_share")),
        ("Duplicates", *share("duplicate_share")),
        ("Words that were said", *share("grounded_share")),
        ("Tokens", tokens("before"), tokens("after")),
        ("Cost", cost("before"), cost("after")),
    )
    st.dataframe(
        [dict(zip(("Both readings", "Before", "After"), row, strict=True)) for row in rows],
        hide_index=True,
    )


def changes(found: Mapping[str, Any]) -> None:
    kind = st.selectbox("Changes", list(KINDS), format_func=KINDS.__getitem__)
    with ui.told_errors():
        items = ui.fetch_page(
            "backfill-changes", f"/backfills/{segment(found['id'])}/changes", kind=kind
        )
    if not items:
        ui.empty("Nothing of this kind changes.", "Choose another kind, or another backfill.")
        return
    st.dataframe(
        [
            {
                "Change": ", ".join((one["kind"], *one["differs"])),
                "Agent": one["agent"],
                "User": one["user"] or "",
                "Before": ui.hidden(one["before"]) if one["memory_id"] else "",
                "After": "" if one["kind"] == "gone" else ui.hidden(one["after"]),
            }
            for one in items
        ],
        hide_index=True,
        column_config={
            "Before": st.column_config.TextColumn(width="large"),
            "After": st.column_config.TextColumn(width="large"),
        },
    )
    ui.page_buttons("backfill-changes", earlier="Earlier", later="Later")


def one_backfill(found: Mapping[str, Any]) -> None:
    st.subheader("Backfill", anchor=False)
    ui.facts(
        (
            ("State", STATES[found["status"]]),
            ("Error", found["last_error"]),
            ("Sessions", f"{found['done']:,} of {found['sessions']:,} read"),
            ("Could not be read", f"{found['dead']:,}"),
            ("Agent", found["agent"] or "all"),
            ("Began", f"{ui.utc(found['since'])} to {ui.utc(found['until'])}"),
            ("Prompt", f"{found['prompt']} ({found['prompt_version']})"),
            ("Model", found["model"]),
            ("Can be reverted until", ui.utc(found["revert_until"])),
            ("Id", found["id"]),
        )
    )
    decisions(found)
    if not found["compared_at"] or found["status"] == "discarded":
        return
    with ui.told_errors():
        difference = ui.api().get(f"/backfills/{segment(found['id'])}/difference")
    st.dataframe(
        [
            {
                "Agent": one["agent"],
                "Added": one["added"],
                "Gone": one["gone"],
                "Changed": one["changed"],
                "To review": one["quarantined"],
            }
            for one in difference["agents"]
        ],
        hide_index=True,
    )
    if difference["unchanged"] is not None:
        st.caption(f"{difference['unchanged']:,} memories stay as they are.")
    figures(difference)
    changes(found)


st.title("Backfills", anchor=False)
st.caption(
    "Sessions read again by another prompt or model. What is found waits aside until it is "
    "switched; a switch can be reverted for some days."
)
if done := st.session_state.pop(DONE, None):
    st.success(done)
with ui.told_errors():
    backfills = ui.fetch_page("backfills", "/backfills")
if not backfills:
    ui.empty("There is none.", "'ibex backfill memories --since 2026-01-01 --prompt …' makes one.")
    st.stop()
table = st.dataframe(
    [
        {
            "State": one["status"],
            "Sessions": f"{one['done'] + one['dead']:,} of {one['sessions']:,}",
            "Agent": one["agent"] or "all",
            "Prompt": one["prompt"],
            "Model": one["model"],
            "Made": ui.ago(one["created_at"]),
        }
        for one in backfills
    ],
    hide_index=True,
    on_select="rerun",
    selection_mode="single-row-required",
    key="backfills-table",
)
ui.page_buttons("backfills")
chosen = table.selection.rows
one_backfill(backfills[chosen[0] if chosen and chosen[0] < len(backfills) else 0])
