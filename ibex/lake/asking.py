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
_AGAIN: Final = 0.05  # seconds between two calls to stop: one that comes too early is not heard


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
    # Not the thread's own join: Python 3.11 takes it for ended when Ctrl-C comes meanwhile.
    ended = threading.Event()

    def work() -> None:
        try:
            connection.execute(query)
            outcome.append(use(connection.to_arrow_reader(BATCH)))
        except BaseException as error:  # noqa: BLE001 — raised again where it is waited for
            failure.append(error)
        finally:
            ended.set()

    # DuckDB runs in a thread of its own: this one hears of Ctrl-C, and looks at the clock.
    threading.Thread(target=work, name="query", daemon=True).start()
    is_late = False
    try:
        if not ended.wait(timeout):
            is_late = True
            _stop(connection, ended)
    except KeyboardInterrupt:
        _stop(connection, ended)
        raise
    if failure:
        raise _said(failure[0], timeout if is_late else None) from None
    return outcome[0]


def _stop(connection: "DuckDBPyConnection", ended: threading.Event) -> None:
    while not ended.wait(_AGAIN):
        connection.interrupt()


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
