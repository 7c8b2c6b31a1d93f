"""Whether what the pipeline leaves is what it should be."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import ui


def state(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return "not looked at yet"
    if result["passed"]:
        return "passes"
    return "fails" if result["severity"] == "error" else "warns"


def figure(value: float, unit: str) -> str:
    if unit == "share":
        return f"{value:.1%}"
    return f"{value:,.0f} s" if unit == "seconds" else f"{value:,.0f}"


def found(result: Mapping[str, Any]) -> str:
    listed = (f"{kind} {count:,}" for kind, count in result["found"].items())
    return result["error"] or ", ".join(listed)


def row(check: Mapping[str, Any]) -> Mapping[str, object]:
    result = check["result"]
    known = result or {}
    return {
        "Check": check["title"],
        "State": state(result),
        "Value": figure(known["value"], check["unit"]) if known else "-",
        "At most": figure(known["threshold"], check["unit"]) if known else "-",
        "Looked at": known.get("looked_at"),
        "Found": found(known) if known else "",
        "Since": ui.ago(known.get("since")),
        "Last looked": ui.ago(known.get("checked_at")),
    }


def history(check: Mapping[str, Any]) -> None:
    name = f"checks:{check['name']}"
    with ui.told_errors():
        results = ui.fetch_page(name, f"/checks/{check['name']}/results")
    st.dataframe(
        [
            {
                "State": state(one),
                "From": ui.utc(one["since"]),
                "Until": ui.utc(one["checked_at"]),
                "Value": figure(one["value"], check["unit"]),
                "Found": found(one),
                "Run": one["run_id"],
            }
            for one in results
        ],
        hide_index=True,
    )
    ui.page_buttons(name)


def chosen(check: Mapping[str, Any]) -> None:
    st.subheader(check["title"], anchor=False)
    st.caption(check["description"])
    result = check["result"]
    if result is None:
        ui.empty(
            "Nobody has looked yet.", "The checks look every hour; 'ibex checks --now' at once."
        )
        return
    if result["examples"]:
        st.caption("Where it was found")
        st.code("\n".join(result["examples"]), language=None)
        st.caption("What an id is and where it comes from: `ibex lineage ID`.")
    history(check)


st.title("Checks", anchor=False)
with ui.told_errors():
    answer = ui.api().get("/checks")
checks = answer["checks"]
if answer["failing"]:
    st.warning(f"{answer['failing']} of {len(checks)} do not pass.", icon=":material/rule:")
st.dataframe([row(check) for check in checks], hide_index=True)
titles = {check["title"]: check for check in checks}
failing = next((one["title"] for one in checks if state(one["result"]) in ("fails", "warns")), None)
name = st.selectbox(
    "Check", titles, index=list(titles).index(failing) if failing else 0, key="checks:chosen"
)
chosen(titles[name])
