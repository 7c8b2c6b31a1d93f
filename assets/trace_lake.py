"""Traces as Parquet."""

from dagster import AssetExecutionContext, ResourceParam, asset

from assets.lake import export
from assets.stores import LAKE, OWNERS, Stores


@asset(group_name=LAKE, owners=OWNERS, kinds={"clickhouse", "parquet", "s3"})
def trace_lake(context: AssetExecutionContext, stores: ResourceParam[Stores]) -> None:
    """Every request in figures, by organization and day: kept when ClickHouse has forgotten it."""
    export(context, stores, ("traces",))
