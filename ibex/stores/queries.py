"""Named SQL: `load("jobs")["claim"]` is the statement under `-- name: claim` in sql/jobs.sql.

Comments between the name and the statement stay in the file and go to the server as well, so that
pg_stat_activity says what a statement is for.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

_FOLDER = Path(__file__).parent / "sql"
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def load(concern: str) -> Mapping[str, str]:
    """The statements of `sql/{concern}.sql` by name. Raises ValueError for a name given twice."""
    parts = _NAME.split((_FOLDER / f"{concern}.sql").read_text(encoding="utf-8"))
    names, bodies = parts[1::2], parts[2::2]
    if len(set(names)) != len(names):
        raise ValueError(f"sql/{concern}.sql names a statement twice")
    return MappingProxyType(
        {name: body.strip().rstrip(";") for name, body in zip(names, bodies, strict=True)}
    )
