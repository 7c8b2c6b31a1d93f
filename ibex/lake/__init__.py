"""The lake: what an organization said, learned and used, as Parquet files that SQL reads.

The files of `schemas.TABLES` lie in the bucket IBEX_LAKE_BUCKET. Which of them count says the
manifest (`ibex_core.archive_files`, kind 'lake') and nothing else: a reader asks it, never the
bucket.
"""

from ibex.lake.sql import connect

__all__ = ["connect"]
