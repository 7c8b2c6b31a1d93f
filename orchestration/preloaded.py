"""What the fork server has in memory: all that a run needs from its start to its end.

What Dagster and the assets import only when they first need it is named here as well. Not the
lake's libraries: they start threads when they are used, and few runs use them.
"""

from importlib import import_module

from ibex.memory import tokens
from ibex.resources import settle_memory

_NEEDED = (
    "orchestration.definitions",
    "orchestration.storage",
    "dagster._core.execution.plan.active",
    "dagster._core.executor.in_process",
    "dagster._core.instance.factory",
    "dagster._core.secrets",
    "dagster._core.storage.local_compute_log_manager",
    "dagster._core.storage.root",
    "dagster._core.system_config.composite_descent",
    "dagster._grpc.impl",
    "fsspec",
    "h11",
    "httpcore2",
    "ibex.extraction.judging",
    "ibex.extraction.llm",
    "minio",
    "psycopg2.extras",
    "truststore",
    "upath",
)

for _name in _NEEDED:
    import_module(_name)
tokens.load_encodings()
# A garbage collection in a run would go through all of this, and copy its pages.
settle_memory()
