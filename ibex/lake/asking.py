"""A query with an end: it stops after a while, and when the user presses Ctrl-C."""

import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from ibex.errors import LakeQueryError
from ibex.lake.results import BATCH

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

T = TypeVar("T")
_SIGNATURE: Final = re.compile(r"\?X-Amz-[^\s'\"]*")
_LOOK: Final = 0.2  # seconds after which a pressed Ctrl-C is seen at the latest


def ask(
    connection: "DuckDBPyConnection",
    query: str,
    use: "Callable[[pa.RecordBatchReader], T]",
    timeout: float,
) -> T:
    """What `use` makes of the rows of the last of the statements, within `timeout` seconds.

    Raises LakeQueryError with DuckDB's own words, and KeyboardInterrupt, after the query has
    stopped.
    """
    outcome: list[T] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            connection.execute(query)
            outcome.append(use(connection.to_arrow_reader(BATCH)))
        except BaseException as error:  # noqa: BLE001 — raised again where it is waited for
            failure.append(error)

    # DuckDB runs in a thread of its own: this one hears of Ctrl-C, and looks at the clock.
    worker = threading.Thread(target=work, name="query", daemon=True)
    worker.start()
    is_late = False
    try:
        waited = 0.0
        while worker.is_alive():
            worker.join(_LOOK)
            waited += _LOOK
            if waited >= timeout and not is_late and worker.is_alive():
                is_late = True
                connection.interrupt()
    except KeyboardInterrupt:
        while worker.is_alive():
            connection.interrupt()
            worker.join(_LOOK)
        raise
    if failure:
        raise _said(failure[0], timeout if is_late else None) from None
    return outcome[0]


def _said(error: BaseException, stopped_after: float | None) -> BaseException:
    import duckdb  # noqa: PLC0415

    if not isinstance(error, duckdb.Error):
        return error
    if stopped_after is not None:
        return LakeQueryError(
            f"The query took longer than {stopped_after:g} s.",
            hint="Ask for fewer days or columns, or raise IBEX_SQL_TIMEOUT.",
        )
    said = _SIGNATURE.sub("", str(error)).strip()
    if isinstance(error, duckdb.HTTPException | duckdb.IOException):
        return LakeQueryError(said, hint="'ibex lake verify' looks for files that are not whole.")
    return LakeQueryError(said)
