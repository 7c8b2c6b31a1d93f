"""Sessions, turns, memories and injections as Parquet."""

from dagster import AssetExecutionContext, ResourceParam, asset

from assets.lake import export
from assets.memories import memories
from assets.session_archive import session_archive
from assets.stores import LAKE, OWNERS, Stores

_TABLES = ("sessions", "turns", "memories", "memory_versions", "injections")


@asset(
    group_name=LAKE,
    owners=OWNERS,
    kinds={"parquet", "s3"},
    deps=[session_archive, memories],
)
def session_lake(context: AssetExecutionContext, stores: ResourceParam[Stores]) -> None:
    """What was said, learned and given, by organization and day, for SQL.

    Days that have changed since they were written are written anew, whole, and swapped in the
    manifest: what goes on or was erased replaces its rows, and doing it twice changes nothing.
    """
    export(context, stores, _TABLES)
