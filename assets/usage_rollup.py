"""What was used, day by day."""

from dagster import AssetExecutionContext, ResourceParam, asset

from assets.lake import export
from assets.stores import LAKE, OWNERS, Stores
from assets.trace_lake import trace_lake


@asset(
    group_name=LAKE,
    owners=OWNERS,
    kinds={"clickhouse", "parquet", "s3"},
    deps=[trace_lake],
)
def usage_rollup(context: AssetExecutionContext, stores: ResourceParam[Stores]) -> None:
    """Requests, errors, tokens, times and costs of each day, by agent, provider and model.

    Costs are by IBEX_MODEL_PRICES as they are when a day is written.
    """
    export(context, stores, ("usage",))
